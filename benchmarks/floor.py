"""The frozen floor: the least that a correct job queue on Redis has to do, with nothing of Stanchion in it.

Plain redis-py, three minimal scripts, a bare loop. It does what no queue that keeps its jobs can leave out: an id
made by the caller and checked, so that enqueuing may be repeated; arguments and results as JSON; a lease and a token;
a task for each of a hundred slots; and it settles only what it still holds. It has no priorities, delays, retries,
unique keys, pauses, history, time limits, cancellation, hooks or integrity checks. It is what Stanchion is measured
against, so it stays as it is: a change here would make the ratios of one day useless on the next.

Run as `floor.py URL JOBS` it is the worker: it says `ready`, waits for a line, works, and prints what it took.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any

import redis
import redis.asyncio

BATCH = 100
KEYS = ("floor:queued", "floor:job:", "floor:running", "floor:completed")
PAYLOAD = "x" * (100 - len('{"payload": ""}'))

_INSERT, _CLAIM, _SETTLE = (
    (Path(__file__).parent / f"floor_{verb}.lua").read_text() for verb in ("insert", "claim", "settle")
)


class Floor:
    """Enqueues, by a sync client."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url)
        self._insert = self._client.script_load(_INSERT)

    def insert(self, first: int, count: int) -> None:
        """Store jobs, in batches."""
        for start in range(first, first + count, BATCH):
            batch = range(start, min(start + BATCH, first + count))
            self._client.evalsha(self._insert, 2, *KEYS[:2], *_jobs(batch))

    def insert_one(self, number: int) -> None:
        """Store a job: one bare EVALSHA."""
        self._client.evalsha(self._insert, 2, *KEYS[:2], *_jobs([number]))


class AsyncFloor:
    """Enqueues and works, by an async client."""

    def __init__(self, url: str) -> None:
        self._client = redis.asyncio.Redis.from_url(url)

    async def prepare(self) -> None:
        """Connect, and load the scripts."""
        self._insert = await self._client.script_load(_INSERT)
        self._claim = await self._client.script_load(_CLAIM)
        self._settle = await self._client.script_load(_SETTLE)

    async def insert_one(self, number: int) -> None:
        """Store a job: one bare EVALSHA."""
        await self._call(self._client.evalsha(self._insert, 2, *KEYS[:2], *_jobs([number])))

    async def work(self) -> int:
        """Claim, run and settle until nothing is left; how many were settled."""
        settled = turn = 0
        while True:
            turn += 1
            token = f"token-{turn}"
            now = int(time.time() * 1000)
            found = await self._call(
                self._client.evalsha(self._claim, 3, *KEYS[:3], BATCH, token, now, now + 30_000)
            )
            if not found:
                return settled
            tasks = [asyncio.create_task(run(payload)) for payload in found[1::2]]
            results: list[bytes | str] = []
            for job, task in zip(found[::2], tasks, strict=True):
                results += (job, json.dumps(await task))
            now = int(time.time() * 1000)
            keys = (KEYS[3], KEYS[1], KEYS[2])
            settled += await self._call(self._client.evalsha(self._settle, 3, *keys, token, now, *results))

    async def close(self) -> None:
        """Give the connection back."""
        await self._client.aclose()

    async def _call(self, reply: Awaitable[Any] | Any) -> Any:
        return await reply


async def run(payload: bytes) -> None:
    """Run the handler with its arguments, which are kept as JSON."""
    return await noop(**json.loads(payload))


async def noop(payload: str) -> None:
    """The handler."""


def _jobs(numbers: Sequence[int]) -> list[int | str]:
    arguments: list[int | str] = [int(time.time() * 1000), numbers[0]]
    for _ in numbers:
        arguments += (os.urandom(10).hex(), json.dumps({"payload": PAYLOAD}))
    return arguments


async def _work(url: str, jobs: int) -> dict[str, float]:
    floor = AsyncFloor(url)
    await floor.prepare()
    print("ready", flush=True)
    sys.stdin.readline()
    cpu, start = time.process_time(), time.perf_counter()
    settled = await floor.work()
    taken = {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu}
    await floor.close()
    if settled != jobs:
        raise SystemExit(f"{settled} jobs were settled, not {jobs}")
    return taken


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_work(sys.argv[1], int(sys.argv[2])))))
