"""Which runs hold a slot, and how many more may be started."""

import asyncio

import pytest

from stanchion.model.states import State
from stanchion.worker.runs import Act, Lease, Run
from stanchion.worker.slots import Slots
from support.factories import a_record


def a_run(number):
    return Run(a_record(State.RUNNING, id=f"mail:{number}"), Lease(0, 30), 0)


def with_runs(slots, count, first=0):
    """Give slots to some runs; the runs."""
    runs = [a_run(first + number) for number in range(count)]
    for run in runs:
        slots.add(run)
        slots.take(run)
    return runs


def test_a_run_holds_a_slot_until_its_handler_has_left():
    """Whenever its outcome is recorded."""
    slots = Slots(2)
    first, second = with_runs(slots, 2)
    full = slots.free
    slots.leave(first)

    assert (full, slots.free) == (0, 1)
    assert list(slots.runs.values()) == [first, second]


def test_a_run_is_kept_until_its_outcome_is_recorded():
    """Its lease is extended until then."""
    slots = Slots(2)
    (run,) = with_runs(slots, 1)
    run.move(Act.ENTER)
    run.move(Act.LEAVE)
    slots.leave(run)
    before = dict(slots.runs)
    slots.settled(run)

    assert (list(before.values()), slots.runs) == ([run], {})


def test_a_handler_that_was_overruled_lingers():
    """It is kept no more, and holds its slot until it has left; when each slot is held so, that is known."""
    slots = Slots(1)
    (run,) = with_runs(slots, 1)
    run.move(Act.ENTER)
    run.move(Act.OVERRULE)
    slots.settled(run)
    during = (slots.free, slots.are_stuck, set(slots.lingering), dict(slots.runs))
    run.move(Act.LEAVE)
    slots.leave(run)

    assert during == (0, True, {run}, {})
    assert (slots.free, slots.are_stuck) == (1, False)


def test_a_handler_that_has_left_before_its_outcome_is_recorded_does_not_linger():
    """The keeper's word of it comes to the loop after that of its thread."""
    slots = Slots(1)
    (run,) = with_runs(slots, 1)
    for act in (Act.ENTER, Act.OVERRULE, Act.SETTLE, Act.LEAVE):
        run.move(act)
    slots.leave(run)
    slots.settled(run)

    assert (slots.free, slots.lingering) == (1, set())


@pytest.mark.parametrize(("unrecorded", "free"), [(3, 2), (4, 0)])
def test_nothing_is_started_while_too_many_outcomes_wait(unrecorded, free):
    """As many as two for each slot: the backend takes claims and no outcomes."""
    slots = Slots(2)
    for run in with_runs(slots, unrecorded):
        slots.leave(run)

    assert slots.free == free


def test_closed_slots_wake_who_waits_for_one():
    """So that nothing more is claimed."""

    async def story():
        slots = Slots(1)
        waiting = asyncio.create_task(slots.changed())
        await asyncio.sleep(0)
        slots.close()
        await asyncio.wait_for(waiting, 10)
        return slots.is_closed

    assert asyncio.run(story())


def test_waiting_for_runs_ends_with_the_last_of_them():
    """Others may hold their slots for longer."""

    async def story():
        slots = Slots(3)
        slots.begin()
        first, second, other = with_runs(slots, 3)
        waiting = asyncio.create_task(slots.left([first, second]))
        await asyncio.sleep(0)
        slots.leave(first)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        early = waiting.done()
        slots.leave(second)
        await asyncio.wait_for(waiting, 10)
        return early, slots.holding == {other}

    assert asyncio.run(story()) == (False, True)


def test_a_wait_has_a_limit():
    """Whatever happens meanwhile."""

    async def story():
        await asyncio.wait_for(Slots(1).changed(0.001), 10)

    asyncio.run(story())
