"""Processes on one SQLite file that are killed with `kill -9`, at random moments and at chosen ones."""

import shutil
import signal
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any, Final

import pytest
from attrs import frozen

from stanchion import State
from stanchion.contract.backend import Backend
from stanchion.contract.requests import Count, Get
from stanchion.model.records import Record
from stanchion_conformance.invariants import broken, unlived
from stanchion_conformance.making import QUEUE
from stanchion_sqlite import SqliteBackend
from stanchion_testing.clock import VirtualClock
from support.hands import Fork, Hand, hands
from support.sqlite_deeds import backend_on, engine_on, settle
from support.sqlite_files import tables_of, trouble_with
from support.sqlite_lives import ACTS, LEASE, act, prepare, stage
from support.waiting import eventually

AT_A_TIME: Final = 4
"""How many processes live at once."""

BATCH: Final = 25
"""After how many deaths everybody is dead, and the file is looked at."""

LONGEST: Final = 0.15
"""Seconds of the longest life."""

KILLED: Final = -signal.SIGKILL


@frozen
class Life:
    """A process, and when it is to die."""

    fork: Fork
    ends: float

    def end(self) -> None:
        """Kill it when its time has come."""
        eventually(lambda: monotonic() >= self.ends)
        assert self.fork.kill() == KILLED


@pytest.mark.timeout(1_200)  # for as many kills as one asks for
def test_nothing_acknowledged_is_lost(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """However many processes are killed, what they were answered stands, the file is sound, and the rest is done."""
    path, journal = tmp_path / "jobs.db", tmp_path / "journal"
    given = pytestconfig.getoption("seed")
    seed = Random().getrandbits(32) if given is None else given
    print(f"--seed={seed}")  # noqa: T201  # pytest shows it with a failure
    chance, kills = Random(seed), pytestconfig.getoption("kills")
    with hands(2) as parents:
        for done in range(0, kills, BATCH):
            _live_and_die(parents, path, journal, chance, min(BATCH, kills - done))
            with closing(backend_on(path)) as backend:
                assert trouble_with(path) == []
                assert broken(backend) == []
                assert list(_lost(backend, journal)) == []

    later = VirtualClock(datetime.now(UTC) + timedelta(hours=1))  # when all leases have lapsed
    with closing(SqliteBackend(path, namespace="test", clock=later)) as backend:
        eventually(lambda: _nothing_is_left(backend))

        assert broken(backend) == []
        assert list(_lost(backend, journal)) == []
        assert [words for record in _noted(backend, journal) for words in unlived(record)] == []
        assert {record.state for record in _noted(backend, journal)} == {State.COMPLETED}


@pytest.mark.parametrize("verb", ACTS)
@pytest.mark.parametrize("steps", [0, 5, 40])
def test_a_call_that_is_killed_was_made_whole_or_not_at_all(tmp_path: Path, verb: str, steps: int) -> None:
    """Wherever in the call that is: at the begin of each of its statements, or in the middle of them."""
    before = tmp_path / "before.db"
    with closing(stage(before)) as backend:
        prepare(backend)
    after = shutil.copy(before, tmp_path / "after.db")
    act(after, verb)
    outcomes = {"before": tables_of(before), "after": tables_of(after)}
    with hands(1) as (hand,):
        found = [_outcome(path, outcomes) for path in _crashes(hand, before, verb, steps)]

    assert set(found) <= outcomes.keys()
    assert found[0] == "before"
    assert found[-1] == "after"
    assert len(found) > 3


def _live_and_die(parents: list[Hand], path: Path, journal: Path, chance: Random, number: int) -> None:
    """Let so many processes live on the file, some at a time, and kill each of them at a random moment."""
    living: list[Life] = []
    for index in range(number):
        if len(living) == AT_A_TIME:
            living.pop(0).end()
        seed, ends = chance.getrandbits(32), monotonic() + chance.uniform(0, LONGEST)
        fork = parents[index % len(parents)].fork("sqlite_lives:live", path, journal, seed)
        living.append(Life(fork, ends))
    for life in living:
        life.end()


def _lines(journal: Path) -> Iterator[tuple[str, str, int]]:
    for line in filter(lambda line: line.endswith(" ."), journal.read_text().splitlines()):
        word, job_id, run, _ = line.split()
        yield word, job_id, int(run)


def _noted(backend: Backend, journal: Path) -> list[Record]:
    """The jobs that the journal tells of, as they are now."""
    ids = list(dict.fromkeys(job_id for _, job_id, _ in _lines(journal)))
    size = backend.limits.batch
    return [
        one
        for at in range(0, len(ids), size)
        for one in backend.get(Get(ids[at : at + size]))
        if one is not None
    ]


def _lost(backend: Backend, journal: Path) -> Iterator[str]:
    """What the journal says was answered, and is not so."""
    records = {record.id: record for record in _noted(backend, journal)}
    for word, job_id, run in _lines(journal):
        record = records.get(job_id)
        if record is None or record.run < run:
            yield f"{job_id} was {word} in run {run} and is {record}"
        elif word == "completed" and (record.state, record.notes.get("result")) != ("completed", b"%d" % run):
            yield f"{job_id} completed in run {run} and is {record}"


def _nothing_is_left(backend: Backend) -> bool:
    """Sweep, claim and complete once, as a healthy worker does; whether everything has ended."""
    engine = engine_on(backend)
    engine.call(engine.sweep([QUEUE]))
    for record in engine.call(engine.claim([QUEUE], 100, "healthy", LEASE)).records:
        settle(engine, record)
    counts = backend.count(Count([QUEUE]))[QUEUE]
    return counts[State.COMPLETED] == sum(counts.values())


def _crashes(hand: Hand, before: Path, verb: str, steps: int) -> Iterator[Path]:
    """Copies of a file on which the call was killed, ever later, and the one on which it was not at last."""
    for statement in count(1):
        path = before.with_name(f"{statement}.db")
        shutil.copy(before, path)
        status = hand.fork("sqlite_lives:die_at", path, verb, statement, steps).ended()
        assert status in (0, KILLED)
        yield path
        if status == 0:
            return


def _outcome(path: Path, outcomes: dict[str, Any]) -> Any:
    """Which of the outcomes a file is; if it is none of them, what it holds."""
    assert trouble_with(path) == []
    found = tables_of(path)
    with closing(stage(path)) as backend:
        assert broken(backend) == []
    return next((name for name, tables in outcomes.items() if tables == found), str(found))
