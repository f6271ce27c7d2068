"""How worker processes end: by every signal, in time, with what they had printed, and without their children."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from stanchion import State
from support.processes import Scene, a_scene
from support.waiting import eventually
from support.workers import is_in

HOUR = 3600


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """Worker processes on a file, with a short grace."""
    with a_scene(tmp_path, f"sqlite:///{tmp_path}/jobs.db", lease=3, sweep=0.3, grace=0.3) as scene:
        yield scene


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda one: one.name)
def test_each_signal_that_asks_it_to_end_does(scene: Scene, number: signal.Signals) -> None:
    """A terminal that was closed as well: the running job is handed back."""
    job = scene.tasks.endless_at_first.enqueue()
    worker = scene.worker()
    scene.line(lambda line: line.pid == worker.pid)
    worker.send(number)

    assert worker.ended() == 0
    assert job.refresh().state is State.QUEUED


def test_a_handler_that_swallows_its_cancellation_does_not_hold_up_the_end(scene: Scene) -> None:
    """Its job is handed back."""
    job = scene.tasks.stubborn.enqueue()
    worker = scene.worker()
    scene.line(lambda line: line.pid == worker.pid)
    worker.send(signal.SIGTERM)

    assert worker.ended() == 0
    assert job.refresh().state is State.QUEUED
    assert f"handed back jobs whose handlers did not end: {job.id}" in worker.log


def test_what_handlers_printed_is_not_lost(scene: Scene) -> None:
    """Although a thread does not return, and the process has to leave without it."""
    jobs = [scene.tasks.say.enqueue(number) for number in range(3)]
    scene.tasks.deaf.enqueue()
    worker = scene.worker()
    for job in jobs:
        job.result(timeout=20)
    scene.line(lambda line: line.pid == worker.pid)
    worker.send(signal.SIGTERM)

    assert worker.ended() == 0
    assert sorted(worker.output.splitlines()) == ["line 0", "line 1", "line 2"]  # they ran side by side


def test_a_forked_child_ends_by_itself(scene: Scene) -> None:
    """A SIGTERM to a process that a handler forked ends that, and not the worker."""
    job = scene.tasks.forking.enqueue()
    worker = scene.worker()

    assert job.result(timeout=20) == "terminated"
    assert scene.tasks.forking.enqueue().result(timeout=20) == "terminated"
    assert "is stopping" not in worker.log


def test_a_loop_that_is_blocked_for_good_ends_the_process(scene: Scene) -> None:
    """Once no handler on it is within its time limit; what never started was handed back, and runs elsewhere."""
    blocking = scene.tasks.blocking.enqueue()
    worker = scene.worker()
    scene.line(lambda line: line.pid == worker.pid)

    assert worker.ended() == 1
    assert is_in(blocking, State.TIMED_OUT)
    assert "loop has been blocked" in worker.log


def test_a_blocked_loop_does_not_keep_jobs_that_never_started(tmp_path: Path) -> None:
    """They were claimed together with the one that blocks; another worker runs them, and none was lost."""
    with a_scene(tmp_path, f"sqlite:///{tmp_path}/jobs.db", lease=3, sweep=0.3, concurrency=4) as scene:
        blocking = scene.tasks.blocking.using(timeout=HOUR, priority=1).enqueue()
        jobs = [scene.tasks.steady.enqueue() for _ in range(3)]
        first = scene.worker()
        scene.line(lambda line: line.job_id == blocking.id)
        second = scene.worker()
        for job in jobs:
            job.result(timeout=20)

        assert {line.pid for line in scene.lines() if line.job_id in {job.id for job in jobs}} == {second.pid}
        assert {job.record.count("lost") for job in jobs} == {0}
        assert is_in(blocking, State.RUNNING)
        first.kill()


def test_a_blocked_loop_is_ended_by_a_signal(tmp_path: Path) -> None:
    """From outside the loop, once the shutdown should be over."""
    with a_scene(tmp_path, f"sqlite:///{tmp_path}/jobs.db", lease=3, grace=0.3) as scene:
        blocking = scene.tasks.blocking.using(timeout=HOUR).enqueue()
        worker = scene.worker()
        scene.line(lambda line: line.pid == worker.pid)
        worker.send(signal.SIGTERM)

        assert worker.ended() == 1
        assert is_in(blocking, State.QUEUED)


def test_a_program_goes_on_after_its_worker(tmp_path: Path) -> None:
    """`Worker.run` returns although a handler refuses to end, and says which; the process then ends like any other."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    with a_scene(tmp_path, f"sqlite:///{tmp_path}/jobs.db", lease=30, grace=0.3) as scene:
        job = scene.tasks.deaf.enqueue()
        process = scene.program(program)
        scene.line(lambda line: line.pid == process.pid)
        process.send(signal.SIGTERM)

        assert process.ended() == 0
        assert process.output.split() == ["returned", job.id, "at", "exit"]
        assert process.log.count("Traceback") == 0
        assert is_in(job, State.QUEUED)


PROGRAM = """\
import atexit
import tasks_app
from stanchion.worker import Worker

atexit.register(print, "at exit")
worker = Worker(tasks_app.app)
worker.run()
print("returned", *worker.stuck)
worker.abandon()
"""


def test_everything_ends_although_the_backend_does_not_answer(tmp_path: Path) -> None:
    """A file that another process holds locked keeps neither the first signal nor the second from ending it in time."""
    with a_scene(tmp_path, f"sqlite:///{tmp_path}/jobs.db", lease=30, grace=HOUR) as scene:
        scene.tasks.endless_at_first.enqueue()
        worker = scene.worker()
        scene.line(lambda line: line.pid == worker.pid)
        with scene.locked_file(tmp_path / "jobs.db"):
            worker.send(signal.SIGTERM)
            eventually(lambda: "is stopping" in worker.log)
            worker.send(signal.SIGTERM)

            assert worker.ended(within=15) == 0
