"""Hearing of what other processes and threads committed to a SQLite file."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Any, Final, cast

import pytest

from stanchion import State
from stanchion.contract.requests import Wait
from stanchion.model.changes import Topic
from stanchion_conformance.making import QUEUE, a_claim, an_item, change, inserted
from stanchion_sqlite import SqliteBackend, news
from stanchion_sqlite.database import Database
from stanchion_sqlite.news import KEPT, Bell
from support.hands import Hand, hands
from support.processes import a_scene
from support.sqlite_deeds import backend_on
from support.sqlite_files import asked
from support.waiting import eventually

POLL: Final = 5.0
"""Seconds after which a worker looks without being woken."""

LONG: Final = timedelta(seconds=60)
"""Longer than anybody waits who is woken."""

CROWD: Final = 8
"""How many threads wait at once."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of its own."""
    return tmp_path / "jobs.db"


@pytest.fixture
def backend(path: Path) -> Iterator[SqliteBackend]:
    """A backend of this process, with nothing to claim."""
    with closing(backend_on(path)) as backend:
        inserted(backend, an_item("first"))
        a_claim(backend)
        yield backend


@pytest.fixture(scope="module")
def other() -> Iterator[Hand]:
    """Another process."""
    with hands(1) as (hand,):
        yield hand


class CountingDatabase(Database):
    """One that knows who looked at it, and how many did at once."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "normal")
        self.lookers: list[int] = []
        self.most = 0
        self._now: set[int] = set()

    def version(self) -> int:
        self.lookers.append(threading.get_ident())
        self._now.add(threading.get_ident())
        self.most = max(self.most, len(self._now))
        try:
            return super().version()
        finally:
            self._now.discard(threading.get_ident())


@pytest.fixture
def database(path: Path) -> Iterator[CountingDatabase]:
    """A database that counts."""
    with closing(CountingDatabase(path)) as database:
        yield database


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """Threads that may wait."""
    with ThreadPoolExecutor(CROWD) as threads:
        yield threads


def test_a_waiting_process_is_woken_by_another(backend: SqliteBackend, path: Path, other: Hand) -> None:
    """Well before it would have looked by itself, and in both directions."""
    other.do("sqlite_deeds:take", path)
    other.begin("sqlite_deeds:wait", path, LONG.total_seconds())
    began = monotonic()
    inserted(backend, an_item("a"))
    assert other.answer() is True
    assert monotonic() - began < POLL

    other.do("sqlite_deeds:take", path)
    a_claim(backend)
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(backend.wait, Wait([QUEUE], LONG))
        eventually(lambda: backend._bell._looking)
        other.do("sqlite_deeds:insert", path, "b")

        assert waiting.result(POLL) is True


def test_an_idle_worker_process_starts_a_new_job_soon(path: Path, tmp_path: Path) -> None:
    """The job was inserted by this process."""
    with a_scene(tmp_path, f"sqlite:///{path}?synchronous=normal") as scene:
        worker = scene.worker()
        eventually(lambda: "serving" in worker.log)
        scene.tasks.steady.enqueue().result(timeout=20)
        waits = [_answered_within(lambda: scene.tasks.steady.enqueue().result(timeout=20)) for _ in range(5)]

        assert max(waits) < POLL


@pytest.mark.parametrize("topic", Topic)
def test_a_watch_hears_of_what_another_process_did(
    backend: SqliteBackend, path: Path, other: Hand, topic: Topic
) -> None:
    """Of a job that ended, and of a running one that was touched; of each on its own topic only."""
    inserted(backend, an_item("ends"), an_item("touched"))
    a_claim(backend)
    watches = {each: backend.watch([QUEUE], each) for each in Topic}
    own = {Topic.ENDED: "ends", Topic.TOUCHED: "touched"}[topic]
    other.do("sqlite_deeds:change", path, f"{QUEUE}:{own}", topic)

    assert watches[topic].next(LONG) == {f"{QUEUE}:{own}"}
    watches.pop(topic)
    assert [watch.next(timedelta(0)) for watch in watches.values()] == [frozenset()]


def test_old_news_are_thrown_away(backend: SqliteBackend, path: Path) -> None:
    """A watch that is too far behind has missed some, and hears of the newest."""
    watch = backend.watch([QUEUE], Topic.ENDED)
    for seq, key in ((KEPT, "ancient"), (2 * KEPT - 1, "old")):
        asked(
            path, f"INSERT INTO stanchion_news SELECT {seq}, id, 'ended', '[\"{key}\"]' FROM stanchion_queues"
        )
    inserted(backend, an_item("a"))
    change(backend, a_claim(backend).records[0], State.COMPLETED)

    assert watch.next(LONG) == {f"{QUEUE}:old", f"{QUEUE}:a"}
    assert asked(path, "SELECT count(*), min(seq) FROM stanchion_news") == [(2, 2 * KEPT - 1)]


def test_one_thread_looks_for_all_that_wait(database: CountingDatabase, threads: ThreadPoolExecutor) -> None:
    """They all hear of what was committed by others."""
    bell, heard = Bell(database), threading.Event()
    waiting = [threads.submit(bell.wait_until, heard.is_set, LONG) for _ in range(CROWD)]
    eventually(lambda: len(database.lookers) > 20)
    lookers = set(database.lookers[-10:])
    heard.set()
    bell.ring()

    assert [one.result(POLL) for one in waiting] == [True] * CROWD
    assert len(lookers) == 1
    assert database.most == 1


def test_when_the_one_that_looks_leaves_another_does(
    database: CountingDatabase, threads: ThreadPoolExecutor, path: Path, other: Hand
) -> None:
    """Whoever waits still hears of what another process commits."""
    bell, leave = Bell(database), threading.Event()
    leader = threads.submit(bell.wait_until, leave.is_set, LONG)
    eventually(lambda: database.lookers)
    (first,) = set(database.lookers)
    others = [threads.submit(bell.wait_until, lambda: _has(database, "news"), LONG) for _ in range(3)]
    leave.set()
    bell.ring()
    assert leader.result(POLL) is True
    eventually(lambda: database.lookers[-1] != first)
    other.do("sqlite_deeds:insert", path, "news")

    assert [one.result(POLL) for one in others] == [True] * 3


def test_one_look_is_not_enough(
    database: CountingDatabase, threads: ThreadPoolExecutor, path: Path, other: Hand
) -> None:
    """What was waited for may come with the second commit of another process, or a later one."""
    bell = Bell(database)
    waiting = threads.submit(bell.wait_until, lambda: _has(database, "third"), LONG)
    for key in ("first", "second", "third"):
        looks = len(database.lookers)
        eventually(lambda looks=looks: len(database.lookers) > looks + 1)
        other.do("sqlite_deeds:insert", path, key)

    assert waiting.result(POLL) is True


def test_a_wait_that_ends_in_time_hands_on_the_look(
    database: CountingDatabase, threads: ThreadPoolExecutor, path: Path, other: Hand
) -> None:
    """The one that looked found nothing, and the next one looks."""
    bell = Bell(database)
    short = threads.submit(bell.wait_until, lambda: False, timedelta(seconds=0.1))
    eventually(lambda: database.lookers)
    waiting = threads.submit(bell.wait_until, lambda: _has(database, "news"), LONG)

    assert short.result(POLL) is False
    other.do("sqlite_deeds:insert", path, "news")
    assert waiting.result(POLL) is True


def test_closing_ends_all_waits(backend: SqliteBackend, threads: ThreadPoolExecutor) -> None:
    """Of workers and of watches, those that look and those that do not."""
    watch = backend.watch([QUEUE], Topic.ENDED)
    waiting: list[Future[Any]] = [threads.submit(backend.wait, Wait([QUEUE], LONG)) for _ in range(3)]
    waiting += [threads.submit(watch.next, LONG) for _ in range(3)]
    eventually(lambda: backend._bell._looking)
    backend.close()

    assert [one.result(POLL) for one in waiting] == [False] * 3 + [frozenset()] * 3


def _has(database: Database, key: str) -> bool:
    find = "SELECT 1 FROM stanchion_jobs WHERE key = ?"
    return bool(database.read(lambda cursor: cursor.execute(find, (key,)).fetchall()))


def _answered_within(act: Callable[[], object]) -> float:
    began = monotonic()
    act()
    return monotonic() - began


class Quiet:
    """A file to which nothing is committed; the bell is closed at the fifth look at it."""

    def __init__(self) -> None:
        self.bell = Bell(cast("Database", self))
        self.looks = 0

    def version(self) -> int:
        self.looks += 1
        if self.looks == 5:
            self.bell.close()
        return 7


def test_who_waits_asks_only_after_something_was_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at the file is cheaper than that."""
    monkeypatch.setattr(news, "POLL", 0.001)
    quiet, asked = Quiet(), list[bool]()
    quiet.bell.wait_until(lambda: asked.append(True) or False, LONG)

    assert quiet.looks == 5
    assert len(asked) == 2, "once at first, and once since it had not seen the file before"
