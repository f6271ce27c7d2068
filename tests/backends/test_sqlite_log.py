"""The log of a SQLite file that was removed, or nearly: nothing that was acknowledged is lost in silence."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from stanchion.contract.requests import Get, Insert
from stanchion.errors import BackendError
from stanchion_conformance.making import QUEUE, an_item, inserted, keys_of
from stanchion_sqlite import SqliteBackend, locks
from support.hands import Hand, hands
from support.sqlite_deeds import backend_on, keys, make
from support.sqlite_files import trouble_with

IN_USE = 128
"""The byte of the index that says that somebody has it open."""

BOTH = [("-wal",), ("-wal", "-shm")]
"""Which files beside the database are removed."""


@pytest.fixture(autouse=True)
def look_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However quickly one call follows the other."""
    monkeypatch.setattr("stanchion_sqlite.log.FRESH", 0.0)


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
def backend(path: Path) -> Iterator[SqliteBackend]:
    """A backend with the job `a`, which has read as well as written."""
    with closing(backend_on(path)) as backend:
        inserted(backend, an_item("a"))
        backend.get(Get([f"{QUEUE}:a"]))
        yield backend


def beside(path: Path, *suffixes: str) -> list[Path]:
    """The files beside a database."""
    return [path.with_name(path.name + suffix) for suffix in suffixes]


def remove(path: Path, *suffixes: str) -> None:
    """Remove files beside a database."""
    for one in beside(path, *suffixes):
        one.unlink()


def which(path: Path) -> list[int]:
    """Which files lie beside a database."""
    return [one.stat().st_ino for one in beside(path, "-wal", "-shm")]


@pytest.mark.skipif(locks.SET is None, reason="only Linux has locks of open files")
def test_a_program_may_read_the_file_by_itself(backend: SqliteBackend, path: Path, other: Hand) -> None:
    """Others that close the database afterwards do not take themselves for the last ones, and remove nothing."""
    before = which(path)
    path.read_bytes()
    other.do("sqlite_deeds:make", path, "b")

    assert which(path) == before
    inserted(backend, an_item("c"))
    assert other.do("sqlite_deeds:keys", path) == ["a", "b", "c"]


@pytest.mark.skipif(locks.SET is None, reason="only Linux has locks of open files")
def test_a_program_may_read_the_index_by_itself(backend: SqliteBackend, path: Path, other: Hand) -> None:
    """Others that open the database afterwards do not take themselves for the first ones, and cut it off."""
    (index,) = beside(path, "-shm")
    index.read_bytes()

    assert other.do("sqlite_deeds:is_locked", index, IN_USE)


@pytest.mark.skipif(locks.SET is None, reason="only Linux has locks of open files")
def test_closing_one_backend_leaves_the_log_of_another(
    backend: SqliteBackend, path: Path, other: Hand
) -> None:
    """They are of one process, which has the file open still."""
    before = which(path)
    make(str(path), "b")
    path.read_bytes()
    other.do("sqlite_deeds:keys", path)

    assert which(path) == before


@pytest.mark.skipif(locks.SET is None, reason="only Linux has locks of open files")
def test_a_log_that_another_process_removed_as_the_last_one_is_left(
    path: Path, other: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there are no better locks than SQLite's: all that was committed is in the file, and the calls go on."""
    monkeypatch.setattr("stanchion_sqlite.guard.is_set", lambda *_: False)
    with closing(backend_on(path)) as backend:
        inserted(backend, an_item("a"))
        backend.get(Get([f"{QUEUE}:a"]))
        path.read_bytes()
        other.do("sqlite_deeds:make", path, "b")
        other.do("sqlite_deeds:insert", path, "c")  # and has it open now, with another log

        assert keys_of(filter(None, backend.get(Get([f"{QUEUE}:{key}" for key in "abc"])))) == ["a", "b", "c"]
        inserted(backend, an_item("d"))
        assert other.do("sqlite_deeds:keys", path) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("removed", BOTH, ids=" ".join)
def test_what_was_committed_to_a_log_that_is_gone_is_saved(
    backend: SqliteBackend, path: Path, other: Hand, removed: tuple[str, ...]
) -> None:
    """As long as nobody has made another one: it is still open here, and is moved to the file."""
    remove(path, *removed)
    inserted(backend, an_item("b"))

    assert other.do("sqlite_deeds:keys", path) == ["a", "b"]
    assert trouble_with(path) == []


def test_a_log_that_was_moved_away_is_noticed(backend: SqliteBackend, path: Path, other: Hand) -> None:
    """Though it still has a name."""
    (log,) = beside(path, "-wal")
    log.rename(path.with_name("backup"))
    inserted(backend, an_item("b"))

    assert other.do("sqlite_deeds:keys", path) == ["a", "b"]


def test_reading_notices_it_too(backend: SqliteBackend, path: Path, other: Hand) -> None:
    """And sees what others write from then on."""
    remove(path, "-wal", "-shm")
    backend.get(Get([f"{QUEUE}:a"]))
    other.do("sqlite_deeds:make", path, "b")

    assert keys_of(filter(None, backend.get(Get([f"{QUEUE}:a", f"{QUEUE}:b"])))) == ["a", "b"]


def test_closing_saves_it_too(path: Path, other: Hand) -> None:
    """Whatever was removed since the last call."""
    with closing(backend_on(path)) as backend:
        inserted(backend, an_item("a"))
        remove(path, "-wal", "-shm")

    assert other.do("sqlite_deeds:keys", path) == ["a"]


def test_a_log_with_a_successor_is_refused(path: Path, other: Hand) -> None:
    """What is in both cannot be joined: calls say so, and closing leaves the file as the others know it."""
    with closing(backend_on(path)) as backend:
        inserted(backend, an_item("a"))
        remove(path, "-wal", "-shm")
        other.do("sqlite_deeds:make", path, "b")
        for call in (lambda: inserted(backend, an_item("c")), lambda: backend.get(Get([f"{QUEUE}:a"]))):
            with pytest.raises(BackendError, match="jobs.db-wal was removed or replaced while it was open"):
                call()

    assert keys(str(path)) == ["b"]
    assert trouble_with(path) == []


def test_a_log_that_is_removed_during_a_transaction_is_saved(
    backend: SqliteBackend, path: Path, other: Hand
) -> None:
    """It is looked for once more before the call is answered."""
    _commit_and(backend, lambda: remove(path, "-wal", "-shm"))

    assert other.do("sqlite_deeds:keys", path) == ["a", "b"]


def test_what_cannot_be_saved_is_not_acknowledged(backend: SqliteBackend, path: Path, other: Hand) -> None:
    """The log was removed during the transaction, and somebody has made another one already."""

    def replace() -> None:
        remove(path, "-wal", "-shm")
        other.do("sqlite_deeds:insert", path, "c")

    with pytest.raises(BackendError, match="with it what was written last"):
        _commit_and(backend, replace)


@pytest.mark.parametrize("moved", [False, True], ids=["removed", "moved away"])
def test_a_caller_s_own_transaction_is_looked_after(backend: SqliteBackend, path: Path, moved: bool) -> None:
    """What it commits would be lost: that is said while he can still roll it back."""
    log, index = beside(path, "-wal", "-shm")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE orders (number INTEGER)")
        connection.execute("INSERT INTO orders VALUES (1)")
        index.unlink()
        if moved:
            log.rename(path.with_name("backup"))
        else:
            log.unlink()
        with pytest.raises(BackendError, match="jobs.db-wal was removed"):
            backend.insert_joined(Insert([an_item("b")]), connection)

        assert connection.in_transaction


def test_a_caller_s_connection_to_an_older_log_is_noticed(backend: SqliteBackend, path: Path) -> None:
    """Though this backend has opened the new one."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE orders (number INTEGER)")
        remove(path, "-wal")
        inserted(backend, an_item("b"))
        with pytest.raises(BackendError, match="jobs.db-wal was removed"):
            backend.insert_joined(Insert([an_item("c")]), connection)

        assert not connection.in_transaction


def test_a_backend_that_nobody_closes_leaves_the_file_alone(path: Path, other: Hand) -> None:
    """Once Python has cleared it away, as it does at the end of a program."""
    other.do("sqlite_deeds:drop", path, "a")

    assert [one.name for one in path.parent.iterdir()] == ["jobs.db"]


def _commit_and(backend: SqliteBackend, act) -> None:
    """Insert the job `b`, and do something before that is committed."""
    columns = "queue, key, task, state, created_at, args"
    insert = f"INSERT INTO stanchion_jobs ({columns}) VALUES (1, 'b', 't', 'queued', 0, x'')"

    def inside(cursor: sqlite3.Cursor) -> None:
        cursor.execute(insert)
        act()

    backend._database.write(inside)
