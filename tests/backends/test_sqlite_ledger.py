"""What a SQLite file keeps of a queue beside its jobs: its ledger, and its settings."""

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Final

import msgspec
import pytest

from stanchion.contract.requests import Configure, Forget, ReadLedger
from stanchion.model.ledger import HOURS, MINUTES, Snapshot, Tally, minute_of, thinned
from stanchion.model.queues import QueueSettings
from stanchion.model.states import Event
from stanchion_conformance.making import QUEUE, an_item, change, inserted, the
from stanchion_sqlite import SqliteBackend
from stanchion_testing.clock import VirtualClock
from support.factories import NOW
from support.sqlite_files import asked

STEP: Final = timedelta(minutes=17)
"""Between two countings: no divisor of an hour."""

FEW: Final = timedelta(days=3)
"""Longer than the snapshots of minutes are kept."""


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


def count_for(backend: SqliteBackend, clock: VirtualClock, span: timedelta) -> list[Snapshot]:
    """Insert a job in each step of a span; the snapshots that are made by that."""
    made = []
    for number in range(1, span // STEP + 1):
        inserted(backend, an_item(f"{number}"))
        made.append(Snapshot(minute_of(clock.now()), {"-.enqueue.queued": Tally(number, 0)}))
        clock.advance(STEP)
    inserted(backend, an_item("last"))
    return made


def test_snapshots_are_kept_as_long_as_they_are_wanted(backend: SqliteBackend, clock: VirtualClock) -> None:
    """Those of minutes for two days; the last of each hour after that."""
    made = count_for(backend, clock, FEW)
    books = backend.ledger(ReadLedger(queue=QUEUE, since=NOW))

    assert books.minute == minute_of(clock.now())
    assert list(books.snapshots) == thinned(made, made[-1].minute)
    assert len(books.snapshots) < len(made)


@pytest.mark.parametrize("ago", [timedelta(0), STEP, timedelta(hours=5), timedelta(hours=60), 2 * FEW])
@pytest.mark.parametrize("hourly", [False, True])
def test_snapshots_are_read_since_an_instant(
    backend: SqliteBackend, clock: VirtualClock, ago: timedelta, hourly: bool
) -> None:
    """With the last one before it; the last of each hour, if that is enough."""
    made = count_for(backend, clock, FEW)
    since = clock.now() - ago
    kept = thinned(made, made[-1].minute)
    if hourly:
        kept = [one for one, after in pairwise([*kept, None]) if _ends_hour(one, after)]
    before = [one for one in kept if one.minute < minute_of(since)][-1:]
    expected = [*before, *(one for one in kept if one.minute >= minute_of(since))]

    assert list(backend.ledger(ReadLedger(queue=QUEUE, since=since, hourly=hourly)).snapshots) == expected


def _ends_hour(one: Snapshot | None, after: Snapshot | None) -> bool:
    return one is not None and (after is None or after.minute // 60 != one.minute // 60)


def test_old_snapshots_leave_the_file_a_few_at_a_time(
    backend: SqliteBackend, clock: VirtualClock, path: Path
) -> None:
    """However many a queue has that nobody used for long: each call has an end, and the last one before stays."""
    last = minute_of(NOW) - HOURS // timedelta(minutes=1)
    rows = ",".join(f"(1, {kind}, {last - number}, '{{}}')" for kind in (0, 1) for number in range(150))
    inserted(backend, an_item("a"))
    asked(path, f"INSERT INTO stanchion_snapshots (queue, ends_hour, minute, totals) VALUES {rows}")
    left = []
    for key in "bcd":
        clock.advance(MINUTES)
        inserted(backend, an_item(key))
        left.append(asked(path, f"SELECT count(*) FROM stanchion_snapshots WHERE minute <= {last}")[0][0])

    assert left == [100, 1, 1]  # the last one of an hour is what later ones are told apart from


def test_no_snapshot_is_left_of_a_queue_that_was_forgotten(
    backend: SqliteBackend, clock: VirtualClock, path: Path
) -> None:
    """A new one of its name begins with nothing."""
    inserted(backend, an_item("a"))
    clock.advance(STEP)
    change(backend, the(backend), None, event=Event.DELETE)
    forgotten = backend.forget(Forget(QUEUE))

    assert forgotten
    assert asked(path, "SELECT * FROM stanchion_snapshots") == []
    assert backend.ledger(ReadLedger(queue=QUEUE, since=NOW)).totals == {}


def test_settings_of_a_newer_version_survive_a_change(backend: SqliteBackend, path: Path) -> None:
    """An older one does not know them, and leaves them as they are."""
    inserted(backend, an_item("a"))
    asked(path, """UPDATE stanchion_queues SET settings = '{"paused": false, "lanes": {"max_running": 1}}'""")
    answer = backend.configure(Configure(queue=QUEUE, set={"paused": True}))
    ((stored,),) = asked(path, "SELECT settings FROM stanchion_queues")

    assert (answer.before, answer.after) == (QueueSettings(), QueueSettings(paused=True))
    assert msgspec.json.decode(stored) == {"paused": True, "lanes": {"max_running": 1}}
