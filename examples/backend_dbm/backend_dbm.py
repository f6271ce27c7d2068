"""A backend in one file: records in memory, each written to a `dbm` file of the standard library as it changes.

The store belongs to one process at a time, which a lock sees to; any thread of it may use the backend. It is made
to be read: every verb looks through all records, which is slow, and a `dbm` file may not survive a SIGKILL.
"""

import dbm.dumb  # not `dbm.open`: what it finds to open may refuse other threads
import fcntl
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from stanchion.contract.answers import CheckPage, Claimed, Counts, Due, Fault, Finding, Inserted, Page, Room
from stanchion.contract.backend import Clock, Limits
from stanchion.errors import BackendError, ConfigError
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
)
from stanchion.model.ids import split_id
from stanchion.model.queues import QueueSettings
from stanchion.model.records import Item, Record
from stanchion.model.states import SWEPT, WAITING, State

LIMITS = Limits(batch=25, local=True)
NO_CLOCK = 1 << 53  # behind every clock


def open(url: str, *, namespace: str, clock: Clock | None = None) -> "DbmBackend":
    """The entry point: in `dbm:///var/lib/jobs`, a directory, each namespace has a store of its own."""
    directory = url.removeprefix("dbm://")
    if not directory.startswith("/"):
        raise ConfigError(f"a dbm backend's URL is dbm:///path/to/directory, not {url!r}")
    return DbmBackend(Path(directory, namespace), clock=clock)


class DbmBackend:
    """The verbs of `stanchion.contract.backend.Backend`, whose docstrings say what each does."""

    def __init__(self, path: Path, *, clock: Clock | None = None) -> None:
        self._path, self._clock = path, clock
        self._changed = threading.Condition()
        self._files = ExitStack()
        self._file: dbm.dumb._Database | None = None
        self._records: dict[str, Record] = {}
        self._queues: dict[str, QueueSettings] = {}
        self._unreadable: list[str] = []
        self._claims: dict[str, datetime] = {}  # the claims that were answered, and until when that is known
        self._woken: set[str] = set()
        self._closed = False

    @property
    def limits(self) -> Limits:
        return LIMITS

    def insert(self, items: Sequence[Item]) -> Sequence[Inserted]:
        with self._store() as now:
            return [self._insert(item, now) for item in items]

    def _insert(self, item: Item, now: datetime) -> Inserted:
        queue, _ = split_id(item.id)
        there = self._records.get(item.id) or self._records.get(self._holder(queue, item.unique) or "")
        if there is not None:
            return Inserted(False, there)
        self._put(created(item, now=now, tail=lambda: self._tail(queue)))
        return Inserted(True, None)

    def get(self, ids: Sequence[str]) -> Sequence[Record | None]:
        with self._store():
            return [self._records.get(job_id) for job_id in ids]

    def list(self, queue: str, state: State, cursor: str | None = None) -> Page:
        with self._store():
            behind = None if cursor is None else msgspec.json.decode(cursor, type=tuple[float, float, str])
            found = [one for one in self._in(state, queue) if behind is None or order_of(one) > behind]
            page = list(Room(LIMITS.bytes).first_of(found[: LIMITS.batch]))
            more = len(found) > len(page)
            return Page(
                records=page, cursor=msgspec.json.encode(order_of(page[-1])).decode() if more else None
            )

    def count(self, queues: Sequence[str]) -> Mapping[str, Counts]:
        with self._store():
            return {queue: {state: len(self._in(state, queue)) for state in State} for queue in queues}

    def apply(self, changes: Sequence[Change]) -> Sequence[Applied | Refused]:
        with self._store() as now:
            return [self._apply(change, now) for change in changes]

    def _apply(self, change: Change, now: datetime) -> Applied | Refused:
        queue, _ = split_id(change.job_id)
        found = self._records.get(change.job_id)
        refused = first_refusal(found, change, now=now, holder=lambda key: self._holder(queue, key))
        if found is None or refused is not None:
            return refused
        after = applied(found, change, now=now, tail=lambda: self._tail(queue))
        if after is None:
            self._remove(found)
            return Applied(now, found.revision + 1)
        self._put(after)
        return Applied(now, after.revision)

    def claim(
        self, queues: Sequence[str], *, limit: int, claim_id: str, worker: str, lease: timedelta
    ) -> Claimed:
        with self._store() as now:
            serving = [queue for queue in queues if not self._queues.get(queue, QueueSettings()).paused]
            self._claims = {claim: ends for claim, ends in self._claims.items() if ends > now}
            if claim_id not in self._claims:  # otherwise the answer was lost, and is given again
                self._take(serving, limit, claim_id, worker, now, lease)
            left = [queue for queue in serving if self._in(State.QUEUED, queue)]
            self._woken.difference_update(queues)
            self._wake(*left)
            return Claimed(
                records=[one for queue in queues for one in self._held(queue, claim_id)],
                now=now,
                more=bool(left),
                next_due_at=min(self._clocks(serving), default=None),
            )

    def _take(
        self, queues: Sequence[str], limit: int, claim: str, worker: str, now: datetime, lease: timedelta
    ) -> None:
        ends = whole(now + lease)
        for queue in queues:
            self._promote(queue, now)
        waiting = [one for queue in queues for one in self._in(State.QUEUED, queue)]
        for one in Room(LIMITS.bytes).first_of(waiting[:limit]):
            self._put(claimed(one, now=now, ends=ends, claim=claim, worker=worker))
            self._claims[claim] = now + remembered(lease)

    def _promote(self, queue: str, now: datetime) -> None:
        due = [one for state in WAITING for one in self._in(state, queue) if is_due(one, now)]
        for one in sorted(due, key=order_of)[: LIMITS.batch]:
            self._put(promoted(one, tail=lambda: self._tail(queue)))

    def _held(self, queue: str, claim_id: str) -> Sequence[Record]:
        held = [one for one in self._in(State.RUNNING, queue) if one.claim == claim_id]
        return sorted(held, key=lambda one: (-one.priority, one.place))

    def _clocks(self, queues: Sequence[str]) -> Iterator[datetime]:
        return (one.due_at for state in WAITING for one in self._in(state, *queues) if one.due_at is not None)

    def due(self, queues: Sequence[str], limit: int) -> Due:
        with self._store() as now:
            found = [one for state in SWEPT for one in self._in(state, *queues) if is_due(one, now)]
            fit = list(Room(LIMITS.bytes).first_of(found[:limit]))
            return Due(now=now, records=fit, more=len(found) > len(fit))

    def queues(self) -> Mapping[str, QueueSettings]:
        with self._store():
            return dict(sorted(self._queues.items()))

    def configure(self, queue: str, settings: QueueSettings) -> None:
        with self._store():
            self._set(queue, settings)
            self._wake(queue)

    def forget(self, queue: str) -> bool:
        with self._store():
            empty = not any(self._in(state, queue) for state in State)
            if empty and self._queues.pop(queue, None) is not None:
                del self._file[queue]
            return empty

    def wait(self, queues: Sequence[str], timeout: timedelta) -> bool:
        unsubscribe = self._clock.subscribe(lambda: self._wake(*queues)) if self._clock else lambda: None
        try:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._closed or not self._woken.isdisjoint(queues), timeout.total_seconds()
                )
                woken = not self._woken.isdisjoint(queues)
                self._woken.difference_update(queues)
                return woken and not self._closed
        finally:
            unsubscribe()

    def now(self) -> datetime:
        return whole(self._clock.now() if self._clock else datetime.now(UTC))

    def check(self, queue: str, cursor: str | None = None) -> CheckPage:
        with self._store():
            where = [job_id for job_id in self._unreadable if split_id(job_id)[0] == queue]
            findings = [Finding(fault=Fault.UNREADABLE, where=one, detail="it is no record") for one in where]
            return CheckPage(findings=findings, cursor=None)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._files.close()
            self._changed.notify_all()

    @contextmanager
    def _store(self) -> Iterator[datetime]:
        """One verb at a time, on an open store that is written out at its end; the instant at which it happens."""
        with self._changed:
            if self._closed:
                raise BackendError("this backend is closed")
            if self._file is None:
                self._load()
            yield self.now()
            self._file.sync()

    def _load(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lock = self._files.enter_context(self._path.with_name(f"{self._path.name}.lock").open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BackendError(f"{self._path} is in use by another process") from error
        self._file = self._files.enter_context(dbm.dumb.open(str(self._path), "c"))  # noqa: SIM115 - it is entered
        for key in self._file:
            self._read(key.decode(), self._file[key])

    def _read(self, key: str, value: bytes) -> None:
        """A record under a job's id, the settings under a queue's name, or something that neither can be."""
        try:
            if ":" in key:
                self._records[key] = msgspec.msgpack.decode(value, type=Record)
            else:
                self._queues[key] = msgspec.msgpack.decode(value, type=QueueSettings)
        except msgspec.DecodeError:
            self._unreadable.append(key)

    def _put(self, record: Record) -> None:
        self._records[record.id] = record
        self._file[record.id] = msgspec.msgpack.encode(record)
        if record.queue not in self._queues:
            self._set(record.queue, QueueSettings())
        if record.state is State.QUEUED or record.state in WAITING:
            self._wake(record.queue)

    def _remove(self, record: Record) -> None:
        del self._records[record.id]
        del self._file[record.id]

    def _set(self, queue: str, settings: QueueSettings) -> None:
        self._queues[queue] = settings
        self._file[queue] = msgspec.msgpack.encode(settings)

    def _in(self, state: State, *queues: str) -> Sequence[Record]:
        """The jobs of a state, in their order."""
        found = (one for one in self._records.values() if one.state is state and one.queue in queues)
        return sorted(found, key=order_of)

    def _holder(self, queue: str, key: str | None) -> str | None:
        """The job that holds a unique key; there is no index that could contradict the records."""
        holders = (one.id for one in self._records.values() if one.queue == queue and one.unique == key)
        return None if key is None else next(holders, None)

    def _tail(self, queue: str) -> int:
        return 1 + max((one.place for one in self._records.values() if one.queue == queue), default=0)

    def _wake(self, *queues: str) -> None:
        with self._changed:
            self._woken.update(queues)
            self._changed.notify_all()


def whole(instant: datetime) -> datetime:
    """An instant in whole milliseconds."""
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)


def is_due(record: Record, now: datetime) -> bool:
    """Whether a job's clock has run out."""
    return record.due_at is not None and record.due_at <= now


def order_of(record: Record) -> tuple[float, float, str]:
    """Queued jobs stand by priority and place, others by their clock, and those without one last."""
    if record.state is State.QUEUED:
        return -record.priority, record.place, record.id
    if record.due_at is not None:
        return record.due_at.timestamp(), record.created_at.timestamp(), record.id
    return NO_CLOCK, (record.ended_at or record.created_at).timestamp(), record.id
