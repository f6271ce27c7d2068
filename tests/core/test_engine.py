"""The engine: it decides again when others were quicker, and knows its own changes again after a lost reply."""

from datetime import timedelta

import pytest

from stanchion.contract.requests import Get, List
from stanchion.engine.engine import Engine
from stanchion.engine.reporting import Report
from stanchion.errors import Contended, InvalidArgument, JobNotFound, LeaseLost, Unavailable
from stanchion.model.changes import Applied, Refusal
from stanchion.model.effects import refuse
from stanchion.model.policies import Policy
from stanchion.model.selection import Where
from stanchion.model.signals import CancelAsked, Cancelled, Completed, Deleted, Failed, Released, TimedOut
from stanchion.model.states import State
from stanchion.plugins.manager import Plugins
from stanchion_memory import MemoryBackend
from stanchion_testing.clock import VirtualClock
from support.factories import LEASE, a_failure, an_item
from support.workers import Witness

AT_ONCE = (0.0, None)


class LossyMemory(MemoryBackend):
    """A memory backend that makes some changes and then says nothing."""

    def __init__(self, clock):
        super().__init__(clock=clock)
        self.lost_replies = 0

    def apply(self, request):
        answers = super().apply(request)
        if self.lost_replies:
            self.lost_replies -= 1
            raise Unavailable("no answer")
        return answers


class Crowded(MemoryBackend):
    """A memory backend on which somebody else is always quicker."""

    def apply(self, request):
        found = self.get(Get([change.job_id for change in request.changes]))
        return [refuse(Refusal.REVISION, record) for record in found]


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def backend(clock):
    return LossyMemory(clock)


@pytest.fixture
def witness():
    return Witness()


@pytest.fixture
def engine(backend, witness):
    return Engine(backend, Plugins([witness]), roll=lambda: 0.5, pauses=AT_ONCE)


def claimed(engine):
    """A job that was inserted and claimed."""
    engine.call(engine.insert([an_item()]))
    (record,) = engine.call(engine.claim(["mail"], 1, "worker-1", LEASE)).records
    return record


def told(engine, record, signal):
    """What the engine answers to a report of one run."""
    (answer,) = engine.call(engine.report([Report(record, signal, Policy())]))
    return answer


@pytest.mark.parametrize(
    ("signal", "state"),
    [
        (Completed(result=b"1"), State.COMPLETED),
        (Failed(failure=a_failure()), State.RETRYING),
        (Failed(failure=a_failure(), for_good=True), State.FAILED),
        (TimedOut(failure=a_failure()), State.RETRYING),
        (Cancelled(), State.CANCELLED),
        (Released(), State.QUEUED),
    ],
)
def test_an_outcome_whose_reply_was_lost_was_recorded(engine, backend, witness, signal, state):
    """The repetition is refused, the job's history says by whose claim it was settled, and plugins hear of it once."""
    record = claimed(engine)
    backend.lost_replies = 1

    assert isinstance(told(engine, record, signal), Applied)
    assert engine.call(engine.get(record.id)).state is state
    assert witness.saw == ["enqueued", "claimed", "released" if state is State.QUEUED else state.value]


def test_an_outcome_is_recorded_once(engine):
    """A run that was settled otherwise, or whose claim is gone, has lost its lease."""
    record = claimed(engine)
    told(engine, record, Released())

    assert isinstance(told(engine, record, Completed(result=b"1")), LeaseLost)
    assert engine.call(engine.get(record.id)).state is State.QUEUED


def test_an_outcome_is_decided_again_if_somebody_cancelled(engine):
    """The request came after the job was claimed; the failure ends it cancelled."""
    record = claimed(engine)
    engine.call(engine.ask(record.id, CancelAsked(reason="not wanted")))

    assert isinstance(told(engine, record, Failed(failure=a_failure())), Applied)
    assert engine.call(engine.get(record.id)).state is State.CANCELLED


def test_reports_are_answered_in_their_order(engine):
    """Though one of them had to be decided again."""
    records = []
    for key in "ab":
        engine.call(engine.insert([an_item(id=f"mail:{key}")]))
        records += engine.call(engine.claim(["mail"], 1, "worker-1", LEASE)).records
    engine.call(engine.ask("mail:a", CancelAsked()))
    told(engine, records[1], Released())
    signals = (Failed(failure=a_failure()), Completed(result=b"1"))
    reports = [Report(record, signal, Policy()) for record, signal in zip(records, signals, strict=True)]
    answers = engine.call(engine.report(reports))

    assert [type(answer) for answer in answers] == [Applied, LeaseLost]


def test_what_was_asked_for_is_known_again_after_a_lost_reply(engine, backend, witness):
    """Cancelling a cancelled job would be illegal; this one was cancelled by this very call. Plugins hear of it."""
    engine.call(engine.insert([an_item()]))
    backend.lost_replies = 1
    record = engine.call(engine.ask("mail:1", CancelAsked()))

    assert record.state is State.CANCELLED
    assert witness.saw == ["enqueued", "cancelled"]


def test_a_deletion_whose_reply_was_lost_has_happened(engine, backend):
    """What is gone is gone."""
    engine.call(engine.insert([an_item()]))
    backend.lost_replies = 1

    assert engine.call(engine.ask("mail:1", Deleted())) is None
    with pytest.raises(JobNotFound):
        engine.call(engine.ask("mail:1", Deleted()))


def test_what_is_asked_of_a_job_does_not_reach_the_next_of_its_id(engine, clock):
    """It was read before the other was made."""
    engine.call(engine.insert([an_item()]))
    first = engine.call(engine.get("mail:1"))
    engine.call(engine.ask("mail:1", Deleted()))
    clock.advance(1)
    engine.call(engine.insert([an_item()]))

    with pytest.raises(JobNotFound):
        engine.call(engine.ask("mail:1", CancelAsked(), created_at=first.created_at))
    assert engine.call(engine.get("mail:1")).state is State.QUEUED


def test_it_gives_up_when_its_patience_is_over():
    """Nothing was changed, and the caller may try again."""
    engine = Engine(Crowded(), Plugins(), pauses=AT_ONCE, patience=timedelta(milliseconds=20))
    engine.call(engine.insert([an_item()]))

    with pytest.raises(Contended, match="^gave up after \\d+ conflicting updates to job mail:1; try again$"):
        engine.call(engine.ask("mail:1", CancelAsked()))


def test_an_outcome_that_others_keep_from_being_recorded_is_not_given_up():
    """It is no lost lease: the worker says it again."""
    engine = Engine(Crowded(), Plugins(), pauses=AT_ONCE, patience=timedelta(milliseconds=20))
    engine.call(engine.insert([an_item()]))
    record = claimed(engine)

    assert isinstance(told(engine, record, Failed(failure=a_failure())), Contended)


def test_a_sweep_moves_all_that_is_due(engine, clock, witness):
    """In batches; and the hooks hear of each."""
    engine.call(engine.insert(an_item(id=f"mail:{number}") for number in range(250)))
    for _ in range(3):
        engine.call(engine.claim(["mail"], 100, "worker-1", LEASE))
    early = engine.call(engine.sweep(["mail"]))
    clock.advance(LEASE)

    assert (early, engine.call(engine.sweep(["mail"])), engine.call(engine.sweep(["mail"]))) == (0, 250, 0)
    assert witness.saw.count("lost") == 250


def test_a_sweep_whose_reply_was_lost_has_moved_its_jobs(engine, backend, clock, witness):
    """The repetition is refused, the jobs' histories say by which call they were moved, and the hooks hear of it."""
    claimed(engine)
    clock.advance(LEASE)
    backend.lost_replies = 1

    assert engine.call(engine.sweep(["mail"])) == 1
    assert witness.saw == ["enqueued", "claimed", "lost"]


@pytest.mark.parametrize("policy", [b"{", b"\xff", b'{"retries":-1}', b"[]"])
def test_a_policy_that_cannot_be_read_stops_no_sweep(engine, clock, policy):
    """Its job ends, and those beside it are queued again."""
    items = [an_item(id="mail:1"), an_item(id="mail:2", policy=policy), an_item(id="mail:3")]
    engine.call(engine.insert(items))
    engine.call(engine.claim(["mail"], 3, "worker-1", LEASE))
    clock.advance(LEASE)

    assert engine.call(engine.sweep(["mail"])) == 3
    states = [engine.call(engine.get(f"mail:{number}")).state for number in (1, 2, 3)]
    assert states == [State.QUEUED, State.FAILED, State.QUEUED]


def test_a_lost_job_is_queued_again_and_told_of(engine, clock, witness):
    """Its lease lapsed, and a sweep found it."""
    record = claimed(engine)
    clock.advance(LEASE)

    assert engine.call(engine.sweep(["mail"])) == 1
    assert engine.call(engine.get(record.id)).state is State.QUEUED
    assert witness.saw == ["enqueued", "claimed", "lost"]


# How much one call carries.


class Counting(MemoryBackend):
    """A memory backend that writes down how many jobs each claim asked for."""

    def __init__(self):
        super().__init__()
        self.limits_asked = []

    def claim(self, request):
        self.limits_asked.append(request.limit)
        return super().claim(request)


def test_a_claim_asks_for_a_batch_at_most():
    """However many slots a worker has; and never for less than nothing."""
    backend = Counting()
    engine = Engine(backend, Plugins())
    for limit in (backend.limits.batch + 1, 7, -1):
        engine.call(engine.claim(["mail"], limit, "worker-1", LEASE))

    assert backend.limits_asked == [backend.limits.batch, 7, 0]


class Measuring(MemoryBackend):
    """A memory backend that writes down how many bytes each call brought."""

    def __init__(self):
        super().__init__()
        self.brought = []

    def insert(self, request):
        self.brought.append([len(item.args) for item in request.items])
        return super().insert(request)

    def apply(self, request):
        self.brought.append([len(change.move.notes.get("result") or b"") for change in request.changes])
        return super().apply(request)


@pytest.mark.parametrize(
    ("shares", "calls"),
    [((3, 3, 3, 3), [3, 1]), ((1, 1), [1, 1]), ((0.5, 3, 3), [1, 2]), ((0.5, 0.5), [1, 1]), ((), [])],
)
def test_a_call_carries_a_bounded_number_of_bytes(shares, calls):
    """Further items go with the next call; a single one has as many as it has."""
    backend = Measuring()
    room = backend.limits.bytes
    made = [an_item(id=f"mail:{n}", args=b"x" * int(room / share)) for n, share in enumerate(shares)]
    answers = Engine(backend, Plugins([])).call(Engine(backend, Plugins([])).insert(made))

    assert [len(sizes) for sizes in backend.brought] == calls
    assert all(sum(sizes) <= room or len(sizes) == 1 for sizes in backend.brought)
    assert [answer.created for answer in answers] == [True] * len(made)


def test_a_report_is_split_by_its_bytes():
    """Results may be as large as arguments."""
    backend = Measuring()
    engine = Engine(backend, Plugins([]))
    engine.call(engine.insert([an_item(id=f"mail:{n}") for n in range(4)]))
    records = engine.call(engine.claim(["mail"], 4, "worker-1", LEASE)).records
    large = Completed(result=b"x" * (backend.limits.bytes // 3))
    backend.brought.clear()
    answers = engine.call(engine.report([Report(record, large, Policy()) for record in records]))

    assert [len(sizes) for sizes in backend.brought] == [3, 1]
    assert {type(answer) for answer in answers} == {Applied}


def test_a_sweep_goes_on_while_there_is_more(engine, backend, clock):
    """However few jobs fit into one answer."""
    large = b"x" * (backend.limits.bytes // 2)
    engine.call(
        engine.insert(an_item(id=f"mail:{n}", state=State.SCHEDULED, due=LEASE, args=large) for n in range(7))
    )
    clock.advance(hours=1)

    assert engine.call(engine.sweep(["mail"])) == 7


@pytest.mark.parametrize("missing", ["claim", "worker", "due"])
def test_a_job_that_is_inserted_running_is_held(backend, missing):
    """By a claim of a worker with a lease; else nothing is sent."""
    engine = Engine(backend, Plugins())
    held = {"claim": "claim", "worker": "worker", "due": LEASE}
    item = an_item(state=State.RUNNING, **{name: value for name, value in held.items() if name != missing})

    with pytest.raises(InvalidArgument, match="^cannot insert job mail:1 running: it needs a claim"):
        engine.call(engine.insert([item]))
    assert engine.call(engine.queues()) == {}
    (answer,) = engine.call(engine.insert([an_item(state=State.RUNNING, **held)]))
    assert answer.created


class Unfiltering(MemoryBackend):
    """A memory backend of before listings had filters."""

    def list(self, request):
        return super().list(List(queue=request.queue, state=request.state))


@pytest.mark.parametrize("filters", [{"tag": "b"}, {"where": Where(task="greet"), "tag": "b"}])
def test_a_listing_is_right_although_a_backend_does_not_know_its_filters(clock, filters):
    """They are applied again."""
    engine = Engine(Unfiltering(clock=clock), Plugins())
    engine.call(engine.insert([an_item(id=f"mail:{tag}", task="greet", tags=(tag,)) for tag in "abc"]))

    page = engine.call(engine.page(List(queue="mail", state=State.QUEUED, **filters)))

    assert [head.id for head in page.heads] == ["mail:b"]
