"""Finding: a page by (queue, state, tag) and a count by tag among many jobs, against the same among few."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Final

import redis
from figures import Figure, Target, compared
from rounds import Setting

from stanchion import Stanchion
from stanchion.contract.backend import Backend
from stanchion.contract.requests import Count, List
from stanchion.model.states import State

FEW: Final = 1_000
TAGGED: Final = 200
"""Jobs with the tag that is looked for, in both stores."""

SLICE: Final = 10_000
TIMES: Final = 50
TAG: Final = "order:1"


def finding(setting: Setting) -> list[Figure]:
    """Pages and counts by tag on Redis."""
    redis.Redis.from_url(setting.url).flushdb()
    few, many = (Stanchion(setting.url, namespace=name, plugins=()) for name in ("few", "many"))
    return _figures("Redis", few, many, setting)


def sqlite_finding(setting: Setting) -> list[Figure]:
    """Pages and counts by tag in a file."""
    with _files() as (few, many):
        return _figures("SQLite", few, many, setting)


@contextmanager
def _files() -> Iterator[tuple[Stanchion, Stanchion]]:
    with TemporaryDirectory(dir=Path.cwd()) as folder:
        urls = [f"sqlite:///{Path(folder, name)}?synchronous=normal" for name in ("few.db", "many.db")]
        with Stanchion(urls[0], plugins=()) as few, Stanchion(urls[1], plugins=()) as many:
            yield few, many


def _figures(store: str, few: Stanchion, many: Stanchion, setting: Setting) -> list[Figure]:
    _fill(few, FEW)
    _fill(many, setting.waiting)
    target = Target("ratio", "≤", 1.5)
    name = f"{store}: {{}} by tag among {setting.waiting:,}, against {FEW:,}"
    return [
        compared(name.format("a page"), "µs", *_in_turn(few, many, _page), target),
        compared(name.format("a count"), "µs", *_in_turn(few, many, _count), target),
    ]


def _fill(app: Stanchion, jobs: int) -> None:
    @app.task
    def noop() -> None:
        """Do nothing."""

    for start in range(0, jobs - TAGGED, SLICE):
        app.enqueue_many(noop.draft() for _ in range(min(SLICE, jobs - TAGGED - start)))
    app.enqueue_many(noop.using(tags=[TAG]).draft() for _ in range(TAGGED))


def _page(backend: Backend) -> None:
    page = backend.list(List(queue="default", state=State.QUEUED, tag=TAG, limit=50))
    assert len(page.heads) == 50, "the jobs with the tag are there"


def _count(backend: Backend) -> None:
    assert backend.count(Count(["default"], TAG))["default"][State.QUEUED] == TAGGED, "and are counted"


def _in_turn(
    few: Stanchion, many: Stanchion, act: Callable[[Backend], None]
) -> tuple[list[float], list[float]]:
    """Microseconds of each call, those among many jobs first."""
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(TIMES):
        for app, into in ((many, taken[0]), (few, taken[1])):
            start = perf_counter()
            act(app.engine.backend)
            into.append((perf_counter() - start) * 1e6)
    return taken
