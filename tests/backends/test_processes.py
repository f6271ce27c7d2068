"""Worker processes on a real server that are killed, stopped, and told to end."""

import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic

import pytest
import redis

from stanchion import Stanchion, State
from stanchion.codec.specs import policy_of
from stanchion.contract.requests import Check
from stanchion.engine.reporting import Report
from stanchion.errors import LeaseLost
from stanchion.model.signals import Completed
from stanchion_testing.clock import VirtualClock
from support.processes import Scene, a_scene
from support.waiting import eventually
from support.workers import is_in

LEASE, SWEEP = 2.0, 0.5


@pytest.fixture
def scene(tmp_path: Path, redis_url: str) -> Iterator[Scene]:
    """A namespace of its own on the server, and worker processes with short leases."""
    with a_scene(tmp_path, redis_url, lease=LEASE, sweep=SWEEP, grace=0.3) as scene:
        yield scene


def test_a_killed_worker_s_job_runs_again_in_time(scene: Scene) -> None:
    """Lease, sweep and a second after a worker was killed at most, another one has started its job."""
    job = scene.tasks.endless_at_first.enqueue()
    first = scene.worker()
    scene.line(lambda line: line.pid == first.pid)
    second = scene.worker()
    eventually(lambda: "serving" in second.log)
    killed = monotonic()
    first.kill()
    again = scene.line(lambda line: line.pid == second.pid)

    assert again.at - killed <= LEASE + SWEEP + 1
    assert job.result(timeout=20) == 2
    assert (job.attempts, job.record.count("lost")) == (1, 1)


def test_a_worker_that_slept_past_its_lease_is_refused(scene: Scene) -> None:
    """Its late outcome changes nothing, and its log says so; the result is that of the run that followed."""
    job = scene.tasks.gated.enqueue()
    first = scene.worker()
    scene.line(lambda line: line.pid == first.pid)
    held = job.refresh().record
    first.send(signal.SIGSTOP)
    scene.worker()
    assert job.result(timeout=20) == 2
    stored = job.refresh().record

    scene.tasks.gate("open").touch()
    first.send(signal.SIGCONT)
    words = ("lost its lease", "could not renew its lease in time")
    lines = [f"{job.id} gated{run} {one}" for one in words for run in ("", " run 1")]
    eventually(lambda: any(line in first.log for line in lines))
    report = Report(held, Completed(result=b'"late"'), policy_of(held.policy))
    (answer,) = scene.app.engine.call(scene.app.engine.report([report]))

    assert isinstance(answer, LeaseLost)
    assert job.refresh().record == stored


def test_a_stopping_worker_lets_its_jobs_end(scene: Scene) -> None:
    """After SIGTERM a handler that ends within the grace completes its job, and the process ends well."""
    job = scene.tasks.gated.enqueue()
    worker = scene.worker()
    scene.line(lambda line: line.pid == worker.pid)
    worker.send(signal.SIGTERM)
    scene.tasks.gate("open").touch()

    assert worker.ended() == 0
    assert job.result(timeout=0) == 1


def test_what_a_stopping_worker_cannot_end_is_run_by_another(scene: Scene) -> None:
    """The job is handed back at once, its lease is not waited for, and no attempt was used up."""
    job = scene.tasks.endless_at_first.enqueue()
    worker = scene.worker()
    scene.line(lambda line: line.pid == worker.pid)
    worker.send(signal.SIGTERM)
    assert worker.ended() == 0
    assert job.refresh().state is State.QUEUED
    scene.worker()

    assert job.result(timeout=20) == 2
    assert (job.attempts, job.record.count("lost"), job.record.count("released")) == (1, 0, 1)


def test_a_second_signal_ends_the_grace(tmp_path: Path, redis_url: str) -> None:
    """A worker whose grace would be an hour ends at the second SIGTERM, and hands back its job."""
    with a_scene(tmp_path, redis_url, grace=3600) as scene:
        job = scene.tasks.endless_at_first.enqueue()
        worker = scene.worker()
        scene.line(lambda line: line.pid == worker.pid)
        worker.send(signal.SIGTERM)
        eventually(lambda: "is stopping" in worker.log)  # two signals at once may arrive as one
        worker.send(signal.SIGTERM)

        assert worker.ended() == 0
        assert job.refresh().state is State.QUEUED


@pytest.mark.parametrize("timeout", [1800, 0.2], ids=["in time", "timed out"])
def test_a_thread_that_never_returns_does_not_hold_up_the_end(scene: Scene, timeout: float) -> None:
    """The process ends without it; its job was handed back, unless its time was up before."""
    job = scene.tasks.deaf.using(timeout=timeout, retries=0).enqueue()
    worker = scene.worker()
    scene.line(lambda line: line.pid == worker.pid)
    expected = State.RUNNING if timeout > 1 else State.TIMED_OUT
    eventually(lambda: is_in(job, expected))
    worker.send(signal.SIGTERM)

    assert worker.ended() == 0
    assert job.refresh().state is (State.QUEUED if timeout > 1 else State.TIMED_OUT)


JOBS = 100_000


@pytest.mark.slow
def test_a_hundred_thousand_jobs(tmp_path: Path, redis_url: str) -> None:
    """Two processes run each of them exactly once; the store is sound, and nothing is left once they expire."""
    with a_scene(tmp_path, redis_url, lease=LEASE, sweep=SWEEP, concurrency=100) as scene:
        jobs = scene.app.enqueue_many(scene.tasks.tally.draft() for _ in range(JOBS))
        ids = {job.id for job in jobs}
        scene.worker()
        scene.worker()
        queue = scene.app.queue("default")
        eventually(lambda: queue.count()[State.COMPLETED] == JOBS, within=100)

        starts = scene.starts()
        assert len(starts) == JOBS
        assert starts.keys() == ids
        assert set(starts.values()) == {1}
        assert sum(queue.count().values()) == JOBS
        assert _findings(scene.app) == []

    tomorrow = datetime.now(UTC) + timedelta(days=2)  # when all that is kept for a day is to be deleted
    with Stanchion(redis_url, namespace=scene.app.config.namespace, clock=VirtualClock(tomorrow)) as later:
        while later.engine.call(later.engine.sweep(["default"])):
            pass
        later.queue("default").forget()
        with redis.Redis.from_url(redis_url) as client:
            pattern = f"{scene.app.config.namespace}:*"
            eventually(lambda: not list(client.scan_iter(pattern)))  # answers to claims live for a lease


def _findings(app: Stanchion) -> list[object]:
    found: list[object] = []
    page = app.engine.backend.check(Check("default"))
    while page.cursor is not None:
        found += page.findings
        page = app.engine.backend.check(Check("default", page.cursor))
    return found + page.findings
