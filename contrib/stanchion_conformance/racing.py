"""Races: several parties change one job, each deciding on what it has seen."""

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from itertools import permutations
from typing import ClassVar, Final, TypeVar

import pytest

from stanchion.contract.backend import Backend
from stanchion.contract.requests import Apply, FindDue, Get, Insert
from stanchion.errors import IllegalTransition
from stanchion.model.changes import HISTORY, Applied, Change, Refused
from stanchion.model.decisions import decide
from stanchion.model.effects import apply_change, claim_record, first_refusal, refuse
from stanchion.model.history import Failure, history_of
from stanchion.model.policies import Fixed, Policy
from stanchion.model.records import Record
from stanchion.model.signals import Beaten, CancelAsked, Completed, Failed, Lost, Signal, TimedOut
from stanchion.model.states import Event, State
from stanchion_conformance.ground import Ground
from stanchion_conformance.making import LEASE, a_claim, an_item, applied_all, bare, counts_of, inserted
from stanchion_testing.clock import VirtualClock

T = TypeVar("T")

ROUNDS: Final = 100
"""How many jobs the threads race for."""

CROWD: Final = 4
"""How many threads do the same at once."""

PATIENCE: Final = 30.0
"""Seconds after which a thread that does not come to the start is missed."""

_FAILURE: Final = Failure(type="ValueError")
_POLICY: Final = Policy(retries=1, max_lost=1, backoff=Fixed(timedelta(hours=1)))
_RACERS: Final[Mapping[Event, Signal]] = {
    Event.CANCEL: CancelAsked(),
    Event.BEAT: Beaten(lease=LEASE),
    Event.FAIL: Failed(failure=_FAILURE),
    Event.LOSE: Lost(),
    Event.TIME_OUT: TimedOut(failure=_FAILURE),
    Event.COMPLETE: Completed(result=b"1"),
}
_OF_THE_RUN: Final = frozenset({Event.BEAT, Event.FAIL, Event.TIME_OUT, Event.COMPLETE})
_SETTLING: Final = frozenset({Event.FAIL, Event.TIME_OUT, Event.COMPLETE, Event.LOSE})
VERBS: Final = (*_RACERS, Event.CLAIM)
"""Who races: a caller who cancels, the run's beat, three outcomes of the run, a sweep, and another worker."""


class Lane:
    """One job of a race: what the model says of it, and what was accepted."""

    def __init__(self, claimed: Record, order: tuple[Event, ...]) -> None:
        self.claimed = claimed
        self.model = claimed
        self.order = order
        self.accepted: list[tuple[Event, str | None]] = []

    def change(self, verb: Event, *, seen: str) -> Change | None:
        """Decide for the party of this verb, on the job as it has seen it.

        Returns:
            The change; `None` if it sees that it is too late.
        """
        mine = verb not in _OF_THE_RUN or self._is_held()
        job = self.model if seen == "just before" and mine else self.claimed
        try:
            return decide(job, _RACERS[verb], roll=0, policy=_POLICY, by="a caller")
        except IllegalTransition:
            return None

    def _is_held(self) -> bool:
        return self.model.state is State.RUNNING and self.model.claim == self.claimed.claim

    def expect(self, change: Change, now: datetime) -> Applied | Refused:
        """Make a change in the model.

        Returns:
            What the model answers.
        """
        found = self.model
        why = first_refusal(found, change, now=now, holder=lambda _: None)
        if why is not None:
            return refuse(why, found)
        after = apply_change(found, change, now=now, tail=lambda: 0)
        assert after is not None, "nobody deletes in this race"
        self.model = after
        self.accepted.append((change.event, found.claim if change.event in _SETTLING else None))
        return Applied(now, after.revision)

    def claim(self, record: Record, now: datetime) -> None:
        """Another worker got the job: in the model, too."""
        assert self.model.state is State.QUEUED, f"{self.order}: it was handed out while {self.model.state}"
        assert record.claim is not None
        assert record.worker is not None
        ends, claim = now + LEASE, record.claim
        self.model = claim_record(self.model, now=now, ends=ends, claim=claim, worker=record.worker)
        self.accepted.append((Event.CLAIM, record.claim))


class Racing(Ground):
    """No request is lost, no live lease is stolen, no run's outcome is accepted twice."""

    RACERS: ClassVar[int] = len(VERBS)
    """How many of the verbs race at a time. A backend that is slow to test may take fewer than all."""

    @pytest.mark.parametrize("lease", ["alive", "lapsed"])
    @pytest.mark.parametrize("seen", ["at the start", "just before"])
    def test_every_order_of_events_ends_as_the_model_says(
        self, backend: Backend, clock: VirtualClock, seen: str, lease: str
    ) -> None:
        """Try all orders of the verbs, each decided on what was seen at the start, or just before."""
        lanes = _at_the_start(backend, self.RACERS)
        clock.advance(LEASE if lease == "lapsed" else timedelta(seconds=1))
        for step in range(self.RACERS):
            _play_changes(backend, lanes, step, seen, clock.now())
            _play_claims(backend, lanes, step, clock.now())

        for lane, record in zip(lanes, _read(backend, lanes), strict=True):
            assert record is not None
            assert record == lane.model, lane.order
            _judge(lane.accepted, record)
            assert lease == "lapsed" or Event.LOSE not in [event for event, _ in lane.accepted], lane.order

    def test_threads_that_race_for_a_job_are_answered_with_the_truth(
        self, backend: Backend, clock: VirtualClock
    ) -> None:
        """Make all verbs race, round after round: what was accepted must be what the job shows."""
        inserted(backend, *(an_item(f"{n:04}") for n in range(ROUNDS)))
        jobs = [a_claim(backend, limit=1).records[0] for _ in range(ROUNDS)]
        clock.advance(LEASE)
        start = threading.Barrier(len(VERBS))

        def race(verb: Event) -> list[tuple[Event, str | None, str]]:
            return [one for job in jobs for one in _sprint(backend, verb, job, start)]

        with ThreadPoolExecutor(len(VERBS)) as threads:
            accepted = [one for answered in threads.map(race, VERBS) for one in answered]

        for job in jobs:
            (record,) = backend.get(Get([job.id]))
            assert record is not None
            _judge(
                [(event, claim) for event, claim, job_id in accepted if job_id == job.id],
                record,
                ordered=False,
            )


class Crowding(Ground):
    """Many threads do the same at once, and it is done once."""

    def test_no_job_is_handed_to_two_of_many_claims(self, backend: Backend) -> None:
        """Together they get every job."""
        inserted(backend, *(an_item(f"{n:04}") for n in range(2 * ROUNDS)))

        def work(number: int) -> list[str]:
            found: list[str] = []
            while len(found) <= 2 * ROUNDS and (
                records := a_claim(backend, limit=7, worker=f"w{number}").records
            ):
                found += [job.id for job in records]
            return found

        handed = [job_id for found in _crowd(work) for job_id in found]
        assert len(handed) == len(set(handed)) == 2 * ROUNDS

    @pytest.mark.parametrize("same", ["id", "unique key"])
    def test_of_many_inserts_of_one_job_one_creates_it(self, backend: Backend, same: str) -> None:
        """Answer the others with it."""

        def work(number: int) -> list[bool]:
            return [
                backend.insert(
                    Insert(
                        [
                            an_item(f"{n}-{number}", unique=f"digest-{n}", scope="end")
                            if same == "unique key"
                            else an_item(f"{n}")
                        ]
                    )
                )[0].created
                for n in range(ROUNDS // 2)
            ]

        created = list(zip(*_crowd(work), strict=True))
        assert [answers.count(True) for answers in created] == [1] * (ROUNDS // 2)

    def test_of_many_sweeps_of_one_job_one_moves_it(self, backend: Backend, clock: VirtualClock) -> None:
        """Lose it once for each lease that lapsed."""
        inserted(backend, *(an_item(f"{n:04}") for n in range(ROUNDS)))
        a_claim(backend, limit=ROUNDS)
        clock.advance(LEASE)

        def work(_: int) -> int:
            due = backend.due(FindDue(["mail"], ROUNDS)).heads
            answers = backend.apply(Apply([decide(job, Lost(), roll=0, policy=_POLICY) for job in due]))
            return sum(isinstance(answer, Applied) for answer in answers)

        assert sum(_crowd(work)) == ROUNDS
        assert counts_of(backend)[State.QUEUED] == ROUNDS


def _crowd(work: Callable[[int], T]) -> list[T]:
    """What each of several threads found that began at once."""
    start = threading.Barrier(CROWD)

    def one(number: int) -> T:
        start.wait(PATIENCE)
        return work(number)

    with ThreadPoolExecutor(CROWD) as threads:
        return list(threads.map(one, range(CROWD)))


def _at_the_start(backend: Backend, racers: int) -> list[Lane]:
    """One running job for each order; those of which another worker claims in the same step share a queue."""
    lanes: list[Lane] = []
    orders: dict[str, tuple[Event, ...]] = {}
    for n, order in enumerate(permutations(VERBS, racers)):
        step = order.index(Event.CLAIM) if Event.CLAIM in order else racers
        orders[f"race{step}:{n:05}"] = order
    inserted(
        backend, *(an_item(job_id.partition(":")[2], queue=job_id.partition(":")[0]) for job_id in orders)
    )
    queues = [f"race{step}" for step in range(racers + 1)]
    while len(lanes) < len(orders) and (records := a_claim(backend, *queues).records):
        lanes += [Lane(record, orders[record.id]) for record in records]
    assert len(lanes) == len(orders)
    return lanes


def _play_changes(backend: Backend, lanes: Iterable[Lane], step: int, seen: str, now: datetime) -> None:
    moving = [
        (lane, lane.change(lane.order[step], seen=seen)) for lane in lanes if lane.order[step] in _RACERS
    ]
    sent = [(lane, change) for lane, change in moving if change is not None]
    answers = applied_all(backend, (change for _, change in sent))
    for (lane, change), answer in zip(sent, answers, strict=True):
        assert answer == lane.expect(change, now), (lane.order, step)


def _play_claims(backend: Backend, lanes: Iterable[Lane], step: int, now: datetime) -> None:
    claiming = {lane.claimed.id: lane for lane in lanes if lane.order[step] is Event.CLAIM}
    while records := a_claim(backend, f"race{step}").records:
        for record in records:
            claiming[record.id].claim(record, now)
            assert bare(record) == bare(claiming[record.id].model)
    assert not [lane.order for lane in claiming.values() if lane.model.state is State.QUEUED]


def _read(backend: Backend, lanes: list[Lane]) -> list[Record | None]:
    size = backend.limits.batch
    ids = [lane.claimed.id for lane in lanes]
    return [record for at in range(0, len(ids), size) for record in backend.get(Get(ids[at : at + size]))]


def _sprint(
    backend: Backend, verb: Event, job: Record, start: threading.Barrier
) -> Iterable[tuple[Event, str | None, str]]:
    """Return what was accepted of one thread in one round."""
    act: Callable[[], Iterable[Record]]
    if verb is Event.CLAIM:
        act = lambda: a_claim(backend, limit=1).records  # noqa: E731 - one of two short acts
    else:
        change = decide(job, _RACERS[verb], roll=0, policy=_POLICY, by="a caller")
        act = lambda: [job] if isinstance(backend.apply(Apply([change]))[0], Applied) else []  # noqa: E731
    start.wait(PATIENCE)
    return [(verb, one.claim if verb in _SETTLING or verb is Event.CLAIM else None, one.id) for one in act()]


def _judge(accepted: list[tuple[Event, str | None]], job: Record, *, ordered: bool = True) -> None:
    """What was accepted cannot contradict itself, nor what the job says."""
    events = [event for event, _ in accepted]
    settled = [claim for event, claim in accepted if event in _SETTLING]
    history = [one.event for _, one in history_of(job, job.lists.get(HISTORY, ()))]
    noted = [event for event in events if event not in (Event.BEAT, Event.CLAIM)]

    assert len(settled) == len(set(settled)), f"a run ended twice: {events}"
    assert (history == noted) if ordered else (sorted(history) == sorted(noted))
    assert events.count(Event.CLAIM) == job.run - 1
    if Event.CANCEL in events:
        assert job.state in (State.CANCELLED, State.COMPLETED) or (
            job.state is State.RUNNING and job.cancel is not None
        ), f"a request was lost: {events}"
