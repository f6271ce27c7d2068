"""The budget of a shutdown: all its waits end in time, and at once when it is cut short."""

import asyncio

import pytest

from stanchion.worker import shutdown
from stanchion.worker.shutdown import RECORDING, STOPPING, Budget


@pytest.fixture
def time(monkeypatch):
    """A clock that stands still until it is moved."""
    now = [1000.0]
    monkeypatch.setattr(shutdown, "monotonic", lambda: now[0])
    return now


def test_it_counts_from_its_beginning(time):
    """The whole of it is the grace, and a little for what comes after; beginning twice changes nothing."""
    budget = Budget(8.0)
    budget.begin()
    time[0] += 5
    budget.begin()

    assert budget.left == pytest.approx(3.0 + STOPPING + RECORDING)


def test_with_the_usual_grace_it_ends_before_a_container_is_killed():
    """Docker and Kubernetes' preStop wait 10 s as a rule; a moment of that is for the process itself."""
    assert Budget(8.0).whole < 10.0


def test_cut_short_only_the_little_is_left(time):
    """However long the grace."""
    budget = Budget(3600.0)
    budget.begin()
    budget.cut_short()

    assert budget.left == pytest.approx(STOPPING + RECORDING)


def test_cutting_short_leaves_no_more_than_there_was(time):
    """Near the end it adds nothing."""
    budget = Budget(8.0)
    budget.begin()
    time[0] += 8.0 + STOPPING
    budget.cut_short()

    assert budget.left == pytest.approx(RECORDING)


@pytest.mark.parametrize(
    ("passed", "wait", "seconds"),
    [
        (0.0, "grace", 8.0),
        (3.0, "grace", 5.0),
        (3.0, "stopping", STOPPING),
        (8.0, "stopping", STOPPING),
        (8.0 + STOPPING + RECORDING - 0.1, "stopping", 0.1),
    ],
)
def test_each_wait_lasts_as_long_as_its_part_of_the_budget(monkeypatch, time, passed, wait, seconds):
    """And no longer than all of it."""
    waited = []

    async def nothing_ends(tasks, *, timeout, return_when):
        waited.append(timeout)
        time[0] += timeout
        return set(), tasks

    async def story():
        budget = Budget(8.0)
        budget.begin()
        time[0] += passed
        endless = asyncio.create_task(asyncio.Event().wait())
        with monkeypatch.context() as patch:
            patch.setattr(asyncio, "wait", nothing_ends)
            await getattr(budget, wait)([endless])
        endless.cancel()

    asyncio.run(story())

    assert waited == pytest.approx([seconds])


@pytest.mark.parametrize("wait", ["grace", "within"])
def test_cutting_short_ends_every_wait_of_an_hour(wait):
    """Whatever is waited for just then."""

    async def story():
        budget = Budget(3600.0)
        budget.begin()
        endless = asyncio.create_task(asyncio.Event().wait())
        waiting = asyncio.create_task(
            budget.grace([endless]) if wait == "grace" else budget.within(asyncio.Event().wait())
        )
        await asyncio.sleep(0)
        budget.cut_short()
        ended = await asyncio.wait_for(waiting, 10)
        endless.cancel()
        return ended

    assert not asyncio.run(story())


def test_work_that_is_done_in_time_says_so():
    """And work that is not is cancelled."""

    async def story():
        budget = Budget(3600.0)
        budget.begin()
        done = await budget.within(asyncio.sleep(0))
        budget.cut_short()
        return done, await asyncio.wait_for(budget.within(asyncio.Event().wait()), 10)

    assert asyncio.run(story()) == (True, False)


def test_handlers_that_end_need_not_wait_for_the_grace():
    """The wait ends with the last of them."""

    async def story():
        budget = Budget(3600.0)
        budget.begin()
        tasks = [asyncio.create_task(asyncio.sleep(0)) for _ in range(3)]
        await asyncio.wait_for(budget.grace(tasks), 10)
        return all(task.done() for task in tasks)

    assert asyncio.run(story())
