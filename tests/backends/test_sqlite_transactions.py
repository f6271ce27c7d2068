"""What a transaction on a SQLite file does beside what it was asked for, and what it leaves undone."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from stanchion import State
from stanchion.contract.requests import Apply, Count, FindDue, Get, Wait
from stanchion.model.changes import Applied
from stanchion.model.states import Event
from stanchion_conformance.making import (
    QUEUE,
    WAIT,
    a_change,
    a_claim,
    an_item,
    change,
    in_states,
    inserted,
)
from stanchion_sqlite import SqliteBackend
from stanchion_sqlite.transaction import LIMITS
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
    counts = backend.count(Count([QUEUE]))[QUEUE]

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
        inserted(backend, an_item(key, state=State.SCHEDULED, due=timedelta(hours=hours)))
        waits[key] = backend.wait(Wait([QUEUE], ZERO))
        a_claim(backend)

    assert waits == {"first": True, "later": False, "earlier": True}


def test_a_unique_key_that_the_same_call_freed_can_be_taken(backend: SqliteBackend) -> None:
    """Changes are made in the order given."""
    inserted(backend, an_item("a", unique="digest", scope="end"), an_item("b"))
    a, b = a_claim(backend).records
    changes = [a_change(a, State.COMPLETED, unique=None), a_change(b, State.QUEUED, unique="digest")]
    answers = backend.apply(Apply(changes))

    assert [getattr(answer, "why", None) for answer in answers] == [None, None]
    assert asked(path_of(backend), "SELECT key, unique_key FROM stanchion_jobs ORDER BY key") == [
        ("a", None),
        ("b", "digest"),
    ]


def test_a_change_that_leaves_a_job_as_it_is_writes_nothing(backend: SqliteBackend) -> None:
    """A beat without news, for example."""
    inserted(backend, an_item("a"))
    held = a_claim(backend).records[0]
    before = tables_of(path_of(backend))
    answer = change(backend, held, State.RUNNING, event=Event.BEAT, guards={"claim": held.claim})

    assert answer == Applied(backend.now(), 0)
    assert tables_of(path_of(backend)) == before


def test_jobs_without_tags_run_no_statement_about_tags(backend: SqliteBackend) -> None:
    """What a job does not use it does not pay for."""
    statements: list[str] = []
    backend.get(Get([f"{QUEUE}:a"]))
    backend._database.pair.writer.connection.set_trace_callback(statements.append)
    inserted(backend, an_item("a"), an_item("b", state=State.SCHEDULED))
    held = a_claim(backend).records[0]
    change(backend, held, State.COMPLETED, due=ZERO, guards={"claim": held.claim}, notes={"result": b"1"})
    change(backend, held, None, guards={"state": State.COMPLETED})

    assert statements
    assert [text for text in statements if "tag" in text.replace("tags, counters", "")] == []


def test_heads_are_found_due_without_their_bodies(backend: SqliteBackend, clock: VirtualClock) -> None:
    """A sweep of jobs with long results reads none of them."""
    inserted(backend, an_item("a"))
    held = a_claim(backend).records[0]
    change(backend, held, State.COMPLETED, due=ZERO, notes={"result": b"1"})
    statements: list[str] = []
    pair = backend._database.pair
    backend.due(FindDue([QUEUE], 1))
    for cursor in (pair.reader, pair.writer):
        cursor.connection.set_trace_callback(statements.append)
    due = backend.due(FindDue([QUEUE], 10)).heads
    answers = backend.apply(Apply([a_change(one, None, event=Event.EXPIRE) for one in due]))

    assert [type(answer) for answer in answers] == [Applied]
    assert [text for text in statements if "FROM stanchion_jobs" in text and "notes" in text] == []


def path_of(backend: SqliteBackend) -> Path:
    """Where its jobs are."""
    return backend._database.path
