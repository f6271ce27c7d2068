"""The measurements."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from itertools import islice
from statistics import median, quantiles
from typing import Final

import redis
from figures import Figure, Target, compared
from floor import AsyncFloor, Floor
from rounds import Setting, in_turn, process, rates, seconds, until_idle, worked
from stanchion_side import PAYLOAD, Noop, application

from stanchion import Stanchion

CHUNK: Final = 10_000
"""How many jobs one `enqueue_many` gets: a million at once would measure Python's memory."""

LEASE: Final = timedelta(hours=1)
"""Longer than any measurement, so that nothing is claimed twice."""


def bulk(setting: Setting) -> list[Figure]:
    """Jobs enqueued together."""
    jobs, floor = 10_000, Floor(setting.url)
    app, noop, _ = application(setting.url)
    sides = in_turn(
        setting,
        lambda: seconds(lambda: app.enqueue_many(noop.draft(PAYLOAD) for _ in range(jobs))),
        lambda: seconds(lambda: floor.insert(0, jobs)),
    )
    return [compared("bulk insert", "jobs/s", *rates(jobs, sides), Target("ratio", "≥", 0.4))]


def single(setting: Setting) -> list[Figure]:
    """Jobs enqueued one by one, against one bare EVALSHA each."""
    jobs, floor = 2_000, Floor(setting.url)
    _, noop, _ = application(setting.url)
    sync = in_turn(
        setting,
        lambda: seconds(lambda: [noop.enqueue(PAYLOAD) for _ in range(jobs)]),
        lambda: seconds(lambda: [floor.insert_one(number) for number in range(jobs)]),
    )
    both = in_turn(
        setting,
        lambda: asyncio.run(_enqueue_async(setting.url, jobs)),
        lambda: asyncio.run(_insert_async(setting.url, jobs)),
    )
    target = Target("ratio", "≥", 0.8)
    return [
        compared("single enqueue", "jobs/s", *rates(jobs, sync), target),
        compared("single aenqueue", "jobs/s", *rates(jobs, both), target),
    ]


def worker(setting: Setting) -> list[Figure]:
    """Jobs that do nothing, run by one process: how fast, and what each costs the worker and the server."""
    jobs, floor = 20_000, Floor(setting.url)
    app, noop, _ = application(setting.url)

    def ours() -> Mapping[str, float]:
        _fill(app, noop, jobs)
        return worked(setting.url, jobs, "stanchion_side.py", "burst")

    def theirs() -> Mapping[str, float]:
        floor.insert(0, jobs)
        return worked(setting.url, jobs, "floor.py")

    sides = in_turn(setting, ours, theirs)

    def each(what: str, scale: float = 1) -> list[list[float]]:
        return [[one[what] * scale / jobs for one in side] for side in sides]

    speeds = rates(jobs, [[one["seconds"] for one in side] for side in sides])
    return [
        compared("worker", "jobs/s", *speeds, Target("ratio", "≥", 0.5)),
        compared("worker's CPU", "µs/job", *each("cpu", 1e6), Target("value", "≤", 80)),
        compared("server's CPU", "µs/job", *each("server cpu", 1e6)),
        compared("commands, those in scripts too", "/job", *each("server commands")),
        compared("scripts", "/job", *each("server scripts")),
    ]


def pickup(setting: Setting) -> list[Figure]:
    """From just before `enqueue` until the handler starts, in a worker that was idle."""
    jobs, warm, client = 200, 20, redis.Redis.from_url(setting.url)
    client.flushdb()
    _, _, started_at = application(setting.url)
    taken = []
    with process("stanchion_side.py", "idle", setting.url):
        for _ in range(warm + jobs):
            until_idle(client)
            before = time.monotonic_ns()
            taken.append((started_at.enqueue().result(timeout=10) - before) / 1e6)
    percentiles = quantiles(taken[warm:], n=100)
    return [
        Figure("idle pick-up, p50", "ms", percentiles[49], target=Target("value", "≤", 2)),
        Figure("idle pick-up, p99", "ms", percentiles[98]),
    ]


def memory(setting: Setting) -> list[Figure]:
    """What the server's memory grows by with each waiting job."""
    jobs, client = 50_000, redis.Redis.from_url(setting.url)
    client.flushdb()
    app, noop, _ = application(setting.url)
    _fill(app, noop, 100)  # connections and scripts take memory too, but only once
    before = client.info("memory")["used_memory"]
    _fill(app, noop, jobs)
    grown = client.info("memory")["used_memory"] - before
    names = islice(client.scan_iter(match="*:j:*", count=1000), 100)
    return [
        Figure("memory of a waiting job", "bytes", grown / jobs, target=Target("value", "≤", 560)),
        Figure("of it, the job's hash", "bytes", median(client.memory_usage(name) for name in names)),
    ]


def claim(setting: Setting) -> list[Figure]:
    """A claim of 100 from a long queue against one from a short queue; both are filled up again each time."""
    short, claims, warm = 1_000, 50, 5
    redis.Redis.from_url(setting.url).flushdb()
    app, noop, _ = application(setting.url)
    tasks = {queue: noop.using(queue=queue) for queue in ("short", "long")}
    _fill(app, tasks["short"], short)
    _fill(app, tasks["long"], setting.waiting)
    taken: dict[str, list[float]] = {queue: [] for queue in tasks}
    for _ in range(warm + claims):
        for queue, task in tasks.items():
            steps = app.engine.claim([queue], 100, "bench", LEASE)
            start = time.perf_counter()
            claimed = app.engine.call(steps)
            taken[queue].append((time.perf_counter() - start) * 1e3)
            _fill(app, task, len(claimed.records))
    name = f"claim of 100 from {setting.waiting:,}, against from {short:,}"
    return [compared(name, "ms", taken["long"][warm:], taken["short"][warm:], Target("ratio", "≤", 1.3))]


MEASURES: Final[Mapping[str, Callable[[Setting], list[Figure]]]] = {
    measure.__name__: measure for measure in (bulk, single, worker, pickup, memory, claim)
}
"""All of them, by the name they are asked for."""


def _fill(app: Stanchion, noop: Noop, jobs: int) -> None:
    for start in range(0, jobs, CHUNK):
        app.enqueue_many(noop.draft(PAYLOAD) for _ in range(start, min(start + CHUNK, jobs)))


async def _enqueue_async(url: str, jobs: int) -> float:
    app, noop, _ = application(url)
    await noop.aenqueue(PAYLOAD)
    taken = await _seconds(lambda _: noop.aenqueue(PAYLOAD), jobs)
    await app.aclose()
    return taken


async def _insert_async(url: str, jobs: int) -> float:
    floor = AsyncFloor(url)
    await floor.prepare()
    taken = await _seconds(floor.insert_one, jobs)
    await floor.close()
    return taken


async def _seconds(action: Callable[[int], Awaitable[object]], times: int) -> float:
    start = time.perf_counter()
    for number in range(times):
        await action(number)
    return time.perf_counter() - start
