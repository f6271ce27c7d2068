"""When a worker's claims are asked for again, from when their leases count, and how long an idle worker waits."""

import asyncio
from datetime import timedelta

import pytest

from stanchion.contract.answers import Claimed
from stanchion.errors import Unavailable
from stanchion.model.changes import REPEATED
from stanchion.worker import claiming
from stanchion.worker.claiming import POLL, ClaimLoop, Claims, share
from stanchion.worker.slots import Slots
from stanchion_memory import MemoryBackend
from support.factories import LEASE, NOW
from support.yielding import YieldingMemory

START = 1000.0


class Engine:
    """Answers claims as a test says, and keeps what was asked for."""

    def __init__(self, *answers):
        self._answers = list(answers)
        self.claim_ids, self.waits = [], []

    def claim(self, queues, limit, worker, lease, claim_id):
        self.claim_ids.append(claim_id)

    async def acall(self, asking):
        answer = self._answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def async_backend(self):
        return self

    async def wait(self, request):
        self.waits.append(request.timeout)
        return False


def an_answer(*, ask_again_at=None):
    return Claimed(records=[], now=NOW, ask_again_at=ask_again_at)


def claimed_at(monkeypatch, engine, *seconds, lease=LEASE):
    """Claim at each of these times; from when the leases of each answer count, or the error."""
    claims = Claims(engine, ["mail"], "worker", lease)

    async def story():
        for second in seconds:
            monkeypatch.setattr(claiming, "monotonic", lambda now=START + second: now)
            try:
                yield (await claims.claim(10))[1] - START
            except (Unavailable, asyncio.CancelledError) as error:
                assert claims.is_unanswered
                yield type(error)

    async def told():
        return [one async for one in story()]

    return asyncio.run(told())


@pytest.mark.parametrize("error", [Unavailable("away"), asyncio.CancelledError()], ids=repr)
def test_a_claim_that_was_not_answered_is_asked_for_again(monkeypatch, error):
    """With its id, and its leases count from when it was asked for first: the backend may have made it then."""
    engine = Engine(error, error, an_answer(), an_answer())
    counted = claimed_at(monkeypatch, engine, 0, 3, 7, 9)

    assert counted == [type(error), type(error), 0, 9]
    assert engine.claim_ids[0] == engine.claim_ids[1] == engine.claim_ids[2] != engine.claim_ids[3]


@pytest.mark.parametrize("lease", [timedelta(seconds=30), timedelta(hours=1)], ids=str)
def test_a_claim_is_asked_for_again_only_while_its_answer_is_kept(monkeypatch, lease):
    """A later one is new: the same id would be a claim of its own to the backend, and its leases over to the worker."""
    kept = min(lease, REPEATED).total_seconds()
    engine = Engine(Unavailable("away"), Unavailable("away"), an_answer())
    counted = claimed_at(monkeypatch, engine, 0, kept, kept + 1, lease=lease)

    assert counted == [Unavailable, Unavailable, kept + 1]
    assert engine.claim_ids[0] == engine.claim_ids[1] != engine.claim_ids[2]


@pytest.mark.parametrize(
    ("due_in", "waited"),
    [
        (None, POLL),
        (timedelta(seconds=2), timedelta(seconds=2)),
        (timedelta(hours=1), POLL),
        (timedelta(seconds=-1), timedelta(0)),
    ],
    ids=str,
)
def test_an_idle_worker_waits_until_the_next_job_is_due(due_in, waited):
    """Or until it looks for jobs in any case."""
    engine = Engine()

    async def story():
        claims = Claims(engine, ["mail"], "worker", LEASE)
        answer = an_answer(ask_again_at=None if due_in is None else NOW + due_in)
        await claims.idle(answer, asyncio.create_task(asyncio.Event().wait()))

    asyncio.run(story())

    assert engine.waits == [waited]


def claimed_with(*answers, slots, share=10, is_kept=lambda: True, burst=True):
    """How many jobs a loop asks for each time, until it ends."""
    asked, answers = [], list(answers)

    async def claim(limit):
        asked.append(limit)
        return answers.pop(0)

    async def story():
        slots.begin()
        claims = Claims(Engine(), ["mail"], "worker", LEASE)
        await asyncio.wait_for(ClaimLoop(claims, slots, claim, share=share, burst=burst).run(is_kept), 10)

    asyncio.run(story())
    return asked


def test_a_burst_claims_until_nothing_is_left():
    """As many as there are free slots, and no more than its share."""
    more, none = an_answer(ask_again_at=NOW), an_answer()

    assert claimed_with(more, none, slots=Slots(4)) == [4, 4]
    assert claimed_with(more, none, slots=Slots(4), share=3) == [3, 3]


def test_nothing_is_claimed_with_closed_slots_or_without_a_guard():
    """The worker is stopping, or nobody would stop handlers in time."""
    slots = Slots(4)
    slots.close()

    assert claimed_with(slots=slots) == []
    assert claimed_with(slots=Slots(4), is_kept=lambda: False) == []


@pytest.mark.parametrize(("slots", "claimed"), [(1, 1), (10, 10), (15, 10), (40, 20)])
def test_a_claim_asks_for_half_of_many_slots(slots, claimed):
    """While those jobs run, a store looks for the other half; one whose verbs run on the loop does not."""
    assert share(slots, YieldingMemory()) == claimed
    assert share(slots, MemoryBackend()) == slots
