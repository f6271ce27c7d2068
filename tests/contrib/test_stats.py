"""The plugin that counts."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from attrs.exceptions import FrozenInstanceError

from stanchion import Fail, Fixed, Stanchion
from stanchion.errors import ConfigError
from stanchion.worker import Worker
from stanchion_stats import Stats, TaskStats
from support.factories import a_record


def an_app() -> Stanchion:
    """An application that listens to nothing but the statistics."""
    return Stanchion("memory://", plugins=["stats"])


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

    app.enqueue_many([good.job(), good.job(), bad.job()])
    Worker(app, burst=True).run()

    assert stats_of(app, "good").completed == 2
    assert stats_of(app, "bad").failed == 1


def test_a_snapshot_stays_as_it_is() -> None:
    """What happens later is in the next snapshot, and nobody can write into this one."""
    stats = Stats()
    stats.job_claimed(a_record(task="mail"))
    before = stats.snapshot()
    stats.job_claimed(a_record(task="mail"))

    assert (before["mail"].starts, stats.snapshot()["mail"].starts) == (1, 2)
    with pytest.raises(TypeError):
        before["mail"] = TaskStats()  # type: ignore[index]
    with pytest.raises(FrozenInstanceError):
        before["mail"].starts = 7  # type: ignore[misc]


def test_threads_lose_no_count() -> None:
    """Hooks run on whichever thread changed the job."""
    stats, record = Stats(), a_record(task="mail")
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: stats.job_completed(record, timedelta(seconds=1)), range(4000)))

    assert stats.snapshot()["mail"].completed == 4000
    assert stats.snapshot()["mail"].total == timedelta(seconds=4000)


def test_jobs_that_end_without_a_run_add_no_time() -> None:
    """A lost, released or cancelled job is counted, and no run of it was timed."""
    stats, record = Stats(), a_record(task="mail")
    stats.job_lost(record)
    stats.job_released(record)
    stats.job_cancelled(record)
    stats.job_failed(record, timedelta(0))

    assert stats.snapshot()["mail"] == TaskStats(lost=1, released=1, cancelled=1, failed=1)
    assert stats.snapshot()["mail"].mean == timedelta(0)


@pytest.mark.parametrize("outcome", ["completed", "failed", "retrying", "timed_out"])
def test_a_run_adds_its_time_however_it_ended(outcome: str) -> None:
    """Two runs of one and three seconds, whatever became of them."""
    stats, record = Stats(), a_record(task="mail")
    for seconds in (3, 1):
        getattr(stats, f"job_{outcome}")(record, timedelta(seconds=seconds))

    found = stats.snapshot()["mail"]
    assert (getattr(found, outcome), found.runs) == (2, 2)
    assert (found.total, found.mean, found.longest) == (
        timedelta(seconds=4),
        timedelta(seconds=2),
        timedelta(seconds=3),
    )


def test_a_timed_out_job_is_counted() -> None:
    """A job whose last attempt ran past its limit."""
    stats = Stats()
    stats.job_timed_out(a_record(task="mail"), timedelta(seconds=3))

    assert stats.snapshot()["mail"].timed_out == 1
    assert stats.snapshot()["mail"].longest == timedelta(seconds=3)


def test_a_plugin_is_found_by_the_name_it_was_listed_by() -> None:
    """So an application can ask it for what it collected; one that is not listed is refused by name."""
    assert isinstance(an_app().plugins.get("stats"), Stats)
    with pytest.raises(ConfigError, match="plugin 'stats' is not listed"):
        Stanchion("memory://").plugins.get("stats")
