"""Effects: when a change is refused, what an accepted one makes of a record, and what holds after any story of it."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from stanchion.codec.specs import policy_of
from stanchion.errors import IllegalTransition
from stanchion.model.changes import LIST_LENGTH, TAIL, UNCHANGED, Refusal
from stanchion.model.decisions import decide
from stanchion.model.effects import (
    CROSSINGS,
    apply_change,
    claim_record,
    create_record,
    first_refusal,
    instant,
    promote_record,
    refuse,
    spent,
)
from stanchion.model.policies import Policy
from stanchion.model.records import Cancel, Entry, Head, Record, head_of
from stanchion.model.states import FINAL, ROWS, State
from support.factories import LATER, LEASE, NOW, a_change, a_policy, a_record, an_item, signals

RUNNING = a_record(State.RUNNING, revision=3)


def refused(found, change, *, now=NOW, held_by=None):
    return first_refusal(found, change, now=now, holder=lambda digest: held_by)


def after(found, change, *, now=NOW, tail=99):
    return apply_change(found, change, now=now, tail=lambda: tail)


# Guards


@pytest.mark.parametrize(
    ("found", "guards", "why"),
    [
        (None, {}, Refusal.ABSENT),
        (RUNNING, {"created_at": NOW + LATER}, Refusal.ABSENT),
        (RUNNING, {"created_at": NOW}, None),
        (RUNNING, {"claim": "claim-2"}, Refusal.CLAIM),
        (RUNNING, {"state": State.QUEUED}, Refusal.STATE),
        (RUNNING, {"if_due": True}, Refusal.DUE),
        (RUNNING, {"revision": 2}, Refusal.REVISION),
        (RUNNING, {"unique": "digest"}, Refusal.UNIQUE),
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
        "unique": "digest",
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
    """A job without a deadline never is."""
    answer = refused(a_record(State.FAILED, due_at=due_at), a_change(State.FAILED, to=None, if_due=True))

    assert answer is why


@pytest.mark.parametrize("holder", [None, "mail:1"])
def test_a_unique_key_can_be_taken_if_free_or_its_own(holder):
    """Taking what one holds already is no conflict."""
    answer = refused(RUNNING, a_change(unique="digest"), held_by=holder)

    assert answer is None


# What becomes of a record


def test_deleting_leaves_nothing():
    """The answer is none."""
    left = after(a_record(State.FAILED), a_change(State.FAILED, to=None))

    assert left is None


@pytest.mark.parametrize("to", sorted(set(State) - {State.RUNNING}))
def test_claim_and_worker_stay_when_a_run_ends(to):
    """They say who held the job last."""
    record = after(RUNNING, a_change(to=to))

    assert (record.claim, record.worker, record.run) == ("claim-1", "worker-1", 1)


@pytest.mark.parametrize("state", sorted(FINAL))
def test_final_states_stamp_their_end(state):
    """Leaving one erases the stamp."""
    ended = after(RUNNING, a_change(to=state), now=NOW + LATER)
    again = after(ended, a_change(state, to=State.QUEUED))

    assert (ended.ended_at, again.ended_at) == (NOW + LATER, None)


def test_a_lease_never_gets_shorter():
    """A late beat cannot undo one that came before it."""
    shorter = after(RUNNING, a_change(to=State.RUNNING, due=LEASE / 2))
    longer = after(RUNNING, a_change(to=State.RUNNING, due=LEASE * 2))

    assert (shorter.due_at, longer.due_at) == (NOW + LEASE, NOW + LEASE * 2)


@pytest.mark.parametrize(
    ("due", "due_at"),
    [(UNCHANGED, NOW + LEASE), (None, None), (LATER, NOW + LATER), (NOW + LATER * 2, NOW + LATER * 2)],
)
def test_a_deadline_is_kept_removed_or_set(due, due_at):
    """A timedelta counts from the backend's now."""
    record = after(RUNNING, a_change(to=State.RETRYING, due=due))

    assert record.due_at == due_at


def test_a_queued_job_has_no_deadline():
    """Whatever the move says."""
    record = after(RUNNING, a_change(to=State.QUEUED, due=LATER))

    assert record.due_at is None


@pytest.mark.parametrize(("place", "after_it"), [(UNCHANGED, 5), (TAIL, 99)])
def test_a_place_is_kept_unless_the_tail_is_asked_for(place, after_it):
    """A job that comes back stands where it stood."""
    record = after(a_record(State.RUNNING, place=5), a_change(place=place))

    assert record.place == after_it


@pytest.mark.parametrize(
    ("claim", "to", "revision"),
    [("claim-1", State.RUNNING, 3), ("claim-1", State.QUEUED, 4), (None, State.RUNNING, 4)],
)
def test_all_but_what_a_run_writes_while_it_goes_on_is_counted(claim, to, revision):
    """So that a beat disturbs nobody, and nothing that was changed or run meanwhile is decided on as it was."""
    record = after(RUNNING, a_change(to=to, claim=claim))

    assert record.revision == revision


def test_notes_are_written_and_erased():
    """Others stay as they were."""
    found = a_record(State.RUNNING, notes={"kept": b"1", "erased": b"1"})
    record = after(found, a_change(notes={"erased": None, "written": b"", "absent": None}))

    assert record.notes == {"kept": b"1", "written": b""}


def test_counters_are_written_and_zeros_erased():
    """Others stay as they were."""
    found = a_record(State.RUNNING, counters={"lost": 1, "attempts": 2})
    record = after(found, a_change(counters={"attempts": 0, "released": 1, "unknown": 0}))

    assert record.counters == {"lost": 1, "released": 1}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("priority", 7),
        ("unique", "digest"),
        ("unique", None),
        ("tags", ("a",)),
        ("error", "no"),
        ("error", None),
    ],
)
def test_fields_of_a_head_are_written_or_left(field, value):
    """What a move does not name stays as it was."""
    found = a_record(State.RUNNING, priority=1, unique="held", tags=("b",), error="before")

    assert getattr(after(found, a_change(**{field: value})), field) == value
    assert getattr(after(found, a_change()), field) == getattr(found, field)


def test_a_request_to_cancel_is_noted_with_its_instant():
    """And erased."""
    asked = after(RUNNING, a_change(to=State.RUNNING, cancel="not wanted"), now=NOW + LATER)

    assert asked.cancel == Cancel(reason="not wanted", at=NOW + LATER)
    assert after(asked, a_change(cancel=UNCHANGED)).cancel == asked.cancel
    assert after(asked, a_change(cancel=None)).cancel is None


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
    after(RUNNING, a_change(notes={"a": b"1"}, append={"b": b"2"}, priority=7))

    assert before == RUNNING


def test_an_instant_is_cut_to_milliseconds():
    """As every store keeps it."""
    at = instant(datetime(2026, 1, 1, 0, 0, 0, 123_999, tzinfo=UTC), NOW)

    assert at == datetime(2026, 1, 1, 0, 0, 0, 123_000, tzinfo=UTC)


# What each way from state to state makes of a head


PAIRS = [(state, to) for state in State for to in (*State, None)]
WAYS = sorted({(row[0], row[2]) for row in ROWS if row[0] is not None}, key=str)


def test_there_is_a_crossing_for_every_pair():
    """The table may grow without a change here."""
    assert set(CROSSINGS) == set(PAIRS)


@pytest.mark.parametrize(("state", "to"), PAIRS, ids=str)
def test_a_crossing_stamps_what_begins(state, to):
    """Being claimable, from wherever it comes; and the end, unless it had ended before."""
    stamps = CROSSINGS[state, to].stamps

    assert ("queued_at" in stamps) is (to is State.QUEUED and state is not State.QUEUED)
    assert ("ended_at" in stamps) is (to in FINAL and state not in FINAL)
    assert set(stamps) <= {"queued_at", "ended_at"}


@pytest.mark.parametrize(("state", "to"), PAIRS, ids=str)
def test_a_crossing_erases_what_is_over(state, to):
    """A queued job has no deadline, and what is not final has not ended."""
    erases = CROSSINGS[state, to].erases

    assert ("due_at" in erases) is (to is State.QUEUED)
    assert ("ended_at" in erases) is (state in FINAL and to not in FINAL)
    assert set(erases) <= {"due_at", "ended_at"}


@pytest.mark.parametrize(("state", "to"), PAIRS, ids=str)
def test_only_a_lease_moves_only_forward(state, to):
    """Other deadlines are set to what the move says."""
    assert CROSSINGS[state, to].only_forward is (state is to is State.RUNNING)


@pytest.mark.parametrize(("state", "to"), PAIRS, ids=str)
def test_time_is_counted_where_a_queued_or_running_job_leaves_its_state(state, to):
    """From when it was queued, and from when its run was started."""
    since = {State.QUEUED: "queued_at", State.RUNNING: "started_at"}.get(state)

    assert CROSSINGS[state, to].since == (None if state is to else since)


@pytest.mark.parametrize(("state", "to"), WAYS, ids=str)
def test_a_change_does_to_a_head_what_its_crossing_says(state, to):
    """Everything else stays; the body is another matter."""
    found, then = head_of(a_record(state, queued_at=NOW, revision=2)), NOW + LATER
    changed = after(found, a_change(state, to=to), now=then)
    if to is None:
        assert changed is None
        return
    crossing = CROSSINGS[state, to]
    expected = {
        "state": to,
        "revision": 3,
        **dict.fromkeys(crossing.erases),
        **dict.fromkeys(crossing.stamps, then),
    }

    assert changed == replace(found, **expected)


@pytest.mark.parametrize(
    ("fields", "to", "ms"),
    [
        ({"state": State.QUEUED}, State.RUNNING, 60_000),
        ({"state": State.QUEUED, "queued_at": NOW + LATER / 2}, State.RUNNING, 30_000),
        ({"state": State.QUEUED, "queued_at": NOW + LATER * 2}, State.CANCELLED, 0),
        ({"state": State.QUEUED}, None, 60_000),
        ({"state": State.QUEUED}, State.QUEUED, 0),
        ({"state": State.RUNNING, "started_at": NOW + LATER / 4}, State.COMPLETED, 45_000),
        ({"state": State.RUNNING}, State.RUNNING, 0),
        ({"state": State.SCHEDULED}, State.QUEUED, 0),
        ({"state": State.FAILED}, None, 0),
    ],
    ids=str,
)
def test_time_is_spent_queued_or_running(fields, to, ms):
    """In whole milliseconds, and never less than none although clocks step back."""
    assert spent(a_record(**fields), to, NOW + LATER) == ms


# Being created, promoted and claimed


def test_a_created_job_has_what_its_item_says():
    """A timedelta counts from the backend's now."""
    fields = {"priority": 5, "tags": ("a",), "unique": "digest", "scope": "end", "policy": b"{}"}
    item = an_item(state=State.SCHEDULED, due=LATER, **fields)
    record = create_record(item, now=NOW, tail=lambda: 99)

    assert record == Record(
        id="mail:1",
        task="welcome",
        state=State.SCHEDULED,
        created_at=NOW,
        due_at=NOW + LATER,
        args=item.args,
        **fields,
    )


def test_only_a_queued_job_is_created_at_the_tail():
    """It is claimable since it was created."""
    queued = create_record(an_item(), now=NOW, tail=lambda: 99)
    blocked = create_record(an_item(state=State.BLOCKED), now=NOW, tail=lambda: 99)

    assert (queued.place, queued.queued_at) == (99, None)
    assert blocked.place == 0


@pytest.mark.parametrize(("scope", "unique"), [("start", None), ("end", "digest")])
def test_a_job_that_is_created_running_is_in_its_first_run(scope, unique):
    """Held by its item's claim, due when the lease ends; its start has freed a key held until then."""
    item = an_item(state=State.RUNNING, claim="c", worker="w", due=LEASE, unique="digest", scope=scope)
    record = create_record(item, now=NOW, tail=lambda: 99)

    assert (record.claim, record.worker, record.run) == ("c", "w", 1)
    assert (record.started_at, record.due_at, record.unique) == (NOW, NOW + LEASE, unique)


def test_a_promoted_job_joins_the_tail():
    """It is claimable from now on, and was changed without a claim."""
    record = promote_record(a_record(State.SCHEDULED, revision=3), now=NOW + LATER, tail=lambda: 99)

    assert (record.state, record.due_at, record.queued_at) == (State.QUEUED, None, NOW + LATER)
    assert (record.place, record.revision) == (99, 4)


@pytest.mark.parametrize(("scope", "unique"), [("start", None), ("end", "digest")])
def test_a_claimed_job_is_in_its_next_run(scope, unique):
    """Held by the claim until the lease ends; its revision stays."""
    found = a_record(
        State.QUEUED, run=2, revision=3, unique="digest", scope=scope, claim="before", worker="w"
    )
    record = claim_record(found, now=NOW, ends=NOW + LEASE, claim="c", worker="w2")

    assert (record.state, record.claim, record.worker, record.run) == (State.RUNNING, "c", "w2", 3)
    assert (record.started_at, record.due_at) == (NOW, NOW + LEASE)
    assert (record.revision, record.unique) == (3, unique)


# Refusals


def test_a_refusal_shows_the_head_and_the_history():
    """And nothing else of the body."""
    history = (Entry(at=NOW, data=b"{}"),)
    found = a_record(State.RUNNING, lists={"history": history, "log": history}, notes={"saved": b"1"})
    refused = refuse(Refusal.CLAIM, found)

    assert (refused.why, refused.head, refused.history) == (Refusal.CLAIM, head_of(found), history)
    assert type(refused.head) is Head


@pytest.mark.parametrize("found", [None, a_record()])
def test_another_life_is_not_shown(found):
    """It is another job."""
    refused = refuse(Refusal.ABSENT, found)

    assert (refused.why, refused.head, refused.history) == (Refusal.ABSENT, None, ())


# Any story of a job


class Story:
    """A job, and what happens to it: signals are decided and applied, and a queued job can be claimed."""

    def __init__(self, policy):
        stored = a_policy(retries=policy.retries, max_lost=policy.max_lost, unique=policy.unique)
        self.policy = policy
        self.job = a_record(policy=stored, unique=policy.unique, scope="end")
        self.now = NOW
        self.changed = 0
        self.forgiven = 0

    def tell(self, signal, roll):
        try:
            change = decide(self.job, signal, roll=roll, policy=policy_of(self.job.policy))
        except IllegalTransition:
            return
        self.now = max(self.now, self.job.due_at) if change.if_due and self.job.due_at else self.now
        if refused(self.job, change, now=self.now) is not None:
            return
        if change.event == "retry":
            self.forgiven += self.job.count("attempts") + self.job.count("lost")
        self.job = apply_change(self.job, change, now=self.now, tail=lambda: 0)
        self.changed += change.claim is None or change.move.to is not change.state

    def claim(self):
        if self.job.state is State.QUEUED:
            self.job = claim_record(
                self.job, now=self.now, ends=self.now + LEASE, claim="claim", worker="worker"
            )


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
    assert (job.claim is not None) is (job.worker is not None) is (job.run > 0)
    assert (job.due_at is None) is (job.state is State.QUEUED)
    assert job.unique == (None if final else policy.unique)
    assert job.cancel is None or job.state in {State.RUNNING, State.COMPLETED, State.CANCELLED}
    assert job.revision == story.changed
    assert all(len(entries) <= LIST_LENGTH for entries in job.lists.values())
