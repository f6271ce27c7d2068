"""What becomes of calls while another process keeps a SQLite file locked."""

import asyncio
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from stanchion import Stanchion, State, current_job
from stanchion.contract.requests import Configure, Count, FindDue, Forget, Get, Insert, List
from stanchion.engine.async_adapter import Inline
from stanchion.engine.engine import Engine
from stanchion.engine.operations import Steps
from stanchion.errors import Busy, Unavailable
from stanchion.plugins.manager import Plugins
from stanchion_conformance.invariants import broken
from stanchion_conformance.making import QUEUE, a_claim, an_item, inserted, keys_of
from stanchion_sqlite import SqliteBackend, database
from support.hands import Hand, hands
from support.sqlite_deeds import backend_on, engine_on, settle
from support.sqlite_files import tables_of
from support.waiting import aeventually, eventually
from support.workers import working


class SlowLock:
    """One that takes its time: `now` has advanced by that many seconds when it is acquired."""

    def __init__(self, now: list[float], seconds: float) -> None:
        self._now, self._seconds, self._lock = now, seconds, threading.Lock()

    def acquire(self, *args: Any) -> bool:
        self._now[0] += self._seconds
        return self._lock.acquire()

    def release(self) -> None:
        self._lock.release()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class Taken:
    """One that other threads hold for longer than anybody waits; says for how many seconds it was waited for."""

    def __init__(self) -> None:
        self.waited: list[float] = []

    def acquire(self, _: bool, seconds: float) -> bool:
        self.waited.append(seconds)
        return False


@pytest.fixture(scope="module")
def other() -> Iterator[Hand]:
    """Another process."""
    with hands(1) as (hand,):
        yield hand


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of its own."""
    return tmp_path / "jobs.db"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls wait for a moment only."""
    monkeypatch.setattr(database, "PATIENCE", 0.05)


@pytest.fixture
def backend(path: Path, impatient: None) -> Iterator[SqliteBackend]:
    """A backend with a job."""
    with closing(backend_on(path)) as backend:
        inserted(backend, an_item("a"))
        yield backend


def test_calls_that_get_no_turn_say_so(backend: SqliteBackend, path: Path, other: Hand) -> None:
    """The error names the file and what to look for; nothing has changed, and they work afterwards."""
    running = a_claim(backend).records[0]
    inserted(backend, an_item("b"))
    before = tables_of(path)
    other.do("sqlite_deeds:hold", path)
    for call in (
        lambda: inserted(backend, an_item("c")),
        lambda: a_claim(backend),
        lambda: settle(engine_on(backend), running),
        lambda: backend.configure(Configure(queue=QUEUE, set={"paused": True})),
        lambda: backend.forget(Forget("video")),
    ):
        with pytest.raises(Unavailable, match=f"{path} locked for 0.05 s: look for a program that keeps"):
            call()
    other.do("sqlite_deeds:let_go")

    assert tables_of(path) == before
    assert settle(engine_on(backend), running)
    assert keys_of(a_claim(backend).records) == ["b"]


def test_reading_goes_on(backend: SqliteBackend, path: Path, other: Hand) -> None:
    """Whoever looks sees what was committed last."""
    other.do("sqlite_deeds:hold", path)

    assert keys_of(backend.get(Get([f"{QUEUE}:a"]))) == ["a"]
    assert keys_of(backend.list(List(queue=QUEUE, state=State.QUEUED)).heads) == ["a"]
    assert backend.count(Count([QUEUE]))[QUEUE][State.QUEUED] == 1
    assert list(backend.queues()) == [QUEUE]
    assert backend.due(FindDue([QUEUE], 10)).heads == []
    assert broken(backend) == []
    other.do("sqlite_deeds:let_go")


def test_the_first_call_of_all_waits_too(path: Path, impatient: None, other: Hand) -> None:
    """It has to make the tables, while another process writes to a file without them."""
    other.do("sqlite_deeds:hold", path)
    with closing(backend_on(path)) as backend:
        with pytest.raises(Unavailable, match=f"{path} locked"):
            inserted(backend, an_item())
        other.do("sqlite_deeds:let_go")

        assert inserted(backend, an_item())[0].created


def test_a_call_waits_for_its_turn(path: Path, other: Hand) -> None:
    """One that is made while another process writes is answered once that is done."""
    with closing(backend_on(path)) as backend, ThreadPoolExecutor(1) as threads:
        inserted(backend, an_item("a"))
        other.do("sqlite_deeds:hold", path)
        inserting = threads.submit(inserted, backend, an_item("b"))
        eventually(backend._database._write_lock.locked)
        other.do("sqlite_deeds:let_go")

        assert inserting.result()[0].created


@pytest.mark.parametrize("way", ["call", "acall"])
def test_a_call_that_waited_in_vain_is_not_repeated(
    backend: SqliteBackend, path: Path, other: Hand, way: str
) -> None:
    """It has waited as long as the documentation says; nothing was changed, so there is no doubt to be resolved."""
    tries: list[str] = []
    pauses = (tries.append(f"try {number}") or 0.0 for number in range(1, 5))
    other.do("sqlite_deeds:hold", path)
    engine = Engine(backend, Plugins(), pauses=pauses)  # type: ignore[arg-type]
    with pytest.raises(Busy):
        _driven(engine, engine.insert([an_item("b")]), way)
    other.do("sqlite_deeds:let_go")

    assert tries == ["try 1"]


def test_one_deadline_holds_for_the_threads_and_the_processes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left of it after waiting for a thread is all the time that others are waited for."""
    now, ends = [100.0], list[float]()
    with closing(backend_on(path)) as backend:
        inserted(backend, an_item("a"))
        database = backend._database
        monkeypatch.setattr("stanchion_sqlite.database.monotonic", lambda: now[0])
        monkeypatch.setattr(database, "_write_lock", SlowLock(now, 7.0))
        monkeypatch.setattr(database.pair.turns, "take", lambda end: ends.append(end) or True)
        backend.within(timedelta(seconds=8)).insert(Insert([an_item("b")]))

    assert ends == [108.0]


def test_a_read_waits_for_other_threads_up_to_its_deadline(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that may not wait waits for the moment that most reads take; one without a deadline, for all of them."""
    taken = Taken()
    with closing(backend_on(path)) as backend:
        inserted(backend, an_item("a"))
        with monkeypatch.context() as patch:
            patch.setattr(backend._database, "_read_lock", taken)
            for one in (backend.within(timedelta(seconds=3)), backend.impatient(), backend):
                with pytest.raises(Busy):
                    one.get(Get([f"{QUEUE}:a"]))

    assert taken.waited == [3.0, database.MOMENT, -1]


def test_an_async_call_waits_without_the_loop(path: Path, other: Hand) -> None:
    """Which gives the lock back here, and answers reads meanwhile."""

    async def story(adapter: Inline) -> None:
        await adapter.insert(Insert([an_item("a")]))
        other.do("sqlite_deeds:hold", path)
        calls = [
            asyncio.create_task(adapter.insert(Insert([an_item("b")]))),
            asyncio.create_task(adapter.configure(Configure(queue="video", set={"paused": True}))),
        ]
        await asyncio.sleep(0)
        assert keys_of((await adapter.list(List(queue=QUEUE, state=State.QUEUED))).heads) == ["a"]
        other.do("sqlite_deeds:let_go")
        await asyncio.gather(*calls)
        assert keys_of((await adapter.list(List(queue=QUEUE, state=State.QUEUED))).heads) == ["a", "b"]

    with closing(backend_on(path)) as backend:
        asyncio.run(story(Inline(backend)))


def test_a_signal_while_a_call_waits_leaves_nothing_open(
    path: Path, other: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that survives Ctrl-C can go on to use the backend."""

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt  # as Python does in the middle of a pause

    with closing(backend_on(path)) as backend:
        inserted(backend, an_item("a"))
        other.do("sqlite_deeds:hold", path)
        with monkeypatch.context() as patch:
            patch.setattr("stanchion_sqlite.connections.sleep", interrupt)
            with pytest.raises(KeyboardInterrupt):
                inserted(backend, an_item("b"))
        other.do("sqlite_deeds:let_go")

        assert inserted(backend, an_item("z"))[0].created


def test_a_worker_survives_a_lock(
    path: Path, impatient: None, other: Hand, caplog: pytest.LogCaptureFixture
) -> None:
    """It can neither beat nor record outcomes nor claim meanwhile; then it does, and nothing is lost or run twice."""
    caplog.set_level(logging.WARNING, "stanchion.worker")
    gate = asyncio.Event()
    with Stanchion(f"sqlite:///{path}?synchronous=normal", sweep=0.1) as app:

        @app.task
        async def gated() -> int:
            await gate.wait()
            current_job().progress(0.5)
            return current_job().run

        async def story() -> None:
            jobs = [await gated.aenqueue() for _ in range(3)]
            async with working(app):
                await aeventually(lambda: all(job.refresh().state is State.RUNNING for job in jobs))
                other.do("sqlite_deeds:hold", path)
                gate.set()
                await aeventually(lambda: "could not record 3 outcomes" in caplog.text)
                other.do("sqlite_deeds:let_go")
                assert [await job.aresult(timeout=20) for job in jobs] == [1, 1, 1]
                assert await (await gated.aenqueue()).aresult(timeout=20) == 1

        asyncio.run(story())

        assert broken(app.engine.backend) == []
        assert f"other connections held {path} locked" in caplog.text


def test_a_worker_that_is_idle_survives_a_lock(
    path: Path, impatient: None, other: Hand, caplog: pytest.LogCaptureFixture
) -> None:
    """It says that it cannot claim, and runs the next job once it can."""
    caplog.set_level(logging.WARNING, "stanchion.worker")
    with Stanchion(f"sqlite:///{path}?synchronous=normal") as app:

        @app.task
        async def steady() -> int:
            return current_job().run

        async def story() -> None:
            job = await steady.aenqueue()
            other.do("sqlite_deeds:hold", path)
            async with working(app):
                await aeventually(lambda: "could not claim" in caplog.text)
                other.do("sqlite_deeds:let_go")
                assert await job.aresult(timeout=20) == 1

        asyncio.run(story())


def _driven(engine: Engine, steps: Steps[Any], way: str) -> Any:
    async def story() -> Any:
        return await engine.acall(steps)

    return engine.call(steps) if way == "call" else asyncio.run(story())
