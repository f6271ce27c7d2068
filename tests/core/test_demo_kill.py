"""`stanchion demo --kill` with real processes: killed, replaced, stopped, and gone at the end."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner, Result

from stanchion import Stanchion, StanchionError, State
from stanchion.cli.commands import stanchion
from stanchion.contract.answers import Counts
from stanchion_demo.crew import Crew
from stanchion_demo.kill import KillRun, kill_app
from stanchion_demo.kills import KillSummary
from stanchion_demo.tasks import tree_of
from stanchion_demo.worker import Orders
from support.stores import own_namespace
from support.waiting import eventually

FILES = 240
"""How many files there are."""

LEASE = timedelta(seconds=1.5)
"""Short, so that what a killed worker held is soon started again."""

PACE = timedelta(milliseconds=50)
"""With eight slots, the files last for 1.5 s at least."""


@pytest.fixture(autouse=True)
def working_directory(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Jobs are kept in a fresh directory, whatever the machine is set to."""
    monkeypatch.delenv("STANCHION_BACKEND", raising=False)
    monkeypatch.delenv("STANCHION_NAMESPACE", raising=False)
    monkeypatch.chdir(tmp_path_factory.mktemp("working"))


@pytest.fixture
def namespace(redis_url: str) -> Iterator[str]:
    """A namespace of this test's own on the server."""
    with redis.Redis.from_url(redis_url) as client, own_namespace(client) as namespace:
        yield namespace


@pytest.fixture(params=["file", "server"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stores that processes share."""
    if request.param == "server":
        monkeypatch.setenv("STANCHION_BACKEND", request.getfixturevalue("redis_url"))
        monkeypatch.setenv("STANCHION_NAMESPACE", request.getfixturevalue("namespace"))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Many small files."""
    for number in range(FILES):
        (tmp_path / f"{number:03}").write_text("small\n")
    return tmp_path


@pytest.fixture
def app() -> Iterator[Stanchion]:
    """The application of a run that kills."""
    with kill_app(None, 4, LEASE) as app:
        yield app


def a_run(app: Stanchion, tree: Path, **options: Any) -> KillRun:
    """A run with two workers, of which one is killed every half a second."""
    return KillRun(app, tree, tree_of(tree), **{"workers": 2, "pace": PACE, "every": 0.5, **options})


def undisturbed(tree: Path, pace: timedelta = timedelta(0)) -> KillSummary:
    """What a run came to in which nobody was killed."""
    with kill_app(None, 4, LEASE) as app:
        run = a_run(app, tree, pace=pace, every=60)
        run.work(nothing)
        return run.summary()


def nothing(counts: Counts, remark: str) -> None:
    """Show nothing."""


def demo(*args: object) -> Result:
    """The outcome of the demo, run inside this process."""
    return CliRunner().invoke(stanchion, ["demo", *map(str, args)], catch_exceptions=False)


def a_demo(tree: Path) -> "subprocess.Popen[str]":
    """A demo that runs in a process of its own. Its output ends when its last worker has ended, too."""
    command = [str(Path(sys.executable).with_name("stanchion")), "demo", str(tree), "--kill"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def a_crew(**orders: Any) -> Crew:
    """Two workers on a queue without jobs."""
    usual = {
        "backend": "sqlite:///jobs.db",
        "namespace": "crew",
        "queue": "files",
        "concurrency": 1,
        "lease": LEASE,
        "pace": PACE,
    }
    return Crew(2, Orders(**{**usual, **orders}))


def running(app: Stanchion) -> int:
    """How many jobs of any queue are held by workers, dead ones included."""
    return sum(app.queue(name).count()[State.RUNNING] for name in app.queues())


@pytest.mark.usefixtures("store")
def test_although_workers_are_killed_every_file_is_read(app: Stanchion, tree: Path) -> None:
    """What they held is started again by others, and nothing is lost."""
    run = a_run(app, tree)
    everything = run.work(nothing)
    summary = run.summary()

    assert everything
    assert (summary.enqueued, summary.completed, summary.lost) == (FILES, FILES, [])
    assert summary.kills >= 2
    assert 1 <= summary.run_again <= summary.extra_starts
    assert summary.recovery is not None
    assert 1 <= summary.recovery.jobs <= summary.held
    assert 0 < summary.recovery.least <= summary.recovery.median <= summary.recovery.most
    assert summary.whole


def test_each_run_begins_anew(tree: Path) -> None:
    """What an earlier run did, and whom it killed, is not told again."""
    first, second = undisturbed(tree), undisturbed(tree)

    assert (first.enqueued, second.enqueued) == (FILES, FILES)
    assert (second.completed, second.earlier, second.missing) == (FILES, 0, [])
    assert (second.kills, second.recovery) == (0, None)


def test_a_plain_run_does_not_know_of_it(tree: Path) -> None:
    """The jobs of the one are not those of the other."""
    undisturbed(tree)

    assert json.loads(demo(tree, "--json").output)["earlier"] == 0


def test_what_it_prints(tree: Path) -> None:
    """Plain lines without a terminal."""
    result = demo(tree, "--kill", "--pace", 0, "--workers", 1)

    assert result.exit_code == 0
    assert f"240 files of {tree}, 1 process, 10 at a time each, one of them killed every 1 s" in result.output
    assert "every file of the directory is accounted for" in result.output


def test_the_pace_is_not_taken_for_reading(tmp_path: Path) -> None:
    """The time that is saved with a job is its handler's own."""
    (tmp_path / "file").write_text("one\n")
    summary = undisturbed(tmp_path, pace=timedelta(seconds=1))

    assert summary.seconds > 1
    assert summary.slowest[0].seconds < 1


def test_one_json_document_tells_it_all(tree: Path) -> None:
    """Every number that is printed, and the times in seconds."""
    result = demo(tree, "--kill", "--pace", 20, "--json")
    found = json.loads(result.output)

    assert result.exit_code == 0
    assert (found["files"], found["enqueued"], found["completed"], found["lost"]) == (FILES, FILES, FILES, [])
    assert (found["workers"], found["pace"], found["tasks"]) == (3, 0.02, {})
    assert found["held"] >= found["run_again"] >= 0


def test_a_job_that_is_gone_is_lost(app: Stanchion, tree: Path) -> None:
    """The summary compares with the directory, not with what it finds in the queue."""
    run = a_run(app, tree, pace=timedelta(0), every=60)
    run.work(nothing)
    next(app.jobs(next(iter(app.queues())), State.COMPLETED)).delete()
    summary = run.summary()

    assert len(summary.lost) == 1
    assert not summary.whole


@pytest.mark.parametrize("signals", [[signal.SIGINT], [signal.SIGTERM], [signal.SIGINT, signal.SIGINT]])
def test_a_stop_hands_back_every_job(app: Stanchion, tree: Path, signals: list[signal.Signals]) -> None:
    """Once or twice, whichever way: the workers are told to stop, and nobody holds a job any more."""
    run = a_run(app, tree, every=60)

    def stop_once_it_runs(counts: Counts, remark: str) -> None:
        if counts[State.RUNNING]:
            for number in signals:
                os.kill(os.getpid(), number)

    assert not run.work(stop_once_it_runs)
    assert 0 <= run.hand_back() < FILES
    assert running(app) == 0


def test_ctrl_c_ends_it_and_its_workers(app: Stanchion, tree: Path) -> None:
    """It says so, and leaves no process behind."""
    with a_demo(tree) as process:
        eventually(lambda: running(app))
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "of 240 files are done: its workers have ended" in said


def test_its_death_ends_its_workers(app: Stanchion, tree: Path) -> None:
    """They notice it, and leave."""
    with a_demo(tree) as process:
        eventually(lambda: running(app))
        process.kill()
        process.communicate(timeout=60)

    assert process.returncode == -signal.SIGKILL


def test_a_run_after_one_that_was_cut_off_waits_for_its_leases(app: Stanchion, tree: Path) -> None:
    """What killed workers held is deleted with the rest, as soon as that is possible."""
    remarks: list[str] = []

    def stop_once_one_was_killed(counts: Counts, remark: str) -> None:
        if remark != "0 killed":
            os.kill(os.getpid(), signal.SIGINT)

    with kill_app(None, 4, LEASE) as cut_off:
        a_run(cut_off, tree, every=0).work(stop_once_one_was_killed)
    run = a_run(app, tree, pace=timedelta(0), every=60)

    assert run.work(lambda counts, remark: remarks.append(remark))
    assert remarks[0] == "waiting up to 1.5 s for jobs that an earlier run held"
    assert run.summary().whole


def test_two_runs_on_one_directory_are_refused(tree: Path) -> None:
    """The second would delete the jobs of the first."""
    with kill_app(None, 1, timedelta(seconds=60)) as app:
        first = a_run(app, tree, workers=1, every=60)

        def begin_another(counts: Counts, remark: str) -> None:
            if counts[State.RUNNING]:
                with kill_app(None, 1, timedelta(milliseconds=100)) as other:
                    a_run(other, tree).work(nothing)

        with pytest.raises(StanchionError, match="wait for the other demo --kill of this directory"):
            first.work(begin_another)


def test_memory_is_refused(tree: Path) -> None:
    """No other process could see it."""
    result = demo(tree, "--kill", "--backend", "memory://")

    assert result.exit_code == 1
    assert "for stanchion demo --kill: it exists in one process only" in result.output


@pytest.mark.parametrize("option", ["--workers", "--pace"])
def test_its_options_are_its_own(tree: Path, option: str) -> None:
    """Without --kill they would do nothing, so they are refused."""
    result = demo(tree, option, 2)

    assert result.exit_code == 2
    assert "--workers and --pace need --kill" in result.output


def test_a_killed_worker_is_replaced() -> None:
    """Whoever killed it."""
    with a_crew() as crew:
        first, second = crew.members
        eventually(lambda: first.name and second.name)
        crew.kill(first)
        crew.fill()

        assert crew.members[0] is second
        assert [member.status for member in crew.members] == [None, None]
        assert first.status == -signal.SIGKILL


def test_the_longest_serving_is_found_by_its_name() -> None:
    """Among those that are asked for."""
    with a_crew() as crew:
        first, second = crew.members
        eventually(lambda: first.name and second.name)

        assert crew.longest_serving({second.name, first.name}) is first
        assert crew.longest_serving({second.name}) is second
        assert crew.longest_serving({None, "somebody"}) is None


def test_nobody_is_left_of_a_crew() -> None:
    """Those that had not even begun included."""
    with a_crew() as crew:
        members = list(crew.members)

    assert None not in [member.status for member in members]
    assert crew.members == []


def test_a_worker_that_cannot_work_ends_the_run(capfd: pytest.CaptureFixture[str]) -> None:
    """Its replacement would meet the same error."""
    crew = a_crew(backend="nowhere://")
    with pytest.raises(StanchionError, match="ended by itself with exit status 1"), crew:
        eventually(crew.fill)

    assert "nowhere" in capfd.readouterr().err
