"""The memory backend: the contract over dictionaries, behind one lock."""

import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from stanchion.contract.answers import CheckPage, Claimed, Counts, Due, Fault, Finding, Inserted, Page, Room
from stanchion.contract.backend import Clock, Limits, Topic, topic_of
from stanchion.errors import BackendError
from stanchion.model.changes import (
    Applied,
    Change,
    Refused,
    applied,
    claimed,
    created,
    first_refusal,
    promoted,
    remembered,
    whole,
)
from stanchion.model.ids import split_id
from stanchion.model.queues import QueueSettings
from stanchion.model.records import Item, Record
from stanchion.model.states import SWEPT, WAITING, State
from stanchion_memory.store import Shelf, cursor_of, place_of

LIMITS: Final = Limits(batch=100, local=True)
"""The batch is the Redis backend's, so that tests on memory split work as production does."""


class MemoryBackend:
    """A store of its own, gone with the process; safe to use from any thread."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock = clock
        self._shelves: dict[str, Shelf] = {}
        self._claims: dict[str, tuple[datetime, list[str]]] = {}
        """The answers to claims, for their repetition, and until when they are remembered."""
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._woken: set[str] = set()
        self._watches: set[MemoryWatch] = set()
        self._closed = False

    @property
    def limits(self) -> Limits:
        return LIMITS

    def insert(self, items: Sequence[Item]) -> Sequence[Inserted]:
        with self._open():
            now = self.now()
            return [self._insert(item, now) for item in items]

    def _insert(self, item: Item, now: datetime) -> Inserted:
        queue, _ = split_id(item.id)
        shelf = self._shelves.setdefault(queue, Shelf())
        there = shelf.records.get(item.id) or shelf.records.get(shelf.holders.get(item.unique or "", ""))
        if there is not None:
            return Inserted(False, there)
        record = created(item, now=now, tail=shelf.tail)
        shelf.put(record)
        self._wake_for(record)
        return Inserted(True, None)

    def claim(
        self, queues: Sequence[str], *, limit: int, claim_id: str, worker: str, lease: timedelta
    ) -> Claimed:
        with self._open():
            now = self.now()
            if claim_id in self._claims and self._claims[claim_id][0] > now:
                return Claimed(records=self._held(claim_id), now=now, more=False, next_due_at=None)
            shelves = [self._shelves[queue] for queue in queues if queue in self._shelves]
            ends = whole(now + lease)
            taken: list[Record] = []
            room = self._room()
            active = [shelf for shelf in shelves if not shelf.settings.paused]
            for shelf in active:
                self._promote(shelf, now)
                for record in room.first_of(shelf.first(State.QUEUED, limit - len(taken))):
                    taken.append(claimed(record, now=now, ends=ends, claim=claim_id, worker=worker))
                    shelf.put(taken[-1])
            self._remember(claim_id, now + remembered(lease), taken, now)
            self._woken.difference_update(queues)
            more = [queue for queue in queues if self._has_queued(queue)]
            self._wake(*more)
            clocks = [at for shelf in active if (at := shelf.next_due_at(WAITING))]
            return Claimed(records=taken, now=now, more=bool(more), next_due_at=min(clocks, default=None))

    def _room(self) -> Room:
        """How much an answer may hold."""
        return Room(LIMITS.bytes)

    def _held(self, claim_id: str) -> list[Record]:
        """The jobs of a claim that are still held by it."""
        found = self.get(self._claims[claim_id][1])
        return [record for record in found if record is not None and record.claim == claim_id]

    def _remember(self, claim_id: str, ends: datetime, taken: list[Record], now: datetime) -> None:
        """Keep the answer to a claim for a while, and forget those that were kept long enough."""
        while self._claims and next(iter(self._claims.values()))[0] <= now:
            del self._claims[next(iter(self._claims))]
        if taken:
            self._claims[claim_id] = (ends, [record.id for record in taken])

    def _promote(self, shelf: Shelf, now: datetime) -> None:
        due = [record for state in WAITING for record in shelf.due(state, now, LIMITS.batch)]
        for record in sorted(due, key=place_of)[: LIMITS.batch]:
            shelf.put(promoted(record, tail=shelf.tail))

    def _has_queued(self, queue: str) -> bool:
        shelf = self._shelves.get(queue)
        return shelf is not None and not shelf.settings.paused and bool(shelf.index[State.QUEUED])

    def apply(self, changes: Sequence[Change]) -> Sequence[Applied | Refused]:
        with self._open():
            now = self.now()
            return [self._apply(change, now) for change in changes]

    def _apply(self, change: Change, now: datetime) -> Applied | Refused:
        queue, _ = split_id(change.job_id)
        shelf = self._shelves.get(queue) or Shelf()
        found = shelf.records.get(change.job_id)
        refused = first_refusal(found, change, now=now, holder=shelf.holders.get)
        if refused is not None:
            return refused
        assert found is not None, "a change to an absent job is refused"
        after = applied(found, change, now=now, tail=shelf.tail)
        if after is None:
            shelf.remove(found.id)
        else:
            shelf.put(after)
            self._wake_for(after)
        topic = topic_of(change)
        if topic is not None:
            self._tell(found.id, topic)
        return Applied(now, found.revision + 1 if after is None else after.revision)

    def due(self, queues: Sequence[str], limit: int) -> Due:
        with self._open():
            now = self.now()
            shelves = [self._shelves[queue] for queue in queues if queue in self._shelves]
            found = [one for state in SWEPT for shelf in shelves for one in shelf.due(state, now, limit + 1)]
            fit = list(self._room().first_of(found[:limit]))
            return Due(now=now, records=fit, more=len(found) > len(fit))

    def get(self, ids: Sequence[str]) -> Sequence[Record | None]:
        with self._open():
            shelves = [self._shelves.get(split_id(job_id)[0]) for job_id in ids]
            return [
                shelf.records.get(job_id) if shelf else None
                for job_id, shelf in zip(ids, shelves, strict=True)
            ]

    def list(self, queue: str, state: State, cursor: str | None = None) -> Page:
        with self._open():
            shelf = self._shelves.get(queue) or Shelf()
            found = shelf.after(state, cursor, LIMITS.batch + 1)
            page = list(self._room().first_of(found[: LIMITS.batch]))
            return Page(records=page, cursor=cursor_of(page[-1]) if len(found) > len(page) else None)

    def count(self, queues: Sequence[str]) -> Mapping[str, Counts]:
        with self._open():
            shelves = {queue: self._shelves.get(queue) or Shelf() for queue in queues}
            return {
                queue: {state: len(shelf.index[state]) for state in State} for queue, shelf in shelves.items()
            }

    def wait(self, queues: Sequence[str], timeout: timedelta) -> bool:
        forget = self._clock.subscribe(lambda: self._wake(*queues)) if self._clock else None
        try:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._closed or not self._woken.isdisjoint(queues), timeout.total_seconds()
                )
                woken = self._woken.intersection(queues)
                self._woken -= woken
                return bool(woken) and not self._closed
        finally:
            if forget:
                forget()

    def queues(self) -> Mapping[str, QueueSettings]:
        with self._open():
            return {queue: self._shelves[queue].settings for queue in sorted(self._shelves)}

    def configure(self, queue: str, settings: QueueSettings) -> None:
        with self._open():
            self._shelves.setdefault(queue, Shelf()).settings = settings
            if not settings.paused:
                self._wake(queue)

    def forget(self, queue: str) -> bool:
        with self._open():
            shelf = self._shelves.get(queue)
            if shelf is not None and shelf.records:
                return False
            self._shelves.pop(queue, None)
            return True

    def now(self) -> datetime:
        return whole(self._clock.now() if self._clock else datetime.now(UTC))

    def check(self, queue: str, cursor: str | None = None) -> CheckPage:
        with self._open():
            shelf = self._shelves.get(queue) or Shelf()
            faults = [
                Finding(fault=Fault.MISPLACED, where=where, detail=detail) for where, detail in shelf.faults()
            ]
            return CheckPage(findings=faults, cursor=None)

    def watch(self, queues: Sequence[str], topic: Topic) -> "MemoryWatch":
        """See `stanchion.contract.backend.WatchesJobs`."""
        with self._open():
            watch = MemoryWatch(self, frozenset(queues), topic)
            self._watches.add(watch)
            return watch

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _open(self) -> threading.RLock:
        if self._closed:
            raise BackendError("this backend is closed")
        return self._lock

    def _wake_for(self, record: Record) -> None:
        shelf = self._shelves[record.queue]
        earliest = record.state in WAITING and shelf.index[record.state][0][-1] == record.id
        if record.state is State.QUEUED or earliest:
            self._wake(record.queue)

    def _wake(self, *queues: str) -> None:
        with self._changed:
            self._woken.update(queues)
            self._changed.notify_all()

    def _tell(self, job_id: str, topic: Topic) -> None:
        for watch in self._watches:
            if watch.topic is topic and split_id(job_id)[0] in watch.queues:
                watch.heard.add(job_id)
        self._changed.notify_all()


class MemoryWatch:
    """See `stanchion.contract.backend.Watch`."""

    def __init__(self, backend: MemoryBackend, queues: frozenset[str], topic: Topic) -> None:
        self._backend, self.queues, self.topic = backend, queues, topic
        self.heard: set[str] = set()

    def next(self, timeout: timedelta) -> frozenset[str]:
        changed = self._backend._changed
        with changed:
            changed.wait_for(lambda: self.heard or self._gone, timeout.total_seconds())
            heard, self.heard = frozenset(self.heard), set()
            return heard

    @property
    def _gone(self) -> bool:
        return self._backend._closed or self not in self._backend._watches

    def close(self) -> None:
        with self._backend._changed:
            self._backend._watches.discard(self)
            self._backend._changed.notify_all()
