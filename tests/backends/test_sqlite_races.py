"""Processes and threads that race on one SQLite file."""

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from stanchion import State
from stanchion.contract.backend import Backend
from stanchion.contract.requests import Count
from stanchion.model.states import FINAL
from stanchion_conformance.invariants import broken, listed, read, unlived
from support.hands import PATIENCE, hands
from support.processes import a_scene
from support.sqlite_deeds import backend_on, engine_on
from support.sqlite_files import trouble_with
from support.sqlite_race import QUEUES, Racer
from support.waiting import eventually

JOBS = 500


@pytest.mark.timeout(1_200)  # for as long a race as one asks for
def test_two_processes_of_four_threads_race(
    tmp_path: Path, pytestconfig: pytest.Config, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """No call fails, each job is completed exactly once or cancelled, and the file is sound.

    The threads insert, claim, beat, complete, cancel, sweep, pause and wait; their calls are tried once only.
    """
    path, seconds = tmp_path / "jobs.db", pytestconfig.getoption("race_seconds")
    with hands(2) as racers:
        for hand in racers:
            hand.do("sqlite_race:ready")
        for name, hand in zip("ab", racers, strict=True):
            hand.begin("sqlite_race:race", path, name, seconds)
        tallies = [hand.answer(within=seconds + PATIENCE) for hand in racers]
    completed = Counter(job for tally in tallies for job in tally["completed"])
    cancelled = Counter(job for tally in tallies for job in tally["cancelled"])
    inserted = sum(tally["inserted"] for tally in tallies)

    with closing(backend_on(path)) as backend:
        rest = Racer(engine_on(backend), "rest")
        eventually(lambda: _drained(backend, rest))
        completed.update(rest.completed)
        heads = [one for queue in QUEUES for state in State for one in listed(backend, queue, state)]
        records = [one for one in read(backend, [head.id for head in heads]).values() if one is not None]

        assert trouble_with(path) == []
        assert broken(backend) == []
    assert [words for record in records for words in unlived(record)] == []
    assert {one.id for one in records if one.state is State.COMPLETED and one.run == 1} == completed.keys()
    assert {one.id for one in records if one.state is State.CANCELLED and one.run == 0} == cancelled.keys()
    assert len(records) == len(completed) + len(cancelled) == inserted
    assert set((completed + cancelled).values()) == {1}
    record_testsuite_property("jobs a second", round(completed.total() / seconds))
    record_testsuite_property("calls", dict(sum((Counter(tally["calls"]) for tally in tallies), Counter())))


def test_two_worker_processes_share_a_file(tmp_path: Path) -> None:
    """They complete all jobs, and start each of them once."""
    with a_scene(tmp_path, f"sqlite:///{tmp_path}/jobs.db?synchronous=normal", concurrency=20) as scene:
        workers = [scene.worker(), scene.worker()]
        eventually(lambda: all("serving" in worker.log for worker in workers))
        jobs = scene.app.enqueue_many(scene.tasks.steady.draft() for _ in range(JOBS))
        queue = scene.app.queue("default")
        eventually(lambda: queue.count()[State.COMPLETED] == JOBS, within=60)

        assert broken(scene.app.engine.backend) == []
        assert scene.starts() == Counter(job.id for job in jobs)
        assert len({line.pid for line in scene.lines()}) == 2


def _drained(backend: Backend, racer: Racer) -> bool:
    """Complete what can be claimed; whether everything has ended."""
    racer.work()
    return all(
        state in FINAL
        for of in backend.count(Count(QUEUES)).values()
        for state, number in of.items()
        if number
    )
