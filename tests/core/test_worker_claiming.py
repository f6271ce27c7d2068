"""When a worker's claims are asked for again, from when their leases count, and how long an idle worker waits."""

import asyncio
from datetime import timedelta

import pytest

from stanchion.contract.answers import Claimed
from stanchion.errors import Unavailable
from stanchion.model.changes import REPEATED
from stanchion.worker import claiming
from stanchion.worker.claiming import POLL, Claims, share
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

    async def arun(self, asking):
        answer = self._answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def twin(self):
        return self

    async def wait(self, queues, timeout):
        self.waits.append(timeout)
        return False


def an_answer(*, next_due_at=None):
    return Claimed(records=[], now=NOW, more=False, next_due_at=next_due_at)


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
        answer = an_answer(next_due_at=None if due_in is None else NOW + due_in)
        await claims.idle(answer, asyncio.create_task(asyncio.Event().wait()))

    asyncio.run(story())

    assert engine.waits == [waited]


@pytest.mark.parametrize(("slots", "claimed"), [(1, 1), (10, 10), (15, 10), (40, 20)])
def test_a_claim_asks_for_half_of_many_slots(slots, claimed):
    """While those jobs run, a store looks for the other half; one whose verbs run on the loop does not."""
    assert share(slots, YieldingMemory()) == claimed
    assert share(slots, MemoryBackend()) == slots
