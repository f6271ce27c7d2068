"""The SQLite backend: the contract over one file, which any number of processes of one machine share."""

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from stanchion.contract.answers import (
    CheckPage,
    Claimed,
    Counts,
    Due,
    Fault,
    Finding,
    Inserted,
    Page,
    Room,
    size_of,
)
from stanchion.contract.backend import Clock, Limits, Topic
from stanchion.model.changes import Applied, Change, Refused, remembered, whole
from stanchion.model.ids import split_id
from stanchion.model.queues import QueueSettings
from stanchion.model.records import Item, Record
from stanchion.model.states import SWEPT, State
from stanchion_sqlite import forks
from stanchion_sqlite.database import Database, statement
from stanchion_sqlite.joining import join
from stanchion_sqlite.news import Bell, SqliteWatch
from stanchion_sqlite.rows import Found, Row, as_json, found_among, to_ms, unreadable
from stanchion_sqlite.transaction import QueueRow, Transaction, queue_row, queues_of

LIMITS: Final = Limits(batch=100, local=False)
"""A batch is one transaction: long enough to share one write to the disk, short enough not to hold up a loop."""

_FIRST: Final = (-(1 << 62), 0, 0)
"""Before every place."""


T = TypeVar("T")


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
        """See `stanchion.contract.backend.HasDeadlines`. It shares the connections; closing it closes nothing."""
        twin = copy(self)
        twin._patience = deadline.total_seconds()
        return twin

    def impatient(self) -> "SqliteBackend":
        """See `stanchion.contract.backend.MayWait`."""
        return self.within(timedelta(0))

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
        names = (split_id(item.id)[0] for item in items)
        return self._write(names, lambda transaction: [transaction.insert(item) for item in items])

    def insert_joined(self, items: Sequence[Item], connection: object) -> Sequence[Inserted]:
        """See `stanchion.contract.backend.JoinsTransactions`."""

        def insert(cursor: sqlite3.Cursor) -> list[Inserted]:
            names = dict.fromkeys(split_id(item.id)[0] for item in items)
            transaction = Transaction(cursor, self._namespace, self.now(), names)
            answers = [transaction.insert(item) for item in items]
            transaction.finish()
            return answers

        return join(connection, self._database, insert)

    def claim(
        self, queues: Sequence[str], *, limit: int, claim_id: str, worker: str, lease: timedelta
    ) -> Claimed:
        def take(transaction: Transaction) -> tuple[Claimed, list[QueueRow], list[QueueRow]]:
            now = transaction.now
            again = transaction.claimed_before(claim_id)
            if again is not None:
                return Claimed(records=again, now=now, more=False, next_due_at=None), [], []
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
            records = [job.record for job in taken]
            first = min(clocks, default=None)
            return Claimed(records=records, now=now, more=bool(more), next_due_at=first), there, more

        claimed, there, more = self._write(queues, take)
        self._act_on(there)
        self._pass_on(more)
        return claimed

    def apply(self, changes: Sequence[Change]) -> Sequence[Applied | Refused]:
        names = (split_id(change.job_id)[0] for change in changes)
        return self._write(names, lambda transaction: transaction.apply(changes))

    def due(self, queues: Sequence[str], limit: int) -> Due:
        now = self.now()

        def look(cursor: sqlite3.Cursor) -> tuple[list[Found], list[int], bool]:
            jobs, others, more, room = list[Found](), list[int](), False, Room(LIMITS.bytes)
            found = queues_of(cursor, self._namespace, queues)
            for state, queue in product(SWEPT, found.values()):
                place = (queue.id, state, to_ms(now), limit - len(jobs))
                rows = cursor.execute(statement("due"), place).fetchall()
                readable, broken = found_among(queue.name, rows)
                fit = [job for job in readable if room.fits(size_of(job.record))]
                more = more or len(rows) == place[-1] or len(fit) < len(readable)
                jobs += fit
                others += broken
            return jobs, others, more

        jobs, others, more = self._read(look)
        if others:
            self._write((), lambda transaction: transaction.put_aside(others))
        return Due(now=now, records=[job.record for job in jobs], more=more)

    def get(self, ids: Sequence[str]) -> Sequence[Record | None]:
        keys: dict[str, list[str]] = {}
        for name, key in map(split_id, ids):
            keys.setdefault(name, []).append(key)

        def look(cursor: sqlite3.Cursor) -> dict[str, Record]:
            jobs: dict[str, Record] = {}
            for name, queue in queues_of(cursor, self._namespace, keys).items():
                rows = cursor.execute(statement("get"), (as_json(keys[name]), queue.id)).fetchall()
                jobs |= {job.record.id: job.record for job in found_among(name, rows)[0]}
            return jobs

        jobs = self._read(look)
        return [jobs.get(job_id) for job_id in ids]

    def list(self, queue: str, state: State, cursor: str | None = None) -> Page:
        behind = _FIRST if cursor is None else msgspec.json.decode(cursor)

        def look(reader: sqlite3.Cursor) -> Sequence[Row]:
            place = (self._id(reader, queue), state, *behind, LIMITS.batch)
            return reader.execute(statement("list"), place).fetchall()

        rows = self._read(look)
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
        def look(cursor: sqlite3.Cursor) -> dict[str, dict[Any, int]]:
            there = queues_of(cursor, self._namespace, queues).items()
            return {
                name: dict(cursor.execute(statement("count"), (queue.id,)).fetchall())
                for name, queue in there
            }

        found = self._read(look)
        return {name: {state: found.get(name, {}).get(state, 0) for state in State} for name in queues}

    def quarantined(self, queues: Sequence[str]) -> Mapping[str, int]:
        """See `stanchion.contract.backend.Quarantines`."""

        def look(cursor: sqlite3.Cursor) -> dict[str, int]:
            there = queues_of(cursor, self._namespace, queues).items()
            return {
                name: cursor.execute(statement("quarantined"), (queue.id,)).fetchone()[0]
                for name, queue in there
            }

        return {**dict.fromkeys(queues, 0), **self._read(look)}

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
        found = self._read(lambda cursor: queues_of(cursor, self._namespace, queues))
        woken = [
            queue for queue in found.values() if queue.wakes and queue.wakes != self._acted_on.get(queue.id)
        ]
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
        rows = self._read(
            lambda cursor: cursor.execute(statement("all_queues"), (self._namespace,)).fetchall()
        )
        return {queue.name: queue.settings for queue in map(queue_row, rows) if isinstance(queue.name, str)}

    def configure(self, queue: str, settings: QueueSettings) -> None:
        def configure(transaction: Transaction) -> None:
            row = transaction.queue(queue)
            row.settings, row.changed = settings, True
            if not settings.paused:
                row.wake()

        self._write([queue], configure)

    def forget(self, queue: str) -> bool:
        def forget(cursor: sqlite3.Cursor) -> bool:
            cursor.execute(statement("forget"), (self._namespace, queue))
            return self._id(cursor, queue) is None

        return self._database.write(forget, self._patience)

    def now(self) -> datetime:
        return whole(self._clock.now() if self._clock else datetime.now(UTC))

    def check(self, queue: str, cursor: str | None = None) -> CheckPage:
        def look(reader: sqlite3.Cursor) -> tuple[Sequence[Row], Sequence[Row]]:
            damage = [] if cursor else reader.execute("PRAGMA quick_check('stanchion_jobs')").fetchall()
            place = (self._id(reader, queue), cursor or "", LIMITS.batch)
            return damage, reader.execute(statement("check"), place).fetchall()

        damage, rows = self._read(look)
        findings = [
            Finding(fault=Fault.CORRUPT, where="stanchion_jobs", detail=words)
            for (words,) in damage
            if words != "ok"
        ]
        findings += unreadable(queue, rows)
        return CheckPage(findings=findings, cursor=rows[-1][2] if len(rows) == LIMITS.batch else None)

    def watch(self, queues: Sequence[str], topic: Topic) -> SqliteWatch:
        """See `stanchion.contract.backend.WatchesJobs`."""
        return SqliteWatch(self._database, self._bell, self._namespace, queues, topic)

    def close(self) -> None:
        if self._patience is None:
            self._bell.close()
            self._database.close()

    def _read(self, look: Callable[[sqlite3.Cursor], T]) -> T:
        return self._database.read(look, self._patience)

    def _write(self, names: Iterable[str], act: Callable[[Transaction], T]) -> T:
        """Do something in a transaction that is about the queues of these names."""
        queues = dict.fromkeys(names)

        def whole_act(cursor: sqlite3.Cursor) -> tuple[T, bool]:
            transaction = Transaction(cursor, self._namespace, self.now(), queues)
            return act(transaction), transaction.finish()

        answer, heard = self._database.write(whole_act, self._patience)
        if heard:
            self._bell.ring()
        return answer

    def _id(self, cursor: sqlite3.Cursor, queue: str) -> int | None:
        """A queue's number; none if it does not exist, which no job belongs to."""
        row = cursor.execute(statement("queue"), (self._namespace, queue)).fetchone()
        return None if row is None else int(row[0])
