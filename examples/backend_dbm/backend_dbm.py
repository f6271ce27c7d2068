"""A backend in one file: records in memory, each written to a `dbm` file of the standard library as it changes.

The store belongs to one process at a time, which a lock ensures; any thread of that process may use the
backend. It is made to be read: every verb looks through all records, which is slow, and a `dbm` file may not survive
a SIGKILL.
"""

import dbm.dumb  # not `dbm.open`: what it finds to open may refuse other threads
import fcntl
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec

from stanchion.contract import answers, requests
from stanchion.contract.answers import Claimed, Counts, Finding, Inserted
from stanchion.contract.backend import Clock, Limits
from stanchion.contract.paging import page_of
from stanchion.errors import BackendError, ConfigError
from stanchion.model import effects
from stanchion.model.accounts import Account
from stanchion.model.changes import Applied, Change, Refused, remembered
from stanchion.model.ids import split_id
from stanchion.model.ledger import Books
from stanchion.model.ordering import behind, is_due, place_of
from stanchion.model.queues import QueueSettings, patched
from stanchion.model.records import Item, Record, head_of
from stanchion.model.states import SWEPT, WAITING, Event, State

LIMITS = Limits(batch=25, local=True)


def open(url: str, *, namespace: str, clock: Clock | None = None) -> "DbmBackend":
    """Open `dbm:///var/lib/jobs`, the entry point: each namespace has a store of its own in that directory."""
    directory = url.removeprefix("dbm://")
    if not directory.startswith("/"):
        raise ConfigError(f"a dbm backend's URL is dbm:///path/to/directory, not {url!r}")
    return DbmBackend(Path(directory, namespace), clock=clock)


class Queue(msgspec.Struct):
    """What is kept of a queue besides its jobs."""

    settings: QueueSettings = QueueSettings()
    account: Account = msgspec.field(default_factory=Account)


class DbmBackend:
    """The verbs of `stanchion.contract.backend.Backend`, whose docstrings say what each does."""

    limits = LIMITS

    def __init__(self, path: Path, *, clock: Clock | None = None) -> None:
        self._path, self._clock = path, clock
        self._changed = threading.Condition()
        self._files = ExitStack()
        self._file: dbm.dumb._Database | None = None
        self._records: dict[str, Record] = {}
        self._queues: dict[str, Queue] = {}
        self._unreadable: list[str] = []
        self._claims: dict[str, datetime] = {}  # the claims that were answered, and until when that is known
        self._woken: set[str] = set()
        self._closed = False

    def insert(self, request: requests.Insert) -> Sequence[Inserted]:
        with self._store() as now:
            return [self._insert(item, now) for item in request.items]

    def _insert(self, item: Item, now: datetime) -> Inserted:
        queue, _ = split_id(item.id)
        there = self._records.get(item.id) or self._records.get(self._holder(queue, item.unique) or "")
        if there is not None:
            return Inserted(False, head_of(there), now)
        record = effects.create_record(item, now=now, tail=partial(self._tail, queue))
        self._move(None, Event.ENQUEUE, record, now)
        return Inserted(True, None, now)

    def get(self, request: requests.Get) -> Sequence[Record | None]:
        with self._store():
            return [self._records.get(job_id) for job_id in request.ids]

    def list(self, request: requests.List) -> answers.Page:
        with self._store():
            found = self._in(request.state, request.queue)
            return page_of(behind(found, request.cursor, newest=request.newest), request, LIMITS)

    def count(self, request: requests.Count) -> Mapping[str, Counts]:
        with self._store():
            return {queue: self._counts(queue, request.tag) for queue in request.queues}

    def ledger(self, request: requests.ReadLedger) -> Books:
        with self._store() as now:
            return self._queue(request.queue).account.read(request.since, now)

    def apply(self, request: requests.Apply) -> Sequence[Applied | Refused]:
        with self._store() as now:
            return [self._apply(change, now) for change in request.changes]

    def _apply(self, change: Change, now: datetime) -> Applied | Refused:
        queue, _ = split_id(change.job_id)
        found = self._records.get(change.job_id)
        why = effects.first_refusal(found, change, now=now, holder=partial(self._holder, queue))
        if found is None or why is not None:
            return effects.refuse(why, found)
        after = effects.apply_change(found, change, now=now, tail=partial(self._tail, queue))
        self._move(found, change.event, after, now)
        return Applied(now, found.revision + 1 if after is None else after.revision)

    def claim(self, request: requests.Claim) -> Claimed:
        with self._store() as now:
            serving = [queue for queue in request.queues if not self._queue(queue).settings.paused]
            self._claims = {claim: ends for claim, ends in self._claims.items() if ends > now}
            if request.claim_id not in self._claims:  # otherwise the answer was lost, and is given again
                self._take(serving, request, now)
            left = [queue for queue in serving if self._in(State.QUEUED, queue)]
            self._woken.difference_update(request.queues)
            self._wake(*left)
            waiting = [one.due_at for state in WAITING for one in self._in(state, *serving) if one.due_at]
            held = [one for queue in request.queues for one in self._held(queue, request.claim_id)]
            return Claimed(records=held, now=now, ask_again_at=now if left else min(waiting, default=None))

    def _take(self, queues: Sequence[str], request: requests.Claim, now: datetime) -> None:
        for queue in queues:
            due = [one for state in WAITING for one in self._in(state, queue) if is_due(one, now)]
            for one in sorted(due, key=place_of)[: LIMITS.batch]:
                queued = effects.promote_record(one, now=now, tail=partial(self._tail, queue))
                self._move(one, Event.PROMOTE, queued, now)
        ends, claim = effects.whole(now + request.lease), request.claim_id
        found = [one for queue in queues for one in self._in(State.QUEUED, queue)]
        for one in answers.Room(LIMITS.bytes).first_of(found[: request.limit]):
            running = effects.claim_record(one, now=now, ends=ends, claim=claim, worker=request.worker)
            self._move(one, Event.CLAIM, running, now)
            self._claims[claim] = now + remembered(request.lease)

    def _held(self, queue: str, claim_id: str) -> Sequence[Record]:
        held = [one for one in self._in(State.RUNNING, queue) if one.claim == claim_id]
        return sorted(held, key=lambda one: (-one.priority, one.place))

    def due(self, request: requests.FindDue) -> answers.Due:
        with self._store() as now:
            found = [one for state in SWEPT for one in self._in(state, *request.queues) if is_due(one, now)]
            heads = [head_of(one) for one in found[: request.limit]]
            return answers.Due(now=now, heads=heads, more=len(found) > request.limit)

    def queues(self) -> Mapping[str, QueueSettings]:
        with self._store():
            return {name: queue.settings for name, queue in sorted(self._queues.items())}

    def configure(self, request: requests.Configure) -> answers.Configured:
        with self._store():
            queue = self._queue(request.queue)
            before, queue.settings = queue.settings, patched(queue.settings, request.set, request.unset)
            self._keep(request.queue, queue)
            return answers.Configured(before=before, after=queue.settings)

    def forget(self, request: requests.Forget) -> bool:
        with self._store():
            empty = not any(self._counts(request.queue).values())
            if empty and self._queues.pop(request.queue, None) is not None:
                del self._file[request.queue]
            return empty

    def wait(self, request: requests.Wait) -> bool:
        queues = set(request.queues)
        with self._changed, ExitStack() as stack:
            if self._clock is not None:  # tests move the time
                stack.callback(self._clock.subscribe(partial(self._wake, *queues)))
            self._changed.wait_for(
                lambda: self._closed or self._woken & queues, request.timeout.total_seconds()
            )
            woken = self._woken & queues
            self._woken -= woken
            return bool(woken) and not self._closed

    def now(self) -> datetime:
        return effects.whole(self._clock.now() if self._clock else datetime.now(UTC))

    def check(self, request: requests.Check) -> answers.CheckPage:
        with self._store():
            queue, totals = request.queue, self._queue(request.queue).account.ledger.totals
            where = [key for key in self._unreadable if key.partition(":")[0] == queue]
            findings = [
                Finding(fault=answers.Fault.UNREADABLE, where=one, detail="it is no record") for one in where
            ]
            findings += answers.unbalanced(queue, totals, self._counts(queue))
            return answers.CheckPage(findings=findings, cursor=None)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._files.close()
            self._changed.notify_all()

    @contextmanager
    def _store(self) -> Iterator[datetime]:
        """Open the store for one verb at a time, give it the time, and write the store out at its end."""
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
        for name, queue in self._queues.items():  # what cannot be read is gone from the state where it was
            queue.account.quarantine(self._counts(name), self.now())

    def _read(self, key: str, value: bytes) -> None:
        """Read a record under a job's id, or a queue under its name."""
        try:
            if ":" in key:
                self._records[key] = msgspec.msgpack.decode(value, type=Record)
            else:
                self._queues[key] = msgspec.msgpack.decode(value, type=Queue)
        except msgspec.DecodeError:
            self._unreadable.append(key)

    def _move(self, found: Record | None, event: Event, after: Record | None, now: datetime) -> None:
        """Write what an event made of a job, and count it; `None` stands for a job that is created or deleted."""
        job_id = (found or after).id
        queue, _ = split_id(job_id)
        if after is None:
            del self._records[job_id], self._file[job_id]
        else:
            self._records[job_id] = after
            self._file[job_id] = msgspec.msgpack.encode(after)
        kept = self._queue(queue)
        kept.account.enter(found, event, after, now)
        self._keep(queue, kept)

    def _queue(self, name: str) -> Queue:
        return self._queues.get(name) or Queue()

    def _keep(self, name: str, queue: Queue) -> None:
        self._queues[name] = queue
        self._file[name] = msgspec.msgpack.encode(queue)
        self._wake(name)

    def _in(self, state: State, *queues: str) -> Sequence[Record]:
        """Return the jobs of a state, in their order."""
        found = (one for one in self._records.values() if one.state is state and one.queue in queues)
        return sorted(found, key=place_of)

    def _counts(self, queue: str, tag: str | None = None) -> Counts:
        found = {state: self._in(state, queue) for state in State}
        return {state: sum(tag is None or tag in one.tags for one in there) for state, there in found.items()}

    def _holder(self, queue: str, key: str | None) -> str | None:
        """Return the job that holds a unique key; there is no index that could contradict the records."""
        holders = (one.id for one in self._records.values() if one.queue == queue and one.unique == key)
        return None if key is None else next(holders, None)

    def _tail(self, queue: str) -> int:
        return 1 + max((one.place for one in self._records.values() if one.queue == queue), default=0)

    def _wake(self, *queues: str) -> None:
        with self._changed:
            self._woken.update(queues)
            self._changed.notify_all()
