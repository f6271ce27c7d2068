"""What a transaction does with queues and jobs. Whoever began it commits it, after `finish`."""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial
from itertools import takewhile
from typing import Final

import msgspec

from stanchion.contract.answers import Inserted, Room
from stanchion.contract.backend import Topic, topic_of
from stanchion.model.changes import Applied, Change, Refused, applied, created, first_refusal, promoted
from stanchion.model.ids import split_id
from stanchion.model.queues import QueueSettings
from stanchion.model.records import Item, Record
from stanchion.model.states import WAITING, State
from stanchion_sqlite.database import statement
from stanchion_sqlite.news import KEPT
from stanchion_sqlite.rows import (
    Found,
    Row,
    as_json,
    found_among,
    from_ms,
    kept_row,
    new_row,
    settings_of,
    to_ms,
)

_CREATED: Final = Inserted(True, None)


class QueueRow(msgspec.Struct):
    """A queue, as a transaction knows it."""

    id: int
    name: str
    settings: QueueSettings
    places: int
    """The last place that was given."""
    wakes: int
    """How often there came something to claim."""
    changed: bool = False
    first_due: datetime | None = None
    """The earliest clock of the jobs that came to wait for a time in this transaction."""

    def tail(self) -> int:
        """The next place."""
        self.places, self.changed = self.places + 1, True
        return self.places

    def wake(self) -> None:
        """There may be something to claim."""
        self.wakes, self.changed = self.wakes + 1, True

    def arrived(self, record: Record) -> None:
        """A job came to its state."""
        if record.state is State.QUEUED:
            self.wake()
        elif record.state in WAITING and record.due_at is not None:
            self.first_due = min(record.due_at, self.first_due or record.due_at)


def queue_row(row: Row) -> QueueRow:
    """A queue from its row."""
    number, name, settings, places, wakes = row
    return QueueRow(number, name, settings_of(settings), places, wakes)


def queues_of(cursor: sqlite3.Cursor, namespace: str, names: Iterable[str]) -> dict[str, QueueRow]:
    """Those of the queues of these names that exist, in this order."""
    rows = (cursor.execute(statement("queue"), (namespace, name)).fetchone() for name in names)
    return {row[1]: queue_row(row) for row in rows if row is not None}


class Transaction:
    """A transaction in one namespace.

    Args:
        cursor: A cursor of a connection that is inside of it. There is no other, which an interrupt could leave busy.

        namespace: The namespace.

        now: The instant of all that it does.

        names: The queues it is about.
    """

    def __init__(self, cursor: sqlite3.Cursor, namespace: str, now: datetime, names: Iterable[str]) -> None:
        self._run, self._run_many = cursor.execute, cursor.executemany
        self._namespace, self.now = namespace, now
        self.queues = queues_of(cursor, namespace, names)
        """The queues of these names that exist."""
        self._unwritten: dict[int, Found] = {}
        self._news: defaultdict[tuple[int, Topic], list[str]] = defaultdict(list)

    def queue(self, name: str) -> QueueRow:
        """A queue; it begins to exist if it did not."""
        queue = self.queues.get(name)
        if queue is None:
            settings = QueueSettings()
            row = self._run(statement("new_queue"), (self._namespace, name, as_json(settings))).fetchone()
            queue = self.queues[name] = QueueRow(row[0], name, settings, 0, 0)
        return queue

    def insert(self, item: Item) -> Inserted:
        """Create a job, unless its id or its unique key is taken."""
        name, key = split_id(item.id)
        queue = self.queue(name)
        record = created(item, now=self.now, tail=queue.tail)
        row = new_row(queue.id, key, record)
        while self._run(statement("insert"), row).rowcount != 1:
            there = self._jobs(queue, "holder", queue.id, key, queue.id, item.unique)
            if there:  # else it could not be read, and was put aside
                return Inserted(False, there[0].record)
        queue.arrived(record)
        return _CREATED

    def apply(self, changes: Sequence[Change]) -> list[Applied | Refused]:
        """Make changes, in the order given."""
        keys: defaultdict[str, list[str]] = defaultdict(list)
        for change in changes:
            name, key = split_id(change.job_id)
            keys[name].append(key)
        jobs = {
            job.record.id: job
            for name, queue in self.queues.items()
            for job in self._jobs(queue, "get", as_json(keys[name]), queue.id)
        }
        return [self._apply(change, jobs) for change in changes]

    def _apply(self, change: Change, jobs: dict[str, Found]) -> Applied | Refused:
        name, key = split_id(change.job_id)
        job = jobs.get(change.job_id)
        holder = partial(self._holder, name)
        refused = first_refusal(job.record if job else None, change, now=self.now, holder=holder)
        if refused is not None:
            return refused
        assert job is not None, "a change to an absent job is refused"
        queue = self.queues[name]
        after = applied(job.record, change, now=self.now, tail=queue.tail)
        topic = topic_of(change)
        if topic is not None:
            self._news[queue.id, topic].append(key)
        if after is None:
            self._write()
            self._run(statement("delete"), (job.rowid,))
            del jobs[change.job_id]
            return Applied(self.now, job.record.revision + 1)
        job.record = after
        self._unwritten[job.rowid] = job
        queue.arrived(after)
        return Applied(self.now, after.revision)

    def _holder(self, name: str, unique: str) -> str | None:
        """The id of the job that holds a unique key."""
        self._write()
        row = self._run(statement("unique"), (self.queues[name].id, unique)).fetchone()
        return row and f"{name}:{row[0]}"

    def claimed_before(self, claim: str) -> list[Record] | None:
        """The jobs of a claim that it still holds; none if there was no such claim within its lease."""
        row = self._run(statement("claimed"), (self._namespace, claim, to_ms(self.now))).fetchone()
        if row is None:
            return None
        asked = {queue.id: queue for queue in self.queues.values()}
        rows = self._run(statement("held"), (row[0], claim)).fetchall()
        held = ((asked[row[1]], row) for row in rows if row[1] in asked)
        return [job.record for queue, row in held for job in self._readable(queue, [row])]

    def promote(self, queue: QueueRow, limit: int) -> None:
        """Queue the jobs whose time has come, oldest clock first, up to a limit."""
        first = self.next_due(queue)
        if first is None or first > self.now:
            return
        now = to_ms(self.now)
        due = [job for state in WAITING for job in self._jobs(queue, "due", queue.id, state, now, limit)]
        for job in sorted(due, key=lambda job: (job.place, job.record.id))[:limit]:
            job.record = promoted(job.record, tail=queue.tail)
            self._unwritten[job.rowid] = job
        self._write()

    def how_many(self, queue: QueueRow, limit: int, room: Room) -> int:
        """How many of the first queued jobs there is room for, up to a limit."""
        sizes = self._run(statement("sizes"), (queue.id, limit)).fetchall()
        return sum(1 for _ in takewhile(lambda row: room.fits(row[0]), sizes))

    def take(self, queue: QueueRow, limit: int, *, claim: str, worker: str, ends: datetime) -> list[Found]:
        """Make the first queued jobs running; they are in the order they shall start."""
        times = (to_ms(ends), to_ms(self.now))
        taken = self._jobs(queue, "claim", claim, worker, *times, queue.id, limit)
        return sorted(taken, key=lambda job: (-job.record.priority, job.record.place))

    def remember(self, claim: str, taken: Sequence[Found], ends: datetime) -> None:
        """Keep the answer to a claim until then, and forget those that were kept for long enough."""
        self._run(statement("forget_claims"), (to_ms(self.now),))
        if taken:
            rowids = as_json([job.rowid for job in taken])
            self._run(statement("remember_claim"), (self._namespace, claim, to_ms(ends), rowids))

    def has_queued(self, queue: QueueRow) -> bool:
        """Whether a job is queued."""
        return bool(self._run(statement("has_queued"), (queue.id,)).fetchone()[0])

    def next_due(self, queue: QueueRow) -> datetime | None:
        """The first clock of the jobs that wait for a time."""
        (ms,) = self._run(statement("next_due"), (queue.id, queue.id)).fetchone()
        return None if ms is None else from_ms(ms)

    def put_aside(self, rowids: Iterable[int]) -> None:
        """Keep what cannot be read out of the way of everything else."""
        self._run_many(statement("put_aside"), [(rowid,) for rowid in rowids])

    def finish(self) -> bool:
        """Write what is left to be written; whether somebody may be waiting for it."""
        self._write()
        woken = False
        for queue in self.queues.values():
            if queue.first_due is not None and queue.first_due == self.next_due(queue):
                queue.wake()
            if queue.changed:
                woken = True
                row = (as_json(queue.settings), queue.places, queue.wakes, queue.id)
                self._run(statement("keep_queue"), row)
        for (number, topic), keys in self._news.items():
            (seq,) = self._run(statement("tell"), (number, topic, as_json(keys))).fetchone()
            if seq % KEPT == 0:
                self._run(statement("forget_news"), (seq - KEPT,))
        return woken or bool(self._news)

    def _write(self) -> None:
        if self._unwritten:
            self._run_many(statement("keep"), map(kept_row, self._unwritten.values()))
            self._unwritten.clear()

    def _jobs(self, queue: QueueRow, name: str, *arguments: object) -> list[Found]:
        return self._readable(queue, self._run(statement(name), arguments).fetchall())

    def _readable(self, queue: QueueRow, rows: Iterable[Row]) -> list[Found]:
        jobs, others = found_among(queue.name, rows)
        if others:
            self.put_aside(others)
        return jobs
