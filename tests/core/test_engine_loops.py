"""Loops that come and go: an engine keeps nothing of those that are closed."""

import asyncio
import gc
from pathlib import Path

import pytest
import redis

from stanchion import Stanchion, Task
from support.stores import own_namespace


# A loop that is closed can close no connection; they end when they are collected, which Python warns of.
@pytest.mark.filterwarnings("ignore:(unclosed|loop is closed):ResourceWarning")
def test_a_loop_for_each_call_does_not_use_up_file_descriptors(redis_url: str) -> None:
    """A program that enqueues with `asyncio.run` each time can do so for ever."""
    with redis.Redis.from_url(redis_url) as client, own_namespace(client) as namespace:
        at_first, at_last = _open_files_over_time(redis_url, namespace)
    gc.collect()  # the connections of the last loop, while their warning is expected

    assert at_last <= at_first


def _open_files_over_time(url: str, namespace: str) -> tuple[int, int]:
    """How many files are open after the third call, and after the twentieth."""
    with Stanchion(url, namespace=namespace) as app:

        @app.task
        async def small() -> None: ...

        return _open_files_after(small, 3), _open_files_after(small, 17)


def _open_files_after(task: "Task[[], None]", calls: int) -> int:
    for _ in range(calls):
        asyncio.run(task.aenqueue())
    gc.collect()
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
