"""Decisions: every pair of state and signal, and each rule of the state machine."""

from datetime import timedelta
from typing import get_args

import pytest
from msgspec.structs import replace

from stanchion.errors import IllegalTransition
from stanchion.model.changes import REPEATED, TAIL, UNCHANGED, Move
from stanchion.model.decisions import UNKNOWN_WAIT, UNKNOWN_WAIT_CAP, decide, hand_back
from stanchion.model.history import HistoryEntry, decode_list
from stanchion.model.policies import Fixed, Policy
from stanchion.model.records import Cancel, Entry
from stanchion.model.signals import (
    Beaten,
    CancelAsked,
    Cancelled,
    Completed,
    Deleted,
    Ended,
    Expired,
    Failed,
    GivenUp,
    Lost,
    Promoted,
    Released,
    RetryAsked,
    Signal,
    Snoozed,
    Swept,
    TaskUnknown,
    TimedOut,
    Unblocked,
    Updated,
    signal_for,
)
from stanchion.model.states import FINAL, MOVES, State
from support.factories import LATER, LEASE, NOW, a_failure, a_record, signals

POLICY = Policy(backoff=Fixed(7))
REQUESTED = Cancel(reason="not wanted", at=NOW)
BACK_TO_WAITING = [
    Failed(failure=a_failure()),
    TimedOut(failure=a_failure()),
    Lost(),
    GivenUp(),
    Released(),
    Snoozed(until=LATER),
    TaskUnknown(),
]


def named(signal):
    return type(signal).__name__


def deciding(record, signal, *, policy=POLICY, roll=0.5, by="call-1"):
    return decide(record, signal, roll=roll, policy=policy, by=by)


def moved(record, signal, **options):
    return deciding(record, signal, **options).move


def is_legal(state, signal):
    of_the_run = isinstance(signal, Ended | Beaten)
    return signal.event in MOVES[state] and (state is State.RUNNING or not of_the_run)


PAIRS = [(state, signal) for state in State for signal in signals()]
LEGAL = [(state, signal) for state, signal in PAIRS if is_legal(state, signal)]
ILLEGAL = [(state, signal) for state, signal in PAIRS if not is_legal(state, signal)]


def test_there_is_one_of_every_kind_of_signal():
    """The walks below are complete."""
    kinds = {type(signal) for signal in signals()}

    assert kinds == set(get_args(Signal))


@pytest.mark.parametrize(("state", "signal"), LEGAL, ids=str)
def test_a_legal_signal_lands_where_the_table_says(state, signal):
    """The change asks for the state it was decided in, and goes to one of the row's targets."""
    change = deciding(a_record(state), signal)

    assert change.move.to in MOVES[state][signal.event]
    assert (change.job_id, change.event, change.state) == ("mail:1", signal.event, state)


@pytest.mark.parametrize(("state", "signal"), ILLEGAL, ids=str)
def test_an_illegal_signal_is_refused(state, signal):
    """The error names the job, its state and what was wanted."""
    with pytest.raises(IllegalTransition) as refused:
        deciding(a_record(state), signal)

    assert (refused.value.job_id, refused.value.state, refused.value.event) == ("mail:1", state, signal.event)
    assert str(refused.value).startswith(f"cannot {signal.event.replace('_', ' ')} job mail:1: it is {state}")


@pytest.mark.parametrize(("state", "signal"), LEGAL, ids=str)
def test_a_run_is_guarded_by_its_claim(state, signal):
    """Only what a run reports names a claim, and it names its own."""
    change = deciding(a_record(state), signal)

    assert change.claim == ("claim-1" if isinstance(signal, Ended | Beaten) else None)


@pytest.mark.parametrize(("state", "signal"), LEGAL, ids=str)
def test_a_sweep_asks_that_the_job_is_still_due(state, signal):
    """Several sweepers may be handed one job."""
    change = deciding(a_record(state), signal)

    assert change.if_due is isinstance(signal, Swept)


@pytest.mark.parametrize(("state", "signal"), LEGAL, ids=str)
def test_all_but_beats_and_completions_are_guarded_by_the_revision(state, signal):
    """Those two are right whatever else was asked for meanwhile."""
    change = deciding(a_record(state, revision=4), signal)

    assert change.revision == (None if isinstance(signal, Beaten | Completed) else 4)


@pytest.mark.parametrize(
    "signal", [signal for signal in signals() if isinstance(signal, Ended | Beaten)], ids=named
)
def test_what_the_run_wrote_goes_with_its_report(signal):
    """Notes and log entries that the handler wrote since the last report leave with this one."""
    told = replace(signal, notes={"progress": b"1"}, append={"log": b"line"})

    move = moved(a_record(State.RUNNING), told)

    assert (move.notes["progress"], move.append["log"]) == (b"1", b"line")


# Attempts


@pytest.mark.parametrize("retries", [0, 1, 5])
@pytest.mark.parametrize("kind", [Failed, TimedOut])
def test_retries_n_means_n_plus_one_attempts(kind, retries):
    """The attempt after the last retry is the end."""
    policy = Policy(retries=retries)
    ends = [
        moved(
            a_record(State.RUNNING, counters={"attempts": used}),
            kind(failure=a_failure()),
            policy=policy,
        ).to
        for used in range(retries + 1)
    ]

    assert ends == [State.RETRYING] * retries + [State.FAILED if kind is Failed else State.TIMED_OUT]


@pytest.mark.parametrize(
    ("signal", "counters"),
    [
        (Completed(result=b"1"), {"attempts": 3}),
        (Failed(failure=a_failure()), {"attempts": 3}),
        (TimedOut(failure=a_failure()), {"attempts": 3}),
        (Cancelled(), {"attempts": 3}),
        (Lost(), {"lost": 2}),
        (GivenUp(), {"lost": 2}),
        (Released(), {"released": 1}),
        (Snoozed(until=LATER), {"snoozed": 1}),
        (TaskUnknown(), {"snoozed": 1, "unknown": 1}),
        (Beaten(lease=LEASE), {}),
    ],
    ids=lambda value: named(value) if not isinstance(value, dict) else "",
)
def test_every_end_of_a_run_counts_in_one_place(signal, counters):
    """So that starts never outnumber what is counted; a death, a release and a snooze use up no attempt."""
    move = moved(a_record(State.RUNNING, counters={"attempts": 2, "lost": 1}), signal)

    assert move.counters == counters


def test_a_failed_attempt_waits_as_its_back_off_says():
    """The wait is reckoned from the number of the attempt that failed, and from chance."""
    policy = Policy()
    record = a_record(State.RUNNING, counters={"attempts": 2})

    assert moved(record, Failed(failure=a_failure()), policy=policy, roll=0.5).due == timedelta(seconds=10)
    assert moved(record, TimedOut(failure=a_failure()), policy=policy, roll=0.25).due == timedelta(seconds=5)


def test_a_handler_may_choose_its_own_wait():
    """`Retry(after)` goes before the back-off, but gives no further attempt."""
    asked = Failed(failure=a_failure(), wait=timedelta(hours=2))

    assert moved(a_record(State.RUNNING), asked).due == timedelta(hours=2)
    assert moved(a_record(State.RUNNING), asked, policy=Policy(retries=0)).to is State.FAILED


def test_a_handler_may_fail_for_good():
    """`Fail` leaves no attempt, whatever is left of them."""
    move = moved(a_record(State.RUNNING), Failed(failure=a_failure(), for_good=True))

    assert move.to is State.FAILED


def test_a_failure_is_kept_among_the_errors():
    """The error is told whether or not another attempt follows."""
    move = moved(a_record(State.RUNNING), Failed(failure=a_failure(message="disk full")))

    assert b"disk full" in move.append["errors"]


# Losing, releasing, putting off


@pytest.mark.parametrize("signal", [Lost(), GivenUp()], ids=named)
@pytest.mark.parametrize("max_lost", [0, 1, 3])
def test_a_job_is_lost_so_often_and_then_fails(signal, max_lost):
    """It is queued again while fewer than `max_lost` were counted; then a job that kills its workers must stop."""
    policy = Policy(retries=100, max_lost=max_lost)
    ends = [
        moved(a_record(State.RUNNING, counters={"lost": lost}), signal, policy=policy).to
        for lost in range(max_lost + 1)
    ]

    assert ends == [*[State.QUEUED, State.RETRYING, State.RETRYING][:max_lost], State.FAILED]


@pytest.mark.parametrize(
    ("lost", "bound"), [(1, 30), (2, 60), (3, 120), (5, 480), (6, 600), (999, 600)], ids=str
)
def test_a_job_that_is_lost_again_waits_for_a_random_while(lost, bound):
    """From its second loss on: those that were lost together are kept apart, up to a bound that doubles."""
    job = a_record(State.RUNNING, counters={"lost": lost})
    waits = [moved(job, Lost(), policy=Policy(max_lost=1000), roll=roll).due for roll in (0.0, 0.5, 0.99)]

    assert waits == [timedelta(seconds=bound) * roll for roll in (0.0, 0.5, 0.99)]


def test_a_job_lost_too_often_says_so():
    """Both its error and its history give the reason `lost`."""
    move = moved(a_record(State.RUNNING, run=9), Lost(), policy=Policy(max_lost=0))

    assert entry(move).reason == "lost"
    assert b'"type":"lost"' in move.append["errors"]


@pytest.mark.parametrize("signal", [Lost(), Released()], ids=named)
def test_a_job_that_comes_back_keeps_its_place(signal):
    """It did nothing to deserve going behind the others."""
    move = moved(a_record(State.RUNNING), signal)

    assert (move.to, move.due, move.place) == (State.QUEUED, None, UNCHANGED)


@pytest.mark.parametrize("until", [LATER, NOW + LATER])
def test_a_snoozed_job_waits_as_long_as_the_handler_said(until):
    """For a time, or until an instant."""
    move = moved(a_record(State.RUNNING), Snoozed(until=until))

    assert (move.to, move.due) == (State.SCHEDULED, until)


def test_an_unknown_task_waits_30_s_doubling_to_10_min():
    """Its job neither fails nor stands in the way of others, however often it happens."""
    waits = [
        moved(a_record(State.RUNNING, counters={"unknown": times}), TaskUnknown()).due.total_seconds()
        for times in (0, 1, 2, 3, 4, 5, 6, 50)
    ]

    assert waits == [30, 60, 120, 240, 480, 600, 600, 600]
    assert (timedelta(seconds=30), timedelta(minutes=10)) == (UNKNOWN_WAIT, UNKNOWN_WAIT_CAP)


@pytest.mark.parametrize(
    ("retries", "max_lost", "started", "kind"),
    [(0, 0, True, GivenUp), (0, 0, False, Released), (1, 0, True, Released), (0, 1, True, Released)],
)
def test_a_worker_hands_back_all_but_started_at_most_once_jobs(retries, max_lost, started, kind):
    """A job that must not start twice and has started is lost, never released."""
    policy = Policy(retries=retries, max_lost=max_lost)
    signal = hand_back(policy, started=started, notes={"saved": b"1"}, append={"log": b"line"})

    assert signal == kind(notes={"saved": b"1"}, append={"log": b"line"})


def test_at_most_once_ends_with_its_first_loss():
    """The job is not started again."""
    move = moved(a_record(State.RUNNING), GivenUp(), policy=Policy(retries=0, max_lost=0))

    assert move.to is State.FAILED


# Beats


def test_a_beat_extends_the_lease_and_nothing_else():
    """It is no entry in the history."""
    move = moved(a_record(State.RUNNING), Beaten(lease=LEASE))

    assert move == Move(to=State.RUNNING, due=LEASE)


# Cancelling


@pytest.mark.parametrize("state", [State.BLOCKED, State.SCHEDULED, State.QUEUED, State.RETRYING])
def test_a_waiting_job_is_cancelled_at_once(state):
    """With the reason in its history and in its head."""
    move = moved(a_record(state), CancelAsked(reason="not wanted"))

    assert move.to is State.CANCELLED
    assert move.cancel == "not wanted"
    assert entry(move).reason == "not wanted"


def test_to_cancel_a_running_job_is_a_request():
    """The job goes on, its lease untouched, and the request is noted with its time."""
    move = moved(a_record(State.RUNNING), CancelAsked(reason="not wanted"))

    assert (move.to, move.due) == (State.RUNNING, UNCHANGED)
    assert move.cancel == "not wanted"


def test_the_first_request_is_kept():
    """A second one does not replace it; the history has both."""
    move = moved(a_record(State.RUNNING, cancel=REQUESTED), CancelAsked(reason="another"))

    assert move.cancel is UNCHANGED
    assert entry(move).reason == "another"


@pytest.mark.parametrize("signal", BACK_TO_WAITING, ids=named)
@pytest.mark.parametrize(
    "policy", [Policy(), Policy(retries=0, max_lost=0)], ids=["attempts left", "none left"]
)
def test_a_job_with_a_request_never_goes_back_to_waiting(signal, policy):
    """Whatever ends its run but completing ends it cancelled, whatever attempts are left."""
    move = moved(a_record(State.RUNNING, cancel=REQUESTED), signal, policy=policy)

    assert (move.to, move.due) == (State.CANCELLED, policy.keep)


def test_a_job_with_a_request_may_complete():
    """Its result is there; nobody gains by throwing it away."""
    move = moved(a_record(State.RUNNING, cancel=REQUESTED), Completed(result=b"42"))

    assert (move.to, move.notes["result"]) == (State.COMPLETED, b"42")


def test_a_handler_may_cancel_its_own_job():
    """With a reason, for its history."""
    move = moved(a_record(State.RUNNING), Cancelled(reason="no such user"))

    assert move.to is State.CANCELLED
    assert entry(move).reason == "no such user"


# Retrying by hand


@pytest.mark.parametrize(
    "state", [State.FAILED, State.TIMED_OUT, State.CANCELLED, State.SCHEDULED, State.RETRYING]
)
def test_a_retried_job_goes_to_the_tail(state):
    """It is queued at once, behind all others of its priority."""
    move = moved(a_record(state), RetryAsked())

    assert (move.to, move.due, move.place) == (State.QUEUED, None, TAIL)


def test_a_completed_job_is_run_again_only_by_force():
    """It has a result, which would be erased; the error says how to insist."""
    with pytest.raises(
        IllegalTransition,
        match="^cannot retry job mail:1: it is completed; use force=True to run it again and erase its result$",
    ):
        deciding(a_record(State.COMPLETED), RetryAsked())

    assert moved(a_record(State.COMPLETED), RetryAsked(force=True)).to is State.QUEUED


def test_a_retry_resets_what_the_runs_left_but_not_what_they_saved():
    """Counters, request, error, result and progress are erased; saved data stays for the handler to go on from."""
    counters = dict.fromkeys(("attempts", "lost", "unknown", "released", "snoozed"), 2)
    job = a_record(State.FAILED, counters=counters, cancel=REQUESTED, error="ValueError: no")
    move = moved(job, RetryAsked())

    assert move.counters == {"attempts": 0, "lost": 0, "unknown": 0}
    assert (move.cancel, move.error) == (None, None)
    assert move.notes == {"result": None, "progress": None}


def test_a_retry_of_a_job_that_never_ran_erases_nothing():
    """There is nothing to erase."""
    move = moved(a_record(State.CANCELLED, run=0), RetryAsked())

    assert (move.counters, move.cancel, move.error, move.notes) == ({}, UNCHANGED, UNCHANGED, {})


@pytest.mark.parametrize("state", [State.FAILED, State.SCHEDULED])
def test_a_retry_takes_the_unique_key_again(state):
    """A final job has lost it; one that waits still holds it and need not ask."""
    move = moved(a_record(state), RetryAsked(), policy=Policy(unique="digest"))

    assert move.unique == ("digest" if state in FINAL else UNCHANGED)


# What sweeps find


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        (State.BLOCKED, Unblocked),
        (State.SCHEDULED, Promoted),
        (State.QUEUED, Promoted),
        (State.RUNNING, Lost),
        (State.RETRYING, Promoted),
        *((state, Expired) for state in sorted(FINAL)),
    ],
)
def test_time_means_something_in_every_state(state, kind):
    """One deadline, and one meaning for each state."""
    signal = signal_for(a_record(state))

    assert type(signal) is kind


@pytest.mark.parametrize(("state", "signal"), [(State.SCHEDULED, Promoted()), (State.BLOCKED, Unblocked())])
def test_a_job_whose_wait_is_over_joins_the_tail(state, signal):
    """Those that were queued meanwhile go first."""
    move = moved(a_record(state), signal)

    assert (move.to, move.place) == (State.QUEUED, TAIL)


@pytest.mark.parametrize(("state", "signal"), [(State.FAILED, Expired()), (State.QUEUED, Deleted())])
def test_deleting_and_expiring_leave_nothing(state, signal):
    """The move has no target."""
    move = moved(a_record(state), signal)

    assert move.to is None


# Ends


@pytest.mark.parametrize(
    ("signal", "keep"),
    [
        (Completed(result=b"1"), 1),
        (Cancelled(), 1),
        (Failed(failure=a_failure(), for_good=True), 2),
        (TimedOut(failure=a_failure()), 2),
        (Lost(), 2),
    ],
    ids=lambda value: named(value) if not isinstance(value, int) else "",
)
def test_what_failed_is_kept_for_longer(signal, keep):
    """`keep` is for completed and cancelled jobs, `keep_failed` for the others."""
    policy = Policy(retries=0, max_lost=0, keep=timedelta(hours=1), keep_failed=timedelta(hours=2))
    move = moved(a_record(State.RUNNING), signal, policy=policy)

    assert move.due == timedelta(hours=keep)


@pytest.mark.parametrize("signal", [Completed(result=b"1"), Failed(failure=a_failure())], ids=named)
def test_a_job_that_must_not_start_twice_is_kept_while_its_enqueue_may_be_repeated(signal):
    """However short its retention is: a repetition finds it, and makes no second one."""
    kept = [
        moved(
            a_record(State.RUNNING),
            signal,
            policy=Policy(retries=0, max_lost=max_lost, keep=keep, keep_failed=keep),
        ).due
        for max_lost, keep in ((0, timedelta(0)), (0, timedelta(hours=1)), (0, None), (1, timedelta(0)))
    ]

    assert kept == [REPEATED, timedelta(hours=1), None, timedelta(0)]


@pytest.mark.parametrize("signal", [Completed(result=b"1"), Failed(failure=a_failure())], ids=named)
def test_none_keeps_a_job_for_ever(signal):
    """It has no deadline then."""
    move = moved(a_record(State.RUNNING), signal, policy=Policy(retries=0, keep=None, keep_failed=None))

    assert move.due is None


@pytest.mark.parametrize("held", ["digest", None])
def test_the_end_frees_the_unique_key(held):
    """A job that holds none has nothing to free."""
    move = moved(a_record(State.RUNNING, unique=held), Completed(result=b"1"))

    assert move.unique is (None if held else UNCHANGED)


def test_the_history_tells_who_did_what_and_when():
    """A run is named by its claim, a call from outside by its id."""
    record = a_record(State.RUNNING, run=3)
    ended, asked = entry(moved(record, Released())), entry(moved(record, CancelAsked(), by="call-7"))

    assert ended == HistoryEntry(event="release", to="queued", by="claim-1", run=3, started_ms=1767225600000)
    assert asked == HistoryEntry(event="cancel", to="running", by="call-7", run=3)


# Updating


def test_a_priority_can_be_changed_before_the_start():
    """The job stays where it is."""
    move = moved(a_record(State.QUEUED), Updated(priority=9))

    assert (move.to, move.priority, move.due) == (State.QUEUED, 9, UNCHANGED)


@pytest.mark.parametrize("state", [State.QUEUED, State.SCHEDULED])
def test_a_start_can_be_changed_before_the_start(state):
    """A queued job that shall start later is scheduled."""
    move = moved(a_record(state), Updated(start=LATER))

    assert (move.to, move.priority, move.due) == (State.SCHEDULED, UNCHANGED, LATER)


def test_tags_can_be_changed_before_the_start():
    """What is not given stays."""
    both, none = moved(a_record(), Updated(tags=("a", "b"))), moved(a_record(), Updated(tags=()))

    assert (both.to, both.tags, both.priority) == (State.QUEUED, ("a", "b"), UNCHANGED)
    assert none.tags == ()


# A completion at the first start


def test_a_completion_at_the_first_start_writes_no_history():
    """The head says it all; a later one is written down."""
    first = moved(a_record(State.RUNNING, run=1), Completed(result=b"1", append={"log": b"line"}))
    second = moved(a_record(State.RUNNING, run=2), Completed(result=b"1"))

    assert first.append == {"log": b"line"}
    assert entry(second).to == State.COMPLETED


def test_a_retry_writes_down_the_completion_that_its_head_no_longer_says():
    """Which run it was, when, and by which claim."""
    job = a_record(State.COMPLETED, ended_at=NOW + LATER)
    found = entry(moved(job, RetryAsked(force=True)))

    assert (found.started_ms, found.ended_ms, found.completed_by) == (
        1767225600000,
        1767225660000,
        "claim-1",
    )


def entry(move):
    """The entry that a move makes in the history."""
    (found,) = decode_list({"history": [Entry(at=NOW, data=move.append["history"])]}, "history", HistoryEntry)
    return found
