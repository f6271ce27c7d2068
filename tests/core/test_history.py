"""History: what happened to a job, told by its head and its entries together."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from stanchion.model.changes import HISTORY
from stanchion.model.decisions import decide
from stanchion.model.effects import apply_change, claim_record
from stanchion.model.history import Failure, HistoryEntry, completed_at_first, history_of, was_made
from stanchion.model.policies import Fixed, Policy
from stanchion.model.records import Entry
from stanchion.model.signals import CancelAsked, Completed, Failed, Released, RetryAsked, Snoozed
from stanchion.model.states import Event, State
from support.factories import LATER, LEASE, NOW, a_failure, a_record

SECOND = timedelta(seconds=1)


class Life:
    """A job to which one thing happens each second."""

    def __init__(self):
        self.job, self.now, self.claims = a_record(), NOW, 0

    def tell(self, signal, by=""):
        self.now += SECOND
        policy = Policy(backoff=Fixed(0))
        change = decide(self.job, signal, roll=0.0, policy=policy, by=by)
        self.job = apply_change(self.job, change, now=self.now, tail=lambda: 0)
        return self

    def claim(self):
        self.now += SECOND
        self.claims += 1
        queued = replace(self.job, state=State.QUEUED)
        self.job = claim_record(
            queued, now=self.now, ends=self.now + LEASE, claim=f"claim-{self.claims}", worker="w"
        )
        return self

    @property
    def entries(self):
        return self.job.lists.get(HISTORY, ())

    @property
    def told(self):
        """What happened, by whom, and after how many seconds."""
        return [
            (one.event, one.to, one.by, one.run, (at - NOW) / SECOND)
            for at, one in history_of(self.job, self.entries)
        ]


DONE = Completed(result=b"1")


def test_a_completion_at_the_first_start_is_told_from_the_head():
    """It wrote no entry."""
    life = Life().claim().tell(DONE)

    assert life.entries == ()
    assert life.told == [("complete", "completed", "claim-1", 1, 2)]


def test_it_says_when_the_run_started():
    """As an entry of its own would."""
    ((_, entry),) = history_of(Life().claim().tell(DONE).job, ())

    assert entry.started_ms == round((NOW + SECOND).timestamp() * 1000)


def test_what_came_before_it_is_told_before():
    """Somebody asked to cancel the job while it ran."""
    life = Life().claim().tell(CancelAsked(), by="call-1").tell(DONE)

    assert [event for event, *_ in life.told] == ["cancel", "complete"]


def test_a_later_completion_has_an_entry():
    """It is not told twice."""
    life = Life().claim().tell(Failed(failure=a_failure())).claim().tell(DONE)

    assert life.told == [
        ("fail", "retrying", "claim-1", 1, 2),
        ("complete", "completed", "claim-2", 2, 4),
    ]


def test_a_retry_does_not_lose_the_completion():
    """Its entry says what the head no longer does, and is told as two."""
    life = Life().claim().tell(DONE).tell(RetryAsked(force=True), by="call-1")

    assert life.told == [
        ("complete", "completed", "claim-1", 1, 2),
        ("retry", "queued", "call-1", 1, 3),
    ]
    assert len(life.entries) == 1


def test_a_life_with_everything_is_told_in_order():
    """First completion, retry, release, snooze, last completion."""
    life = Life().claim().tell(DONE).tell(RetryAsked(force=True), by="call-1")
    life.claim().tell(Released()).claim().tell(Snoozed(until=LATER)).claim().tell(DONE)

    assert [event for event, *_ in life.told] == ["complete", "retry", "release", "snooze", "complete"]
    assert [run for *_, run, _ in life.told] == [1, 1, 2, 3, 4]
    seconds = [at for *_, at in life.told]
    assert seconds == sorted(seconds)


def test_entries_that_cannot_be_read_are_passed_over():
    """What can be read still helps."""
    good = HistoryEntry(event="release", to="queued", by="claim-1").encode()
    entries = [Entry(at=NOW, data=data) for data in (b"{", good, b'{"event":5}')]

    assert [entry.event for _, entry in history_of(a_record(), entries)] == ["release"]


@pytest.mark.parametrize(
    ("state", "run", "is_first"),
    [
        (State.COMPLETED, 1, True),
        (State.COMPLETED, 2, False),
        (State.RUNNING, 1, False),
        (State.CANCELLED, 1, False),
        (State.QUEUED, 1, False),
    ],
)
def test_only_a_completion_in_run_one_is_one_at_the_first_start(state, run, is_first):
    """Other ends have entries."""
    assert completed_at_first(a_record(state, run=run)) is is_first


# Whether a change was made before


def made(life, by, event):
    at = was_made(life.job, life.entries, by, event)
    return at and (at - NOW) / SECOND


@pytest.mark.parametrize("signal", [Failed(failure=a_failure()), Released(), Snoozed(until=LATER)], ids=repr)
def test_a_report_is_recognised_by_its_claim(signal):
    """And its event; another claim's is not."""
    life = Life().claim().tell(signal)

    assert made(life, "claim-1", signal.event) == 2
    assert made(life, "claim-2", signal.event) is None
    assert made(life, "claim-1", Event.COMPLETE) is None


def test_a_completion_at_the_first_start_is_recognised():
    """Also after somebody had the job run again."""
    life = Life().claim().tell(DONE)
    before = made(life, "claim-1", Event.COMPLETE)
    life.tell(RetryAsked(force=True), by="call-1").claim()

    assert before == made(life, "claim-1", Event.COMPLETE) == 2
    assert made(life, "claim-2", Event.COMPLETE) is None


def test_a_run_that_still_holds_its_job_has_completed_nothing():
    """Its claim stands in the head, and so it does in one that ended otherwise."""
    running, failed = Life().claim(), Life().claim().tell(Failed(failure=a_failure(), for_good=True))

    assert made(running, "claim-1", Event.COMPLETE) is None
    assert made(failed, "claim-1", Event.COMPLETE) is None


def test_what_was_asked_for_is_recognised_by_its_call():
    """Each call has an id of its own."""
    life = Life().tell(CancelAsked(), by="call-1").tell(RetryAsked(), by="call-2")

    assert (made(life, "call-1", Event.CANCEL), made(life, "call-2", Event.RETRY)) == (1, 2)
    assert made(life, "call-2", Event.CANCEL) is None


# Why runs failed


@pytest.mark.parametrize(
    ("failure", "line"),
    [
        (Failure("ValueError", "no such\n  user"), "ValueError: no such user"),
        (Failure("KeyError"), "KeyError"),
        (Failure("E", "x" * 500), "E: " + "x" * 197),
    ],
)
def test_a_head_shows_an_error_in_one_short_line(failure, line):
    """Whatever it says."""
    assert failure.line == line


def test_times_of_entries_are_those_of_the_backend():
    """In UTC."""
    life = Life().claim().tell(DONE).tell(RetryAsked(force=True), by="call-1")

    assert all(at.utcoffset() == timedelta(0) for at, _ in history_of(life.job, life.entries))
    assert datetime(2026, 1, 1, 0, 0, 2, tzinfo=UTC) == history_of(life.job, life.entries)[0][0]
