"""A Ctrl-C in a call on a SQLite file, wherever it comes: the process and all others can go on."""

import gc
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest

from stanchion import State
from stanchion.contract.requests import Configure, FindDue, Get, Insert, Wait
from stanchion.model.changes import Topic
from stanchion_conformance.making import QUEUE, a_claim, an_item, change, inserted
from stanchion_sqlite import SqliteBackend, forks
from support.interrupts import interrupted
from support.sqlite_deeds import backend_on
from support.sqlite_files import trouble_with

# What was just opened, here or in Python's own library, and then interrupted, is closed by Python with a warning; so is
# a generator whose closing is interrupted.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ZERO: Final = timedelta(0)

SOON: Final = 10.0
"""Seconds: long enough for a call that need not wait."""

_numbers = count()


def _key() -> str:
    return f"{next(_numbers)}"


def _settle(backend: SqliteBackend) -> None:
    for record in a_claim(backend, claim_id=_key()).records:
        change(backend, record, State.COMPLETED)


def _hear(backend: SqliteBackend) -> None:
    watch = backend.watch([QUEUE], Topic.ENDED)
    watch.next(ZERO)
    watch.close()


ACTS: Final[dict[str, Callable[[SqliteBackend], Any]]] = {
    "insert": lambda backend: inserted(backend, an_item(_key())),
    "claim and apply": _settle,
    "get": lambda backend: backend.get(Get([f"{QUEUE}:a"])),
    "due": lambda backend: backend.due(FindDue([QUEUE], 10)),
    "configure": lambda backend: backend.configure(Configure(queue=QUEUE)),
    "wait": lambda backend: backend.wait(Wait([QUEUE], ZERO)),
    "watch": _hear,
}


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    """What was left to Python is closed before the next test, which would be blamed for it."""
    yield
    gc.collect()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of its own."""
    return tmp_path / "jobs.db"


@pytest.fixture
def backend(path: Path) -> Iterator[SqliteBackend]:
    """A backend that has read and written."""
    with closing(backend_on(path)) as backend:
        inserted(backend, an_item("a"))
        backend.get(Get([f"{QUEUE}:a"]))
        yield backend


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    """Another thread of the process."""
    with ThreadPoolExecutor(1) as threads:
        yield threads


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_an_interrupted_call_leaves_nothing_held(
    backend: SqliteBackend, path: Path, thread: ThreadPoolExecutor, act: Callable[[SqliteBackend], Any]
) -> None:
    """No lock of the process, none of the file, no turn; and none of what was half done."""
    kept = []
    act(backend)  # Python reads the texts of the statements now
    for raised in interrupted(lambda: act(backend)):
        kept.append(raised)
        _write_at_once(path)
        thread.submit(_use, backend).result(SOON)

    assert len(kept) > 20
    assert trouble_with(path) == []


def test_an_interrupted_fork_leaves_nothing_held(
    backend: SqliteBackend, path: Path, thread: ThreadPoolExecutor
) -> None:
    """Python calls what is to be done before and after one, whatever becomes of each."""
    kept = []
    for raised in interrupted(forks._before):
        kept.append(raised)
        forks._before()
        _after()
        thread.submit(_use, backend).result(SOON)
    for raised in interrupted(_after, first=forks._before):
        kept.append(raised)
        _after()
        _write_at_once(path)
        thread.submit(_use, backend).result(SOON)

    assert len(kept) > 20


def _after() -> None:
    forks._after(in_child=False)


def test_an_interrupted_opening_can_be_done_again(path: Path, thread: ThreadPoolExecutor) -> None:
    """The tables are there or not, and the next call makes them."""
    places = 0
    opened: list[SqliteBackend] = []

    def open_it() -> None:
        opened.append(backend_on(path))
        inserted(opened[-1], an_item(_key()))

    for raised in interrupted(open_it):
        places += 1
        del raised  # its traceback has connections, which would be kept open
        _write_at_once(path)
        if opened:
            thread.submit(_use, opened[-1]).result(SOON)
            opened.pop().close()

    assert places > 100
    assert trouble_with(path) == []


def test_an_interrupted_enqueuing_leaves_the_caller_s_transaction_alone(
    backend: SqliteBackend, path: Path
) -> None:
    """None is left open where there was none, and his own is open still."""
    with closing(sqlite3.connect(path)) as connection:
        for _ in interrupted(lambda: backend.insert_joined(Insert([an_item(_key())]), connection)):
            if not _:
                break
            assert not connection.in_transaction
            _write_at_once(path)
        connection.rollback()
        connection.execute("BEGIN IMMEDIATE")
        for _ in interrupted(lambda: backend.insert_joined(Insert([an_item(_key())]), connection)):
            assert connection.in_transaction
            assert connection.row_factory is None
            assert connection.text_factory is str
        connection.rollback()

    assert trouble_with(path) == []


def _write_at_once(path: Path) -> None:
    """Another program begins to write, and would not wait."""
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")


def _use(backend: SqliteBackend) -> None:
    """Read, write and ring; nothing is there to be waited for."""
    prompt = backend.within(timedelta(seconds=1))
    inserted(prompt, an_item(_key()))
    prompt.get(Get([f"{QUEUE}:a"]))
    prompt.wait(Wait([QUEUE], ZERO))
