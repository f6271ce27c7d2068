"""The SQLite backend: the contract over one file, which any number of processes of one machine share."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Final

import msgspec

from stanchion.backend import Clock, Limits, Topic
from stanchion.changes import Applied, Change, Refused, remembered, whole
from stanchion.jobs import Item, Record, split_id
from stanchion.queries import CheckPage, Claimed, Counts, Due, Fault, Finding, Inserted, Page, Room, size_of
from stanchion.queues import QueueSettings
from stanchion.states import SWEPT, State
from stanchion_sqlite import forks
from stanchion_sqlite.database import Database, statement
from stanchion_sqlite.joining import joined
from stanchion_sqlite.news import Bell, SqliteWatch
from stanchion_sqlite.rows import Found, as_json, found_among, to_ms, unreadable
from stanchion_sqlite.transaction import QueueRow, Transaction, queue_row, queues_of

LIMITS: Final = Limits(batch=100, local=False)
"""A batch is one transaction: long enough to share one write to the disk, short enough not to hold up a loop."""

_FIRST: Final = (-(1 << 62), 0, 0)
"""Before every place."""


class SqliteBackend:
    """Jobs in a file; safe to use from any thread, and after a fork.

    Args:
        path: The file; it is made when it is first needed.

        namespace: Whose queues.

        synchronous: `full`: what was answered survives a loss of power. `normal`: the last moments may be lost then.

        clock: For tests.
    """

    def __init__(
        self, path: Path, *, namespace: str, synchronous: str = "full", clock: Clock | None = None
    ) -> None:
        self._database = Database(path, synchronous)
        self._bell = Bell(self._database)
        self._namespace, self._clock = namespace, clock
        self._acted_on: dict[int, int] = {}
        """How often queues had been woken when this process last claimed from them, or woke somebody."""
        self._moved: set[str] = set()
        """Queues for which an injected clock was moved."""
        self._patience: float | None = None
        """For a twin, how many seconds a call may wait; else the file's own patience."""
        forks.remember(self)

    def within(self, deadline: timedelta) -> "SqliteBackend":
        """See `stanchion.backend.HasDeadlines`. The twin has the same connections; closing it closes nothing."""
        twin = copy(self)
        twin._patience = (
            deadline.total_seconds() / 2
        )  # for this process's threads, and again for other processes
        return twin

    def before_fork(self) -> None:
        """See `stanchion_sqlite.forks`."""
        self._database.before_fork()

    def after_fork(self, *, in_child: bool) -> None:
        """See `stanchion_sqlite.forks`."""
        self._bell.after_fork(in_child=in_child)
        self._database.after_fork(in_child=in_child)

    @property
    def limits(self) -> Limits:
        return LIMITS

    def insert(self, items: Sequence[Item]) -> Sequence[Inserted]:
        with self._writing(split_id(item.id)[0] for item in items) as transaction:
            return [transaction.insert(item) for item in items]

    def insert_joined(self, items: Sequence[Item], connection: object) -> Sequence[Inserted]:
        """See `stanchion.backend.JoinsTransactions`."""
        with joined(connection, self._database) as connected:
            names = dict.fromkeys(split_id(item.id)[0] for item in items)
            transaction = Transaction(connected, self._namespace, self.now(), names)
            answers = [transaction.insert(item) for item in items]
            transaction.finish()
        return answers

    def claim(
        self, queues: Sequence[str], *, limit: int, claim_id: str, worker: str, lease: timedelta
    ) -> Claimed:
        with self._writing(queues) as transaction:
            now = transaction.now
            again = transaction.claimed_before(claim_id)
            if again is not None:
                return Claimed(records=again, now=now, more=False, next_due_at=None)
            ends = whole(now + lease)
            taken: list[Found] = []
            room = Room(LIMITS.bytes)
            there = [transaction.queues[name] for name in queues if name in transaction.queues]
            active = [queue for queue in there if not queue.settings.paused]
            for queue in active:
                transaction.promote(queue, LIMITS.batch)
                left = transaction.how_many(queue, limit - len(taken), room)
                taken += transaction.take(queue, left, claim=claim_id, worker=worker, ends=ends)
            transaction.remember(claim_id, taken, now + remembered(lease))
            more = [queue for queue in active if transaction.has_queued(queue)]
            clocks = [at for queue in active if (at := transaction.next_due(queue))]
        self._act_on(there)
        self._pass_on(more)
        records = [job.record for job in taken]
        return Claimed(records=records, now=now, more=bool(more), next_due_at=min(clocks, default=None))

    def apply(self, changes: Sequence[Change]) -> Sequence[Applied | Refused]:
        with self._writing(split_id(change.job_id)[0] for change in changes) as transaction:
            return transaction.apply(changes)

    def due(self, queues: Sequence[str], limit: int) -> Due:
        now, jobs, others, more = self.now(), list[Found](), list[int](), False
        room = Room(LIMITS.bytes)
        with self._database.reading(self._patience) as connection:
            found = queues_of(connection, self._namespace, queues)
            for state, queue in product(SWEPT, found.values()):
                place = (queue.id, state, to_ms(now), limit - len(jobs))
                rows = connection.execute(statement("due"), place).fetchall()
                readable, broken = found_among(queue.name, rows)
                fit = [job for job in readable if room.fits(size_of(job.record))]
                more = more or len(rows) == place[-1] or len(fit) < len(readable)
                jobs += fit
                others += broken
        if others:
            with self._writing(()) as transaction:
                transaction.put_aside(others)
        return Due(now=now, records=[job.record for job in jobs], more=more)

    def get(self, ids: Sequence[str]) -> Sequence[Record | None]:
        keys: dict[str, list[str]] = {}
        for name, key in map(split_id, ids):
            keys.setdefault(name, []).append(key)
        jobs: dict[str, Record] = {}
        with self._database.reading(self._patience) as connection:
            for name, queue in queues_of(connection, self._namespace, keys).items():
                rows = connection.execute(statement("get"), (as_json(keys[name]), queue.id)).fetchall()
                jobs |= {job.record.id: job.record for job in found_among(name, rows)[0]}
        return [jobs.get(job_id) for job_id in ids]

    def list(self, queue: str, state: State, cursor: str | None = None) -> Page:
        behind = _FIRST if cursor is None else msgspec.json.decode(cursor)
        with self._database.reading(self._patience) as connection:
            rows = connection.execute(
                statement("list"), (self._id(connection, queue), state, *behind, LIMITS.batch)
            ).fetchall()
        jobs, room = found_among(queue, rows)[0], Room(LIMITS.bytes)
        fit = [job for job in jobs if room.fits(size_of(job.record))]
        records = [job.record for job in fit]
        if len(fit) < len(jobs):
            return Page(records=records, cursor=as_json((*fit[-1].place, fit[-1].rowid)))
        if len(rows) < LIMITS.batch:
            return Page(records=records, cursor=None)
        rowid, *_, major, minor = rows[-1]
        return Page(records=records, cursor=as_json((major, minor, rowid)))

    def count(self, queues: Sequence[str]) -> Mapping[str, Counts]:
        counts = {name: dict.fromkeys(State, 0) for name in queues}
        with self._database.reading(self._patience) as connection:
            for name, queue in queues_of(connection, self._namespace, queues).items():
                found = dict(connection.execute(statement("count"), (queue.id,)).fetchall())
                counts[name] = {state: found.get(state, 0) for state in State}
        return counts

    def quarantined(self, queues: Sequence[str]) -> Mapping[str, int]:
        """See `stanchion.backend.Quarantines`."""
        counts = dict.fromkeys(queues, 0)
        with self._database.reading(self._patience) as connection:
            for name, queue in queues_of(connection, self._namespace, queues).items():
                counts[name] = connection.execute(statement("quarantined"), (queue.id,)).fetchone()[0]
        return counts

    def wait(self, queues: Sequence[str], timeout: timedelta) -> bool:
        forget = self._clock.subscribe(lambda: self._clock_moved(queues)) if self._clock else None
        try:
            return self._bell.wait_until(lambda: self._are_woken(queues), timeout)
        finally:
            if forget:
                forget()

    def _clock_moved(self, queues: Iterable[str]) -> None:
        self._moved.update(queues)
        self._bell.ring()

    def _are_woken(self, queues: Sequence[str]) -> bool:
        moved = self._moved.intersection(queues)
        self._moved -= moved
        with self._database.reading(self._patience) as connection:
            found = queues_of(connection, self._namespace, queues).values()
        woken = [queue for queue in found if queue.wakes and queue.wakes != self._acted_on.get(queue.id)]
        self._act_on(woken)
        return bool(moved or woken)

    def _act_on(self, queues: Iterable[QueueRow]) -> None:
        self._acted_on.update((queue.id, queue.wakes) for queue in queues)

    def _pass_on(self, queues: Iterable[QueueRow]) -> None:
        """Wake whoever waits in this process next: there is more to claim."""
        for queue in queues:
            self._acted_on.pop(queue.id, None)
            self._bell.ring()

    def queues(self) -> Mapping[str, QueueSettings]:
        with self._database.reading(self._patience) as connection:
            rows = connection.execute(statement("all_queues"), (self._namespace,)).fetchall()
        return {queue.name: queue.settings for queue in map(queue_row, rows)}

    def configure(self, queue: str, settings: QueueSettings) -> None:
        with self._writing([queue]) as transaction:
            row = transaction.queue(queue)
            row.settings, row.changed = settings, True
            if not settings.paused:
                row.wake()

    def forget(self, queue: str) -> bool:
        with self._database.writing(self._patience) as connection:
            connection.execute(statement("forget"), (self._namespace, queue))
            return self._id(connection, queue) is None

    def now(self) -> datetime:
        return whole(self._clock.now() if self._clock else datetime.now(UTC))

    def check(self, queue: str, cursor: str | None = None) -> CheckPage:
        with self._database.reading(self._patience) as connection:
            damage = [] if cursor else connection.execute("PRAGMA quick_check('stanchion_jobs')").fetchall()
            place = (self._id(connection, queue), cursor or "", LIMITS.batch)
            rows = connection.execute(statement("check"), place).fetchall()
        findings = [
            Finding(fault=Fault.CORRUPT, where="stanchion_jobs", detail=words)
            for (words,) in damage
            if words != "ok"
        ]
        findings += unreadable(queue, rows)
        return CheckPage(findings=findings, cursor=rows[-1][2] if len(rows) == LIMITS.batch else None)

    def watch(self, queues: Sequence[str], topic: Topic) -> SqliteWatch:
        """See `stanchion.backend.WatchesJobs`."""
        return SqliteWatch(self._database, self._bell, self._namespace, queues, topic)

    def close(self) -> None:
        if self._patience is None:
            self._bell.close()
            self._database.close()

    @contextmanager
    def _writing(self, names: Iterable[str]) -> Iterator[Transaction]:
        with self._database.writing(self._patience) as connection:
            transaction = Transaction(connection, self._namespace, self.now(), dict.fromkeys(names))
            yield transaction
            heard = transaction.finish()
        if heard:
            self._bell.ring()

    def _id(self, connection: sqlite3.Connection, queue: str) -> int | None:
        """A queue's number; none if it does not exist, which no job belongs to."""
        row = connection.execute(statement("queue"), (self._namespace, queue)).fetchone()
        return None if row is None else int(row[0])
