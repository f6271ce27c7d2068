"""Changes: when one is refused, what an accepted one makes of a record, and what holds after any story of a job."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.codec.payloads import policy_of
from stanchion.errors import IllegalTransition
from stanchion.model.changes import (
    KEEP,
    LIST_LENGTH,
    Place,
    Refusal,
    applied,
    claimed,
    first_refusal,
    instant,
    stamp,
)
from stanchion.model.changes import NOW as STAMP
from stanchion.model.decisions import decide
from stanchion.model.policies import Policy
from stanchion.model.records import Entry
from stanchion.model.states import FINAL, State
from support.factories import LATER, LEASE, NOW, a_change, a_record, a_spec, signals

RUNNING = a_record(State.RUNNING, revision=3)


def refused(found, change, *, now=NOW, held_by=None):
    answer = first_refusal(found, change, now=now, holder=lambda digest: held_by)
    return answer and answer.why


def after(found, change, *, now=NOW, tail=99):
    return applied(found, change, now=now, tail=lambda: tail)


# Guards


@pytest.mark.parametrize(
    ("found", "guards", "why"),
    [
        (None, {}, Refusal.ABSENT),
        (RUNNING, {"claim": "claim-2"}, Refusal.CLAIM),
        (RUNNING, {"state": State.QUEUED}, Refusal.STATE),
        (RUNNING, {"if_due": True}, Refusal.DUE),
        (RUNNING, {"revision": 2}, Refusal.REVISION),
        (RUNNING, {"head": {"unique": "digest"}}, Refusal.UNIQUE),
        (RUNNING, {"claim": "claim-1", "revision": 3}, None),
    ],
)
def test_a_guard_that_does_not_hold_refuses(found, guards, why):
    """Each alone, and none if all hold."""
    answer = refused(found, a_change(**guards), held_by="mail:2")

    assert answer is why


def test_guards_are_checked_in_their_order():
    """The first that does not hold is the answer: mended one by one, each shows the next."""
    wrong = {
        "claim": "claim-2",
        "state": State.QUEUED,
        "if_due": True,
        "revision": 2,
        "head": {"unique": "digest"},
    }
    answers = []
    for guard in list(wrong):
        answers.append(refused(RUNNING, a_change(**wrong), held_by="mail:2"))
        del wrong[guard]

    assert answers == [Refusal.CLAIM, Refusal.STATE, Refusal.DUE, Refusal.REVISION, Refusal.UNIQUE]


@pytest.mark.parametrize(
    ("due_at", "why"), [(NOW, None), (NOW + timedelta(milliseconds=1), Refusal.DUE), (None, Refusal.DUE)]
)
def test_a_job_is_due_from_its_instant_on(due_at, why):
    """A job without a clock never is."""
    answer = refused(a_record(State.FAILED, due_at=due_at), a_change(State.FAILED, to=None, if_due=True))

    assert answer is why


@pytest.mark.parametrize("holder", [None, "mail:1"])
def test_a_unique_key_can_be_taken_if_free_or_its_own(holder):
    """Taking what one holds already is no conflict."""
    answer = refused(RUNNING, a_change(head={"unique": "digest"}), held_by=holder)

    assert answer is None


# What becomes of a record


def test_deleting_leaves_nothing():
    """The answer is none."""
    left = after(a_record(State.FAILED), a_change(State.FAILED, to=None))

    assert left is None


@pytest.mark.parametrize("to", sorted(set(State) - {State.RUNNING}))
def test_leaving_running_erases_claim_and_worker(to):
    """Nobody holds it any more."""
    record = after(RUNNING, a_change(to=to))

    assert (record.claim, record.worker, record.run) == (None, None, 1)


@pytest.mark.parametrize("state", sorted(FINAL))
def test_final_states_stamp_their_end(state):
    """Leaving one erases the stamp."""
    ended = after(RUNNING, a_change(to=state), now=NOW + LATER)
    again = after(ended, a_change(state, to=State.QUEUED))

    assert (ended.ended_at, again.ended_at) == (NOW + LATER, None)


def test_a_lease_never_gets_shorter():
    """A late beat cannot undo one that came before it."""
    shorter = after(RUNNING, a_change(to=State.RUNNING, clock=LEASE / 2))
    longer = after(RUNNING, a_change(to=State.RUNNING, clock=LEASE * 2))

    assert (shorter.due_at, longer.due_at) == (NOW + LEASE, NOW + LEASE * 2)


@pytest.mark.parametrize(
    ("clock", "due_at"),
    [(KEEP, NOW + LEASE), (None, None), (LATER, NOW + LATER), (NOW + LATER * 2, NOW + LATER * 2)],
)
def test_a_clock_is_kept_stopped_or_set(clock, due_at):
    """A timedelta counts from the backend's now."""
    record = after(RUNNING, a_change(to=State.RETRYING, clock=clock))

    assert record.due_at == due_at


def test_a_queued_job_has_no_clock():
    """Whatever the move says."""
    record = after(RUNNING, a_change(to=State.QUEUED, clock=LATER))

    assert record.due_at is None


@pytest.mark.parametrize(
    ("head", "place"), [({}, 5), ({"place": Place.KEEP}, 5), ({"place": Place.TAIL}, 99)]
)
def test_a_place_is_kept_unless_the_tail_is_asked_for(head, place):
    """A job that comes back stands where it stood."""
    record = after(a_record(State.RUNNING, place=5), a_change(head=head))

    assert record.place == place


@pytest.mark.parametrize(("claim", "revision"), [("claim-1", 3), (None, 4)])
def test_changes_without_a_claim_are_counted(claim, revision):
    """So that a beat disturbs nobody, and nothing from outside is overwritten."""
    record = after(RUNNING, a_change(claim=claim))

    assert record.revision == revision


def test_notes_are_written_stamped_and_erased():
    """Others stay as they were."""
    found = a_record(State.RUNNING, notes={"kept": b"1", "erased": b"1"})
    record = after(found, a_change(notes={"erased": None, "written": b"2", "at": STAMP, "absent": None}))

    assert record.notes == {"kept": b"1", "written": b"2", "at": b"1767225600000"}


def test_lists_keep_the_newest_hundred():
    """An entry more pushes the oldest out."""
    full = tuple(Entry(at=NOW, data=b"%d" % number) for number in range(LIST_LENGTH))
    record = after(
        a_record(State.RUNNING, lists={"log": full}), a_change(append={"log": b"new", "errors": b"one"})
    )

    assert record.lists["log"] == (*full[1:], Entry(at=NOW, data=b"new"))
    assert record.lists["errors"] == (Entry(at=NOW, data=b"one"),)


def test_the_record_found_is_not_changed():
    """A change makes a new one."""
    before = a_record(State.RUNNING, revision=3)
    after(RUNNING, a_change(notes={"a": b"1"}, append={"b": b"2"}, head={"priority": 7}))

    assert before == RUNNING


def test_an_instant_is_cut_to_milliseconds():
    """As every store keeps it."""
    at = instant(datetime(2026, 1, 1, 0, 0, 0, 123_999, tzinfo=UTC), NOW)

    assert at == datetime(2026, 1, 1, 0, 0, 0, 123_000, tzinfo=UTC)
    assert stamp(at) == b"1767225600123"


# Any story of a job


class Story:
    """A job, and what happens to it: signals are decided and applied, and a queued job can be claimed."""

    def __init__(self, policy):
        spec = a_spec(retries=policy.retries, max_lost=policy.max_lost, unique=policy.unique)
        self.policy = policy
        self.job = a_record(spec=spec, unique=policy.unique, scope="end")
        self.now = NOW
        self.outside = 0
        self.forgiven = 0

    def tell(self, signal, roll):
        try:
            change = decide(self.job, signal, roll=roll, policy=policy_of(self.job.spec))
        except IllegalTransition:
            return
        self.now = max(self.now, self.job.due_at) if change.if_due and self.job.due_at else self.now
        if refused(self.job, change, now=self.now) is not None:
            return
        if change.event == "retry":
            self.forgiven += self.job.count("attempts") + self.job.count("lost")
        self.job = applied(self.job, change, now=self.now, tail=lambda: 0)
        self.outside += change.claim is None

    def claim(self):
        if self.job.state is State.QUEUED:
            self.job = claimed(self.job, now=self.now, ends=self.now + LEASE, claim="claim", worker="worker")


POLICIES = st.builds(
    Policy,
    retries=st.integers(0, 3),
    max_lost=st.integers(0, 3),
    unique=st.sampled_from([None, "digest"]),
)
EVENTS = st.lists(st.sampled_from(["claim", "claim", "claim", *signals()]), max_size=40)


@given(policy=POLICIES, events=EVENTS, roll=st.floats(0, 1, exclude_max=True))
def test_whatever_happens_a_job_adds_up(policy, events, roll):
    """Starts are all accounted for, and each state looks as it must, after any sequence of events."""
    story = Story(policy)
    for event in events:
        story.claim() if event == "claim" else story.tell(event, roll)
        if story.job is None:
            break
        check(story)


def check(story):
    job, policy = story.job, story.policy
    running, final = job.state is State.RUNNING, job.state in FINAL
    attempts, lost, released, snoozed = map(job.count, ("attempts", "lost", "released", "snoozed"))

    assert job.run == attempts + lost + released + snoozed + story.forgiven + running
    assert attempts <= policy.retries + 1
    assert lost <= policy.max_lost + 1
    assert (job.ended_at is not None) is final
    assert (job.claim is not None) is (job.worker is not None) is running
    assert (job.due_at is None) is (job.state is State.QUEUED)
    assert job.unique == (None if final else policy.unique)
    assert not job.cancel_requested or job.state in {State.RUNNING, State.COMPLETED, State.CANCELLED}
    assert job.revision == story.outside
    assert all(len(entries) <= LIST_LENGTH for entries in job.lists.values())
