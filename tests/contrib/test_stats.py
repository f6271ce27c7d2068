"""The plugin that counts."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs.exceptions import FrozenInstanceError

from stanchion import Event, Fail, Fixed, Stanchion, State, Transition
from stanchion.errors import ConfigError
from stanchion.worker import Worker
from stanchion_stats import Stats, TaskStats
from support.factories import a_record, a_transition


def an_app() -> Stanchion:
    """An application that listens to nothing but the statistics."""
    return Stanchion("memory://", plugins=["stats"])


STARTED = a_transition(job=a_record(task="mail"))

OUTCOMES = {
    State.COMPLETED: Event.COMPLETE,
    State.FAILED: Event.FAIL,
    State.RETRYING: Event.FAIL,
    State.TIMED_OUT: Event.TIME_OUT,
}


def ended(event: Event, to: State, seconds: float = 0) -> Transition:
    """The end of a run that took so long."""
    return a_transition(
        event, to, from_state=State.RUNNING, job=a_record(task="mail"), elapsed=timedelta(seconds=seconds)
    )


def stats_of(app: Stanchion, task: str) -> TaskStats:
    return app.plugins.get("stats").snapshot()[task]


def test_starts_outcomes_and_times_are_counted() -> None:
    """A task that fails once and then completes was started twice, and both runs were timed."""
    app = an_app()

    @app.task(retries=1, backoff=Fixed(0))
    async def flaky(first: list[bool]) -> None:
        if stats_of(app, "flaky").starts == 1:
            raise ValueError("the first time")

    flaky.enqueue([])
    Worker(app, burst=True).run()
    stats = stats_of(app, "flaky")

    assert (stats.starts, stats.retrying, stats.completed, stats.failed, stats.runs) == (2, 1, 1, 0, 2)
    assert timedelta(0) < stats.mean <= stats.longest <= stats.total


def test_tasks_are_counted_apart() -> None:
    """What one task does is no part of another's numbers."""
    app = an_app()

    @app.task
    async def good() -> None: ...

    @app.task
    async def bad() -> Fail:
        return Fail("always")

    app.enqueue_many([good.draft(), good.draft(), bad.draft()])
    Worker(app, burst=True).run()

    assert stats_of(app, "good").completed == 2
    assert stats_of(app, "bad").failed == 1


def test_a_snapshot_stays_as_it_is() -> None:
    """What happens later is in the next snapshot, and nobody can write into this one."""
    stats = Stats()
    stats.job_changed(STARTED)
    before = stats.snapshot()
    stats.job_changed(STARTED)

    assert (before["mail"].starts, stats.snapshot()["mail"].starts) == (1, 2)
    with pytest.raises(TypeError):
        before["mail"] = TaskStats()  # type: ignore[index]
    with pytest.raises(FrozenInstanceError):
        before["mail"].starts = 7  # type: ignore[misc]


def test_threads_lose_no_count() -> None:
    """Hooks run on whichever thread changed the job."""
    stats, completed = Stats(), ended(Event.COMPLETE, State.COMPLETED, 1)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: stats.job_changed(completed), range(4000)))

    assert stats.snapshot()["mail"].completed == 4000
    assert stats.snapshot()["mail"].total == timedelta(seconds=4000)


def test_jobs_that_end_without_a_run_add_no_time() -> None:
    """A lost, released or cancelled job is counted, and no run of it was timed."""
    stats = Stats()
    stats.job_changed(ended(Event.LOSE, State.QUEUED))
    stats.job_changed(ended(Event.RELEASE, State.QUEUED))
    stats.job_changed(ended(Event.CANCEL, State.CANCELLED))
    stats.job_changed(ended(Event.FAIL, State.FAILED))

    assert stats.snapshot()["mail"] == TaskStats(lost=1, released=1, cancelled=1, failed=1)
    assert stats.snapshot()["mail"].mean == timedelta(0)


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_a_run_adds_its_time_however_it_ended(outcome: State) -> None:
    """Two runs of one and three seconds, whatever became of them."""
    stats = Stats()
    for seconds in (3, 1):
        stats.job_changed(ended(OUTCOMES[outcome], outcome, seconds))

    found = stats.snapshot()["mail"]
    assert (getattr(found, outcome), found.runs) == (2, 2)
    assert (found.total, found.mean, found.longest) == (
        timedelta(seconds=4),
        timedelta(seconds=2),
        timedelta(seconds=3),
    )


@pytest.mark.parametrize(
    "transition",
    [
        ended(Event.CANCEL, State.RUNNING),
        a_transition(Event.PROMOTE, State.QUEUED, from_state=State.SCHEDULED),
        a_transition(Event.EXPIRE, to=State.FAILED, from_state=State.FAILED, to_state=None),
    ],
    ids=lambda transition: transition.event.value,
)
def test_what_is_no_start_and_no_end_is_not_counted(transition: Transition) -> None:
    """Requests, promotions and deletions."""
    stats = Stats()
    stats.job_changed(transition)

    assert stats.snapshot() == {}


def test_only_the_tasks_that_are_named_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the plugin's table in the configuration."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stanchion.toml").write_text('[plugins.stats]\ntasks = ["mail"]\n')
    stats: Stats = Stanchion("memory://").plugins.get("stats")
    for task in ("mail", "other"):
        stats.job_changed(a_transition(job=a_record(task=task)))

    assert list(stats.snapshot()) == ["mail"]


@pytest.mark.parametrize("tasks", ["mail", [5], 5])
def test_tasks_are_a_list_of_names(tasks: Any) -> None:
    """One name alone would be a list of letters."""
    with pytest.raises(ConfigError, match="^plugin 'stats' cannot be used: "):
        Stanchion("memory://", plugins={"stats": {"tasks": tasks}})


def test_a_plugin_is_found_by_the_name_it_was_listed_by() -> None:
    """So an application can ask it for what it collected; one that is not listed is refused by name."""
    assert isinstance(an_app().plugins.get("stats"), Stats)
    with pytest.raises(ConfigError, match="unknown plugin 'stats'; add it to plugins="):
        Stanchion("memory://").plugins.get("stats")
