"""A run inside its worker: which act counts in which phase, and when its lease is to be extended."""

import threading
from itertools import product

import pytest

from stanchion.context import StopReason
from stanchion.model.policies import Policy
from stanchion.model.states import State
from stanchion.worker.runs import MOVES, Act, Lease, Phase, Run, monotonic
from support.factories import a_record

WAYS = {
    Phase.CLAIMED: [],
    Phase.IN_HANDLER: [Act.ENTER],
    Phase.OVERRULED: [Act.ENTER, Act.OVERRULE],
    Phase.DECIDED: [Act.ENTER, Act.LEAVE],
    Phase.LINGERING: [Act.ENTER, Act.OVERRULE, Act.SETTLE],
    Phase.OVER: [Act.ENTER, Act.LEAVE, Act.SETTLE],
}
"""How a run comes to each phase."""


def a_run(phase=Phase.CLAIMED):
    run = Run(a_record(State.RUNNING), Lease(0, 30), 0)
    for act in WAYS[phase]:
        assert run.move(act)
    return run


@pytest.mark.parametrize(("phase", "act"), list(product(Phase, Act)), ids=str)
def test_an_act_leads_where_the_table_says_or_comes_too_late(phase, act):
    """What comes too late changes nothing."""
    run = a_run(phase)
    before = run.move(act)
    after = MOVES[phase].get(act)

    assert before == (None if after is None else phase)
    assert run.phase is (phase if after is None else after)


def test_every_phase_can_be_left_but_the_last():
    """No run stays for ever in a place that nobody looks at."""
    assert [phase for phase in Phase if not MOVES[phase]] == [Phase.OVER]


def test_only_one_of_many_decides():
    """Threads that end a run at the same instant: one of them is heard."""
    for _ in range(200):
        run, together, won = a_run(Phase.IN_HANDLER), threading.Barrier(3), []

        def decide(act, run=run, together=together, won=won):
            together.wait()
            if run.move(act) is Phase.IN_HANDLER:
                won.append(act)

        threads = [
            threading.Thread(target=decide, args=(act,)) for act in (Act.LEAVE, Act.OVERRULE, Act.LEAVE)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1


@pytest.mark.parametrize(
    ("acts", "is_own"),
    [([Act.LEAVE], True), ([Act.OVERRULE, Act.LEAVE], False), ([Act.OVERRULE, Act.SETTLE, Act.LEAVE], False)],
    ids=str,
)
def test_a_handler_decides_unless_it_was_overruled(acts, is_own):
    """Whenever it leaves."""
    run = a_run(Phase.IN_HANDLER)
    for act in acts:
        run.move(act)

    assert run.is_own is is_own


def test_a_run_that_was_not_entered_has_not_started():
    """So it is handed back as if nothing had been."""
    run = a_run()
    run.move(Act.DECIDE)

    assert (run.started, run.elapsed, run.move(Act.ENTER)) == (False, 0.0, None)


def test_a_run_is_overdue_from_its_limit_on():
    """Counted from when its handler was entered, not from its claim."""
    run = a_run(Phase.IN_HANDLER)
    run.open(Policy())
    limit = run.started_at + run.policy.timeout.total_seconds()

    assert not run.is_overdue(limit - 0.001)
    assert run.is_overdue(limit)


@pytest.mark.parametrize("phase", sorted(set(Phase) - {Phase.IN_HANDLER}))
def test_only_a_handler_that_decides_can_be_overdue(phase):
    """One that has left is not, however late that is noticed."""
    assert not a_run(phase).is_overdue(monotonic() + 1e9)


def test_the_first_reason_to_stop_stays():
    """The handler hears why it should have stopped first."""
    run = a_run(Phase.IN_HANDLER)
    job = run.open(Policy())
    run.ask_to_stop(StopReason.TIMEOUT)
    run.ask_to_stop(StopReason.SHUTDOWN)

    assert (run.stop, job.stop_reason) == (StopReason.TIMEOUT, StopReason.TIMEOUT)


def test_a_handler_that_begins_late_hears_that_it_should_stop():
    """It was asked before there was anybody to hear it."""
    run = a_run()
    run.ask_to_stop(StopReason.SHUTDOWN)

    assert run.stop is StopReason.SHUTDOWN


# Leases


def test_a_lease_counts_from_when_it_was_asked_for():
    """The backend counts from when it answered, which was later: the worker lets go no later than it."""
    lease = Lease(100.0, 30.0)

    assert (lease.beat_at, lease.stop_at, lease.ends) == (110.0, 125.0, 130.0)


def test_a_beat_extends_a_lease_from_when_it_was_sent():
    """Two more may be missed."""
    lease = Lease(100.0, 30.0)
    lease.extend(111.0)

    assert (lease.beat_at, lease.stop_at, lease.ends) == (121.0, 136.0, 141.0)


def test_a_beat_that_was_missed_is_tried_again_soon():
    """Six times before the handler must stop."""
    lease = Lease(100.0, 30.0)
    lease.missed(112.0)

    assert (lease.beat_at, lease.stop_at, lease.ends) == (114.5, 125.0, 130.0)


def test_a_beat_that_is_not_needed_waits_for_the_next():
    """The outcome of the run was quicker; nothing hangs on its lease."""
    lease = Lease(100.0, 30.0)
    lease.skip(112.0)

    assert (lease.beat_at, lease.ends) == (122.0, 130.0)
