"""Rows of a SQLite file that were damaged by hand: they are quarantined and reported, and stop nobody."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from stanchion import State
from stanchion.contract.answers import Fault, Finding
from stanchion.contract.requests import (
    Apply,
    Check,
    Configure,
    Count,
    FindDue,
    Forget,
    Get,
    ReadLedger,
    Wait,
)
from stanchion.model.changes import Refusal, Refused
from stanchion.model.queues import QueueSettings
from stanchion_conformance.invariants import findings, listed
from stanchion_conformance.making import (
    QUEUE,
    a_change,
    a_claim,
    an_item,
    change,
    counts_of,
    inserted,
    items,
    keys_of,
    the,
)
from stanchion_sqlite import SqliteBackend
from support.sqlite_deeds import backend_on, engine_on
from support.sqlite_files import asked

DAMAGE: Final = {
    "its notes are no msgpack": "notes = x'c1'",
    "its notes are a text": "notes = 'notes'",
    "its notes are something else": "notes = x'90'",
    "its tags are no JSON": "tags = '['",
    "its tags are no list": "tags = '{}'",
    "its tags are numbers": "tags = '[1]'",
    "it was created in words": "created_at = 'yesterday'",
    "it was created after the last year": "created_at = 1 << 60",
    "its priority is a word": "priority = 'high'",
    "its place is a word": "place = 'first'",
    "its policy is a text": "policy = 'x'",
    "its arguments are a text": "args = 'x'",
    "its counters are no JSON": "counters = '{'",
    "its error is no UTF-8": "error = CAST(x'ff' AS TEXT)",
    "its key is no text": "key = x'00ff'",
    "its key is no UTF-8": "key = CAST(x'ff' AS TEXT)",
    "its task is no UTF-8": "task = CAST(x'41ff' AS TEXT)",
    "its task is no text": "task = x'41'",
    "its tags are no UTF-8": "tags = CAST(x'5b22ff225d' AS TEXT)",
    "its unique key is no UTF-8": "unique_key = CAST(x'ff' AS TEXT)",
    "its scope is no UTF-8": "scope = CAST(x'ff' AS TEXT)",
    "its policy is no UTF-8": "policy = CAST(x'ff' AS TEXT)",
    "a retrying one has ended": "state = 'retrying', due_at = 1, ended_at = 1",
    "a running one is held by nobody": "state = 'running', due_at = 1, claim = NULL, worker = NULL",
    "a completed one has not ended": "state = 'completed', due_at = 1, ended_at = NULL",
}
"""What makes a row unreadable."""

ABSENT: Final = Refused(Refusal.ABSENT, None)

RESULT: Final = {"result": b"1"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of its own."""
    return tmp_path / "jobs.db"


@pytest.fixture
def backend(path: Path) -> Iterator[SqliteBackend]:
    """A backend with three queued jobs: a, b and c; the first holds a unique key."""
    with closing(backend_on(path)) as backend:
        inserted(backend, an_item("a", unique="digest", scope="end"), *items("bc"))
        yield backend


def damage(path: Path, how: str, key: str = "a") -> None:
    """Change a row as nobody may."""
    asked(
        path, "PRAGMA ignore_check_constraints = ON", f"UPDATE stanchion_jobs SET {how} WHERE key = '{key}'"
    )


@pytest.mark.parametrize("how", DAMAGE.values(), ids=DAMAGE)
def test_an_unreadable_row_stops_nobody(backend: SqliteBackend, path: Path, how: str) -> None:
    """It cannot be got, is handed to nobody, is reported, and its id and unique key can be used again."""
    damage(path, how)

    assert backend.get(Get([f"{QUEUE}:a", f"{QUEUE}:b"])) == [None, the(backend, "b")]
    assert Fault.UNREADABLE in _faults(backend)
    assert backend.due(FindDue([QUEUE], 10)).heads == []
    assert keys_of(a_claim(backend, limit=3).records) == ["b", "c"]
    assert inserted(backend, an_item("a", unique="digest", scope="end"))[0].created
    assert keys_of(a_claim(backend).records) == ["a"]
    assert set(_faults(backend)) - {Fault.UNBALANCED} == {Fault.UNREADABLE}
    assert sorted(keys_of(one for state in State for one in listed(backend, QUEUE, state))) == ["a", "b", "c"]
    assert sum(backend.count(Count([QUEUE]))[QUEUE].values()) == 3
    assert backend.forget(Forget(QUEUE)) is False


@pytest.mark.parametrize("how", ["task = x'41'", "tags = '['", "worker = CAST(x'ff' AS TEXT)"])
def test_running_jobs_that_become_unreadable_stop_no_sweep(
    backend: SqliteBackend, path: Path, how: str
) -> None:
    """Those that are due with it are lost as ever, and a worker's late word about it is refused."""
    held = a_claim(backend, lease=timedelta(0)).records
    damage(path, how)

    assert keys_of(backend.due(FindDue([QUEUE], 10)).heads) == ["b", "c"]
    engine = engine_on(backend)
    assert engine.call(engine.sweep([QUEUE])) == 2
    assert change(backend, held[0], State.COMPLETED, guards={"claim": held[0].claim}) == ABSENT
    assert keys_of(a_claim(backend).records) == ["b", "c"]


@pytest.mark.parametrize("how", ["notes = x'c1'", "lists = 'lists'"])
def test_an_unreadable_body_is_found_by_who_needs_it(backend: SqliteBackend, path: Path, how: str) -> None:
    """A sweep finds the job by its head; writing to its notes and lists quarantines it."""
    a_claim(backend, lease=timedelta(0))
    damage(path, how)
    engine = engine_on(backend)

    assert keys_of(backend.due(FindDue([QUEUE], 10)).heads) == ["a", "b", "c"]
    assert engine.call(engine.sweep([QUEUE])) == 2
    assert _faults(backend) == [Fault.UNREADABLE]
    assert backend.quarantined([QUEUE]) == {QUEUE: 1}


def test_a_refusal_without_its_history_quarantines(backend: SqliteBackend, path: Path) -> None:
    """What would be shown of the job cannot be read, so it is absent, for what follows in the call as well."""
    held = a_claim(backend).records[0]
    damage(path, "lists = 'lists'")
    late = a_change(held, State.COMPLETED, guards={"claim": "another"})
    answers = backend.apply(Apply([late, a_change(held, State.COMPLETED)]))

    assert answers == [ABSENT, ABSENT]
    assert _faults(backend) == [Fault.UNREADABLE]


@pytest.mark.parametrize("how", ["tags = '['", "notes = x'c1'"])
def test_an_unreadable_row_spoils_no_batch_of_changes(backend: SqliteBackend, path: Path, how: str) -> None:
    """The changes to other jobs are made."""
    held = a_claim(backend).records
    damage(path, how, "b")
    changes = [a_change(one, State.COMPLETED, guards={"claim": one.claim}, notes=RESULT) for one in held]
    answers = backend.apply(Apply(changes))

    assert [getattr(answer, "why", None) for answer in answers] == [None, Refusal.ABSENT, None]


def test_a_claim_is_answered_again_without_what_became_unreadable(backend: SqliteBackend, path: Path) -> None:
    """The other jobs of the claim are still its own."""
    a_claim(backend, claim_id="mine")
    damage(path, "tags = '['", "b")

    assert keys_of(a_claim(backend, claim_id="mine").records) == ["a", "c"]


def test_a_state_that_does_not_exist_is_reported(backend: SqliteBackend, path: Path) -> None:
    """The row stands where nobody looks; its id can be used again."""
    damage(path, "state = 'asleep'")

    assert set(_faults(backend)) == {Fault.CORRUPT, Fault.UNREADABLE, Fault.UNBALANCED}
    assert keys_of(a_claim(backend).records) == ["b", "c"]
    assert inserted(backend, an_item("a"))[0].created
    assert set(_faults(backend)) == {Fault.UNREADABLE, Fault.UNBALANCED}


@pytest.mark.parametrize("how", ["ended_at = 5", "run = 'one'", "state = 'running'"])
def test_what_its_state_does_not_have_makes_a_row_unreadable(
    backend: SqliteBackend, path: Path, how: str
) -> None:
    """It does not stop a claim of the others."""
    damage(path, how)

    assert keys_of(a_claim(backend).records) == ["b", "c"]
    assert backend.get(Get([f"{QUEUE}:a"])) == [None]


def test_a_claim_sets_right_what_it_writes_anyway(backend: SqliteBackend, path: Path) -> None:
    """A queued job with a deadline is reported until it is started."""
    damage(path, "due_at = 5")
    before = _faults(backend)

    assert before
    assert keys_of(a_claim(backend).records) == ["a", "b", "c"]
    assert _faults(backend) == []


def test_a_repaired_record_comes_back(backend: SqliteBackend, path: Path) -> None:
    """With the next sweep: to its state and its unique key, counted, and known by its tags."""
    inserted(backend, an_item("d", unique="mine", scope="end", tags=("a", "b")))
    before = the(backend, "d")
    damage(path, "counters = '{'", "d")
    assert keys_of(a_claim(backend).records) == ["a", "b", "c"]
    assert counts_of(backend, tag="a")[State.QUEUED] == 0
    backend.due(FindDue([QUEUE], 10))
    asked(path, "UPDATE stanchion_jobs SET counters = NULL WHERE state = 'unreadable'")
    backend.wait(Wait([QUEUE], timedelta(0)))
    backend.due(FindDue([QUEUE], 10))

    assert the(backend, "d") == before
    assert backend.wait(Wait([QUEUE], timedelta(0)))
    assert counts_of(backend, tag="a")[State.QUEUED] == 1
    assert backend.quarantined([QUEUE]) == {QUEUE: 0}
    assert inserted(backend, an_item("e", unique="mine", scope="end"))[0].created is False
    assert _faults(backend) == []
    assert asked(path, "SELECT * FROM stanchion_quarantine") == []


def test_a_repaired_record_whose_id_was_taken_stays_in_quarantine(backend: SqliteBackend, path: Path) -> None:
    """The job that has the id by now is another one."""
    damage(path, "counters = '{'")
    a_claim(backend)
    inserted(backend, an_item("a"))
    asked(path, "UPDATE stanchion_jobs SET counters = NULL WHERE state = 'unreadable'")
    backend.due(FindDue([QUEUE], 10))

    assert the(backend, "a").unique is None
    assert backend.quarantined([QUEUE]) == {QUEUE: 1}
    assert _faults(backend) == [Fault.UNREADABLE]


def test_each_quarantined_record_is_looked_at_in_turn(backend: SqliteBackend, path: Path) -> None:
    """A few in each sweep, so that many that stay unreadable do not keep others there."""
    inserted(backend, *items("defgh"))
    for key in "abcdefgh":
        damage(path, "counters = '{'", key)
    a_claim(backend)
    asked(path, "UPDATE stanchion_jobs SET counters = NULL WHERE key = 'h 8'")
    for _ in range(3):
        backend.due(FindDue([QUEUE], 10))

    assert the(backend, "h").state is State.QUEUED
    assert backend.quarantined([QUEUE]) == {QUEUE: 7}


def test_a_job_that_was_moved_by_hand_is_missing_in_the_index_of_tags(
    backend: SqliteBackend, path: Path
) -> None:
    """It is reported; and it is not listed in the state that it left."""
    inserted(backend, an_item("d", tags=("a",)))
    damage(path, "state = 'scheduled', due_at = 5", "d")

    assert set(_faults(backend)) == {Fault.MISPLACED, Fault.UNBALANCED}
    assert listed(backend, QUEUE, State.QUEUED, tag="a") == []


@pytest.mark.parametrize("totals", ["'{'", "'[]'", "CAST(x'ff' AS TEXT)"])
def test_a_damaged_ledger_begins_anew(backend: SqliteBackend, path: Path, totals: str) -> None:
    """The queue goes on, and `check` says that the ledger is not balanced."""
    asked(path, f"UPDATE stanchion_queues SET totals = {totals}")
    a_claim(backend)
    counted = backend.ledger(ReadLedger(queue=QUEUE)).totals

    assert {row: tally.jobs for row, tally in counted.items()} == {"queued.claim.running": 3}
    assert set(_faults(backend)) == {Fault.UNBALANCED}


def test_what_no_job_can_be_is_refused_by_the_table(backend: SqliteBackend, path: Path) -> None:
    """A careless program cannot write it."""
    for how in ("state = 'asleep'", "state = 'running'", "ended_at = 5", "due_at = 5"):
        with pytest.raises(sqlite3.IntegrityError, match="CHECK constraint failed"):
            asked(path, f"UPDATE stanchion_jobs SET {how} WHERE key = 'a'")


@pytest.mark.parametrize("settings", ["'{'", "CAST(x'ff' AS TEXT)"])
def test_damaged_settings_are_the_usual_ones(backend: SqliteBackend, path: Path, settings: str) -> None:
    """The queue goes on, and can be configured again."""
    asked(path, f"UPDATE stanchion_queues SET settings = {settings}")

    assert backend.queues() == {QUEUE: QueueSettings()}
    assert keys_of(a_claim(backend, limit=1).records) == ["a"]
    backend.configure(Configure(queue=QUEUE, set={"paused": True}))
    assert backend.queues() == {QUEUE: QueueSettings(paused=True)}


def test_a_queue_whose_name_cannot_be_read_hides_no_other(backend: SqliteBackend, path: Path) -> None:
    """Nobody can ask for it."""
    asked(
        path,
        "INSERT INTO stanchion_queues (namespace, name, settings) VALUES ('test', CAST(x'ff' AS TEXT), '{}')",
    )

    assert list(backend.queues()) == [QUEUE]


def test_text_is_text_again_after_what_could_not_be_read(backend: SqliteBackend, path: Path) -> None:
    """A strange row is read otherwise, but for once."""
    damage(path, "task = CAST(x'ff' AS TEXT)")
    assert backend.get(Get([f"{QUEUE}:a"])) == [None]
    a_claim(backend, limit=1)

    assert {each.connection.text_factory for each in _cursors(backend)} == {str}


def _cursors(backend: SqliteBackend) -> list[Any]:
    return [backend._database.pair.writer, backend._database.pair.reader]


def _faults(backend: SqliteBackend) -> list[Fault]:
    found: list[Finding] = list(backend.check(Check(QUEUE)).findings)
    assert len(found) == len(findings(backend, QUEUE))
    return [one.fault for one in found]
