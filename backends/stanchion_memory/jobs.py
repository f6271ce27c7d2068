"""Jobs of the memory backend: created, claimed and changed, behind one lock."""

import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, TypeGuard

from stanchion.contract.answers import (
    Claimed,
    Inserted,
    Room,
)
from stanchion.contract.backend import Clock, Limits
from stanchion.contract.requests import (
    Apply,
    Claim,
    Insert,
)
from stanchion.errors import BackendError
from stanchion.model.changes import Applied, Change, Refused, remembered, topic_of
from stanchion.model.effects import (
    apply_change,
    claim_record,
    create_record,
    first_refusal,
    promote_record,
    refuse,
    whole,
)
from stanchion.model.ids import split_id
from stanchion.model.ordering import place_of
from stanchion.model.records import Item, Record, head_of
from stanchion.model.states import WAITING, Event, State
from stanchion_memory.store import Shelf
from stanchion_memory.watching import Notices

LIMITS: Final = Limits(batch=100, local=True)
"""The batch is the Redis backend's, so that tests on memory split work as production does."""


class Jobs:
    """The verbs that change jobs, over a shelf for each queue."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock = clock
        self._shelves: dict[str, Shelf] = {}
        self._claims: dict[str, tuple[datetime, list[str]]] = {}
        """The answers to claims, for their repetition, and until when they are remembered."""
        self._lock = threading.RLock()
        self._notices = Notices(self._lock)

    def now(self) -> datetime:
        return whole(self._clock.now() if self._clock else datetime.now(UTC))

    def _open(self) -> threading.RLock:
        if self._notices.closed:
            raise BackendError("this backend is closed")
        return self._lock

    def insert(self, request: Insert) -> Sequence[Inserted]:
        with self._open():
            now = self.now()
            return [self._insert(item, now) for item in request.items]

    def _insert(self, item: Item, now: datetime) -> Inserted:
        shelf = self._shelves.setdefault(split_id(item.id)[0], Shelf())
        there = shelf.records.get(item.id) or shelf.records.get(shelf.holders.get(item.unique or "", ""))
        if there is not None:
            return Inserted(False, head_of(there), now)
        record = create_record(item, now=now, tail=shelf.tail)
        shelf.create(record, now)
        self._wake_for(shelf, record)
        return Inserted(True, None, now)

    def claim(self, request: Claim) -> Claimed:
        with self._open():
            now = self.now()
            if self._claims.get(request.claim_id, (now, []))[0] > now:
                held = map(self._find, self._claims[request.claim_id][1])
                return Claimed(
                    records=[one for one in held if is_held(one, request.claim_id)],
                    now=now,
                    ask_again_at=None,
                )
            active = [shelf for name, shelf in self._there(request.queues) if not shelf.settings.paused]
            taken: list[Record] = []
            room = Room(LIMITS.bytes)
            for shelf in active:
                self._promote(shelf, now)
                taken += self._take(shelf, request, room, request.limit - len(taken), now)
            self._remember(request, taken, now)
            self._notices.looked(request.queues)
            return Claimed(records=taken, now=now, ask_again_at=self._next(request.queues, now))

    def _take(self, shelf: Shelf, request: Claim, room: Room, limit: int, now: datetime) -> Sequence[Record]:
        ends = whole(now + request.lease)
        taken = []
        for found in room.first_of(shelf.first(State.QUEUED, limit)):
            record = claim_record(found, now=now, ends=ends, claim=request.claim_id, worker=request.worker)
            shelf.change(found, Event.CLAIM, record, now)
            taken.append(record)
        return taken

    def _next(self, queues: Sequence[str], now: datetime) -> datetime | None:
        """Return when asking these queues again may find something; those with work now wake who waits."""
        active = [(name, shelf) for name, shelf in self._there(queues) if not shelf.settings.paused]
        more = [name for name, shelf in active if shelf.index[State.QUEUED]]
        if more:
            self._notices.wake(*more)
            return now
        return min((at for _, shelf in active if (at := shelf.next_due_at(WAITING))), default=None)

    def _find(self, job_id: str) -> Record | None:
        shelf = self._shelves.get(split_id(job_id)[0])
        return None if shelf is None else shelf.records.get(job_id)

    def _there(self, queues: Sequence[str]) -> list[tuple[str, Shelf]]:
        return [(name, self._shelves[name]) for name in queues if name in self._shelves]

    def _remember(self, request: Claim, taken: Sequence[Record], now: datetime) -> None:
        """Keep the answer to a claim for a while, and forget those that were kept for long enough."""
        while self._claims and next(iter(self._claims.values()))[0] <= now:
            del self._claims[next(iter(self._claims))]
        if taken:
            ends = now + remembered(request.lease)
            self._claims[request.claim_id] = (ends, [record.id for record in taken])

    def _promote(self, shelf: Shelf, now: datetime) -> None:
        due = [record for state in WAITING for record in shelf.due(state, now, LIMITS.batch)]
        for found in sorted(due, key=place_of)[: LIMITS.batch]:
            shelf.change(found, Event.PROMOTE, promote_record(found, now=now, tail=shelf.tail), now)

    def apply(self, request: Apply) -> Sequence[Applied | Refused]:
        with self._open():
            now = self.now()
            return [self._apply(change, now) for change in request.changes]

    def _apply(self, change: Change, now: datetime) -> Applied | Refused:
        shelf = self._shelves.get(split_id(change.job_id)[0]) or Shelf()
        found = shelf.records.get(change.job_id)
        why = first_refusal(found, change, now=now, holder=shelf.holders.get)
        if found is None or why is not None:
            return refuse(why, found)
        after = apply_change(found, change, now=now, tail=shelf.tail)
        shelf.change(found, change.event, after, now)
        if after is not None:
            self._wake_for(shelf, after)
        topic = topic_of(change)
        if topic is not None:
            self._notices.publish(found.id, topic)
        return Applied(now, found.revision + 1 if after is None else after.revision)

    def _wake_for(self, shelf: Shelf, record: Record) -> None:
        earliest = record.state in WAITING and shelf.index[record.state][0][-1] == record.id
        if record.state is State.QUEUED or earliest:
            self._notices.wake(record.queue)


def is_held(record: Record | None, claim_id: str) -> TypeGuard[Record]:
    """Return whether a job is still held by a claim.

    Returns:
        `True` if it runs and names this claim.
    """
    return record is not None and record.claim == claim_id and record.state is State.RUNNING
