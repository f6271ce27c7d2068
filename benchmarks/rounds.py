"""Rounds: both sides in turn, on an emptied server, after a warm-up; and workers as processes of their own."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import redis
from server import usage

T = TypeVar("T")

IDLE: Final = 10.0
"""Seconds that a worker has to go idle."""

LONGEST: Final = 120.0
"""Seconds that a worker has for its jobs; more than that is no slow worker, it is one that hangs."""


class Setting(NamedTuple):
    """What every measurement is given."""

    url: str
    """The server."""

    rounds: int
    """How often each side is measured."""

    waiting: int
    """How many jobs wait in the long queue that is claimed from."""


def in_turn(setting: Setting, ours: Callable[[], T], theirs: Callable[[], T]) -> tuple[list[T], list[T]]:
    """What both sides answered in each round: A B A B, so that a slow minute of the machine meets both."""
    client = redis.Redis.from_url(setting.url)
    answers: tuple[list[T], list[T]] = [], []
    for _ in range(setting.rounds + 1):
        for side, answered in zip((ours, theirs), answers, strict=True):
            client.flushdb()
            answered.append(side())
    return answers[0][1:], answers[1][1:]


def seconds(action: Callable[[], object]) -> float:
    """How long it takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def rates(jobs: int, sides: Sequence[Sequence[float]]) -> list[list[float]]:
    """Jobs a second, from the seconds of each side's rounds."""
    return [[jobs / one for one in side] for side in sides]


def worked(url: str, jobs: int, *program: str) -> Mapping[str, float]:
    """What it took a worker of its own to run the jobs that wait: its clock and CPU, and what the server did.

    The worker is up, with everything imported, before any clock starts.
    """
    client = redis.Redis.from_url(url)
    with process(*program, url, str(jobs)) as child:
        child.stdout.readline()
        before = usage(client)
        taken, _ = child.communicate("\n", timeout=LONGEST)
        after = usage(client)
    if child.returncode:
        raise SystemExit(f"{program[0]} failed")
    server = {name: new - old for name, new, old in zip(after._fields, after, before, strict=True)}
    return {**json.loads(taken), **{f"server {name}": value for name, value in server.items()}}


@contextmanager
def process(*program: str) -> Iterator[Any]:
    """A program of this folder, running until the block ends."""
    path = Path(__file__).parent / program[0]
    child = subprocess.Popen(
        [sys.executable, str(path), *program[1:]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        try:
            yield child
        finally:
            child.terminate()


def until_idle(client: redis.Redis) -> None:
    """Wait until the worker blocks on the server again, waiting for jobs."""
    end = time.monotonic() + IDLE
    while not client.info("clients")["blocked_clients"]:
        if time.monotonic() > end:
            raise SystemExit(f"the worker did not go idle within {IDLE:g} s")
