"""What a transaction on a SQLite file does beside what it was asked for, and what it leaves undone."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from stanchion import State
from stanchion_conformance.making import (
    QUEUE,
    WAIT,
    a_change,
    a_claim,
    an_item,
    in_states,
    inserted,
)
from stanchion_sqlite import SqliteBackend
from stanchion_sqlite.backend import LIMITS
from stanchion_testing.clock import VirtualClock
from support.factories import NOW
from support.sqlite_files import asked, tables_of

ZERO = timedelta(0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of its own."""
    return tmp_path / "jobs.db"


@pytest.fixture
def clock() -> VirtualClock:
    """Time that stands still."""
    return VirtualClock(NOW)


@pytest.fixture
def backend(path: Path, clock: VirtualClock) -> Iterator[SqliteBackend]:
    """A backend on that time."""
    with closing(SqliteBackend(path, namespace="test", synchronous="normal", clock=clock)) as backend:
        yield backend


def test_a_claim_promotes_one_batch_of_all_that_are_due(backend: SqliteBackend, clock: VirtualClock) -> None:
    """And not one of each state: a claim has an end."""
    half = LIMITS.batch * 3 // 5
    states = {f"r{number}": State.RETRYING for number in range(half)}
    in_states(backend, states | {f"s{number}": State.SCHEDULED for number in range(half)})
    clock.advance(WAIT)
    a_claim(backend, limit=1)
    counts = backend.count([QUEUE])[QUEUE]

    assert counts[State.QUEUED] + counts[State.RUNNING] == LIMITS.batch


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_transaction_that_fails_has_done_nothing(
    backend: SqliteBackend, path: Path, error: type[BaseException]
) -> None:
    """At once, and for others too: they can write."""
    inserted(backend, an_item("a"))
    before = tables_of(path)

    def fail(cursor: sqlite3.Cursor) -> None:
        cursor.execute("DELETE FROM stanchion_jobs")
        raise error

    with pytest.raises(error):
        backend._database.write(fail)

    assert tables_of(path) == before
    with closing(sqlite3.connect(path, timeout=0)) as other:
        other.execute("BEGIN IMMEDIATE")


def test_an_earlier_due_time_wakes_a_waiting_worker(backend: SqliteBackend) -> None:
    """It sleeps until the one that it knows; a later one is none of its business."""
    waits = {}
    for key, hours in (("first", 2), ("later", 3), ("earlier", 1)):
        inserted(backend, an_item(key, state=State.SCHEDULED, clock=timedelta(hours=hours)))
        waits[key] = backend.wait([QUEUE], ZERO)
        a_claim(backend)

    assert waits == {"first": True, "later": False, "earlier": True}


def test_a_unique_key_that_the_same_call_freed_can_be_taken(backend: SqliteBackend) -> None:
    """Changes are made in the order given."""
    inserted(backend, an_item("a", unique="digest", scope="end"), an_item("b"))
    a, b = a_claim(backend).records
    answers = backend.apply(
        [
            a_change(a, State.COMPLETED, head={"unique": None}),
            a_change(b, State.QUEUED, head={"unique": "digest"}),
        ]
    )

    assert [getattr(answer, "why", None) for answer in answers] == [None, None]
    assert asked(path_of(backend), "SELECT key, unique_key FROM stanchion_jobs ORDER BY key") == [
        ("a", None),
        ("b", "digest"),
    ]


def path_of(backend: SqliteBackend) -> Path:
    """Where its jobs are."""
    return backend._database.path
