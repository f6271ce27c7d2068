"""The measurements of the SQLite backend: beside the same statements by hand, and beside Redis."""

import json
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from typing import Final

from figures import Figure, Target, compared
from floor_sqlite import SqliteFloor
from rounds import LONGEST, Setting, in_turn, process, rates, seconds, worked
from stanchion_side import PAYLOAD, Application, application

from stanchion import Stanchion

FULL: Final = 2
"""What `PRAGMA synchronous` says where each commit waits for the disk."""

WATCHED: Final = 10.0
"""Seconds for which an idle worker's processor time is taken."""


def sqlite_bulk(setting: Setting) -> list[Figure]:
    """Jobs enqueued together."""
    jobs = 10_000

    def ours() -> float:
        with _app() as (side, _):
            return seconds(lambda: side.app.enqueue_many(side.noop.draft(PAYLOAD) for _ in range(jobs)))

    def theirs() -> float:
        with _floor() as (floor, _):
            return seconds(lambda: floor.insert(jobs))

    sides = in_turn(setting, ours, theirs)
    return [compared("SQLite: bulk insert", "jobs/s", *rates(jobs, sides), Target("ratio", "≥", 0.4))]


def sqlite_single(setting: Setting) -> list[Figure]:
    """Jobs enqueued one by one, against one bare transaction each."""
    jobs = 1_000

    def ours() -> float:
        with _app() as (side, _):
            return seconds(lambda: [side.noop.enqueue(PAYLOAD) for _ in range(jobs)])

    def theirs() -> float:
        with _floor() as (floor, _):
            return seconds(lambda: [floor.insert_one() for _ in range(jobs)])

    sides = in_turn(setting, ours, theirs)
    return [compared("SQLite: single enqueue", "jobs/s", *rates(jobs, sides), Target("ratio", "≥", 0.7))]


def sqlite_worker(setting: Setting) -> list[Figure]:
    """Jobs that do nothing, run by one process: against the same worker on Redis, and the statements by hand."""
    jobs = 20_000

    def on_sqlite() -> Mapping[str, float]:
        with _app() as (side, url):
            side.app.enqueue_many(side.noop.draft(PAYLOAD) for _ in range(jobs))
            return _worked("stanchion_side.py", "burst", url, str(jobs))

    def on_redis() -> Mapping[str, float]:
        side = application(setting.url)
        side.app.enqueue_many(side.noop.draft(PAYLOAD) for _ in range(jobs))
        return worked(setting.url, jobs, "stanchion_side.py", "burst")

    def by_hand() -> Mapping[str, float]:
        with _floor() as (floor, path):
            floor.insert(jobs)
            return _worked("floor_sqlite.py", str(path), str(jobs))

    def speeds(sides: tuple[list[Mapping[str, float]], ...]) -> list[list[float]]:
        return rates(jobs, [[one["seconds"] for one in side] for side in sides])

    against_redis = in_turn(setting, on_sqlite, on_redis)
    target = Target("ratio", "≥", 0.6)
    return [
        compared("SQLite: worker, against Redis", "jobs/s", *speeds(against_redis), target),
        compared("SQLite: worker, by hand", "jobs/s", *speeds(in_turn(setting, on_sqlite, by_hand))),
    ]


def sqlite_pickup(_: Setting) -> list[Figure]:
    """From just before `enqueue` until the handler starts in another process that was idle; and what idling costs."""
    jobs, warm = 200, 20
    with _app() as (side, url), process("stanchion_side.py", "idle", url) as child:
        taken = []
        for _ in range(warm + jobs):
            time.sleep(random.uniform(0.03, 0.08))  # somewhere between two looks at the file
            before = time.monotonic_ns()
            taken.append((side.started_at.enqueue().result(timeout=10) - before) / 1e6)
        before_idling = _cpu(child.pid)
        time.sleep(WATCHED)  # which is what is measured
        idling = (_cpu(child.pid) - before_idling) / WATCHED * 100
    percentiles = quantiles(taken[warm:], n=100)
    return [
        Figure("SQLite: idle pick-up, p50", "ms", percentiles[49], target=Target("value", "≤", 50)),
        Figure("SQLite: idle pick-up, p99", "ms", percentiles[98]),
        Figure("SQLite: an idle worker's CPU", "%", idling, target=Target("value", "≤", 1)),
    ]


SQLITE_MEASURES: Final[Mapping[str, Callable[[Setting], list[Figure]]]] = {
    measure.__name__.replace("_", "-"): measure
    for measure in (sqlite_bulk, sqlite_single, sqlite_worker, sqlite_pickup)
}
"""All of them, by the name they are asked for."""


@contextmanager
def _app() -> Iterator[tuple[Application, str]]:
    with TemporaryDirectory(dir=".") as folder:
        url = f"sqlite:///{folder}/jobs.db"
        side = application(url)
        with side.app:
            _insist_on_full(side.app)
            yield side, url


def _insist_on_full(app: Stanchion) -> None:
    """Read the pragma back from the connection that writes."""
    look = "PRAGMA synchronous"
    (mode,) = app.engine.backend._database.write(lambda cursor: cursor.execute(look).fetchone())
    if mode != FULL:
        raise SystemExit(f"synchronous is {mode}, not FULL")


@contextmanager
def _floor() -> Iterator[tuple[SqliteFloor, Path]]:
    with TemporaryDirectory(dir=".") as folder:
        path = Path(folder) / "floor.db"
        floor = SqliteFloor(path)
        yield floor, path
        floor.close()


def _worked(*program: str) -> Mapping[str, float]:
    with process(*program) as child:
        child.stdout.readline()
        taken, _ = child.communicate("\n", timeout=LONGEST)
    if child.returncode:
        raise SystemExit(f"{program[0]} failed")
    found: Mapping[str, float] = json.loads(taken)
    return found


def _cpu(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
