"""SQLite files that were removed or replaced, transactions that fail, and calls that no worker sends."""

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from stanchion.contract.requests import Get
from stanchion.engine.engine import Engine
from stanchion.errors import BackendError
from stanchion.plugins.manager import Plugins
from stanchion_conformance.making import a_claim, an_item, inserted, items, keys_of
from stanchion_sqlite import SqliteBackend
from stanchion_sqlite.connections import transact


@pytest.fixture(autouse=True)
def look_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However quickly one call follows the other."""
    monkeypatch.setattr("stanchion_sqlite.log.FRESH", 0.0)


@pytest.fixture
def backend(tmp_path: Path):
    """A backend on a new file."""
    backend = SqliteBackend(tmp_path / "jobs.db", namespace="test", synchronous="normal")
    yield backend
    backend.close()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_was_removed_is_not_written_to(backend: SqliteBackend, tmp_path: Path, replaced: bool):
    """What went there would be lost; reading it would mislead."""
    inserted(backend, an_item("a"))
    for part in tmp_path.iterdir():
        part.unlink()
    if replaced:
        (tmp_path / "jobs.db").touch()

    for call in (lambda: inserted(backend, an_item("b")), lambda: backend.get(Get(["mail:a"]))):
        with pytest.raises(BackendError, match="removed or replaced while it was open: restart"):
            call()


def test_a_claim_asked_again_for_fewer_queues_answers_for_those(backend: SqliteBackend):
    """And for no others."""
    inserted(backend, an_item("a", queue="one"), an_item("b", queue="two"))
    a_claim(backend, "one", "two", claim_id="claim")

    assert keys_of(a_claim(backend, "two", claim_id="claim").records) == ["b"]


def test_a_claim_of_less_than_nothing_takes_nothing(backend: SqliteBackend):
    """SQLite would take it for no limit."""
    inserted(backend, *items("abc"))
    engine = Engine(backend, Plugins())

    assert engine.call(engine.claim(["mail"], -1, "worker", timedelta(seconds=30))).records == []


def test_a_link_to_a_file_that_is_not_there_yet_makes_a_private_one(tmp_path: Path):
    """The mode is that of the file, wherever it lies."""
    (tmp_path / "link.db").symlink_to(tmp_path / "real.db")
    backend = SqliteBackend(tmp_path / "link.db", namespace="test")
    inserted(backend, an_item())
    backend.close()

    assert (tmp_path / "real.db").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("error", [ValueError, sqlite3.IntegrityError, KeyboardInterrupt])
def test_whatever_is_raised_inside_a_transaction_nothing_of_it_stays(error: type[BaseException]) -> None:
    """And the connection can be used again."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE numbers (number)")
        cursor = connection.cursor()

        def insert(number: int, error: type[BaseException] | None = None) -> None:
            cursor.execute("INSERT INTO numbers VALUES (?)", (number,))
            if error is not None:
                raise error

        with pytest.raises(error):
            transact(cursor, 0, lambda _: insert(1, error))
        still_open = connection.in_transaction
        transact(cursor, 0, lambda _: insert(2))

        assert not still_open
        assert connection.execute("SELECT number FROM numbers").fetchall() == [(2,)]
