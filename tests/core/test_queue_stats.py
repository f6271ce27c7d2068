"""Statistics of queues: what their ledgers counted, under the names that people use."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from stanchion import Stanchion, State
from stanchion.app.stats import QueueStats, interval, span_of, step_of
from stanchion.cli.commands import stanchion
from stanchion.errors import InvalidArgument
from stanchion.model.ledger import Tally
from stanchion_testing.clock import VirtualClock
from stanchion_testing.kit import Kit

MORNING = datetime(2026, 3, 1, 0, 5, tzinfo=UTC)
DAY = timedelta(hours=24)
MINUTE = timedelta(minutes=1)


def an_app(backend: str = "memory://", clock: VirtualClock | None = None) -> Stanchion:
    """An application on a clock that stands in the morning."""
    return Stanchion(backend, plugins=(), clock=clock or VirtualClock(MORNING))


def enqueue(app: Stanchion, jobs: int) -> None:
    """Enqueue so many jobs."""

    def noop() -> None:
        """Do nothing."""

    app.tasks.pop("noop", None)
    task = app.task(name="noop")(noop)
    app.enqueue_many(task.draft() for _ in range(jobs))


def test_a_run_shows_in_the_counts_and_times() -> None:
    """Enqueued, started, completed; how long it waited and ran, by the backend's clock."""
    app = Stanchion("memory://", plugins=())

    @app.task
    def add(one: int, other: int) -> int:
        return one + other

    with Kit(app) as kit:
        add.enqueue(1, 2)
        add.enqueue(3, 4).cancel()
        kit.clock.advance(timedelta(seconds=30))
        kit.drain()
        add.enqueue(5, 6)
        kit.clock.advance(timedelta(seconds=5))
        stats = app.queue("default").stats()

    total = stats.total
    assert (total.enqueued, total.started, total.completed, total.cancelled) == (3, 1, 1, 1)
    assert (total.waited, total.ran) == (timedelta(seconds=30), timedelta(0))
    assert (stats.now[State.QUEUED], stats.latency) == (1, timedelta(seconds=5))
    assert sum(one.enqueued for one in stats.intervals) == 3


@pytest.mark.parametrize("backend", ["memory://", "sqlite"])
def test_what_is_older_than_the_span_is_not_counted(backend: str, tmp_path: Path) -> None:
    """Although a day is told by hours: it begins with a whole one."""
    clock = VirtualClock(MORNING)
    with an_app(f"sqlite:///{tmp_path}/jobs.db" if backend == "sqlite" else backend, clock) as app:
        enqueue(app, 100)
        for _ in range(24):
            clock.advance(timedelta(hours=1))
            enqueue(app, 1)
        clock.advance(35 * MINUTE)
        stats = app.queue("default").stats(DAY - timedelta(hours=1))

    assert stats.total.enqueued == sum(one.enqueued for one in stats.intervals) == 24
    assert stats.total.since == MORNING.replace(minute=0) + timedelta(hours=1)


@pytest.mark.parametrize("backend", ["memory://", "sqlite"])
def test_a_queue_that_was_idle_for_longer_than_ledgers_are_kept_is_told_from_before(
    backend: str, tmp_path: Path
) -> None:
    """The last totals before stay."""
    clock = VirtualClock(MORNING)
    with an_app(f"sqlite:///{tmp_path}/jobs.db" if backend == "sqlite" else backend, clock) as app:
        enqueue(app, 50)
        clock.advance(timedelta(days=100))
        for _ in range(3):
            enqueue(app, 1)
            clock.advance(timedelta(hours=1))
        stats = app.queue("default").stats(DAY)

    assert stats.total.enqueued == 3


def test_all_queues_have_statistics_and_async_is_the_same() -> None:
    """By name; reserved queues are hidden."""
    app = an_app()
    enqueue(app, 2)

    async def main() -> tuple[object, QueueStats]:
        return await app.astats(), await app.queue("default").astats()

    found, one = asyncio.run(main())
    assert found == app.stats() == {"default": one}


def test_what_counts_as_what() -> None:
    """Each count sums up rows of the ledger; a row of a later version is left out."""
    totals = {
        "-.enqueue.queued": Tally(5),
        "-.enqueue.running": Tally(1),
        "queued.claim.running": Tally(4, 8_000),
        "running.complete.completed": Tally(2, 1_000),
        "running.lose.queued": Tally(1, 2_000),
        "running.fail.retrying": Tally(1, 1_000),
        "completed.expire.-": Tally(1),
        "queued.levitate.sky": Tally(9),
    }
    found = interval(MORNING, MORNING + MINUTE, totals)

    assert (found.enqueued, found.started, found.completed, found.lost, found.retrying) == (6, 5, 2, 1, 1)
    assert (found.deleted, found.waited, found.ran) == (1, timedelta(seconds=2), timedelta(seconds=1))
    assert found.rate("enqueued") == 0.1


@pytest.mark.parametrize("since", [0, 59, timedelta(days=91), "a day", None])
def test_a_span_that_ledgers_cannot_tell_is_refused(since: object) -> None:
    """Before any I/O."""
    with pytest.raises(InvalidArgument, match="since"):
        span_of(since)


def test_intervals_are_whole_minutes_and_not_too_many() -> None:
    """Unless the caller says how long each is."""
    assert step_of(timedelta(hours=1)) == 5 * MINUTE
    assert step_of(DAY) == timedelta(hours=1)
    assert step_of(DAY, 3600) == timedelta(hours=1)
    with pytest.raises(InvalidArgument, match="step must be whole minutes"):
        step_of(DAY, 90)


def test_the_command_prints_a_table_a_chart_and_json(tmp_path: Path) -> None:
    """For people and for programs."""
    url = f"sqlite:///{tmp_path}/jobs.db"
    with Stanchion(url, plugins=()) as app:
        enqueue(app, 3)
    drawn = CliRunner().invoke(stanchion, ["stats", "--backend", url, "--since", "15m"])
    told = CliRunner().invoke(stanchion, ["stats", "--backend", url, "--json", "default"])
    wrong = CliRunner().invoke(stanchion, ["stats", "--backend", url, "--since", "soon"])
    checked = CliRunner().invoke(stanchion, ["check", "--backend", url])

    assert "default" in drawn.output
    assert "█" in drawn.output
    (queue,) = json.loads(told.output)["queues"]
    assert (queue["queue"], queue["total"]["enqueued"], queue["now"]["queued"]) == ("default", 3, 3)
    assert wrong.exit_code == 2
    assert "such as 24h" in wrong.output
    assert checked.output.startswith("balanced: 3 moves")
