"""What a transaction knows and leaves to be written. Whoever began it commits it, after `finish`."""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from stanchion.contract.backend import Limits
from stanchion.model.changes import Topic
from stanchion.model.effects import spent
from stanchion.model.queues import DEFAULTS
from stanchion.model.records import Head
from stanchion.model.states import Event, State
from stanchion_sqlite.columns import Columns, changed_columns
from stanchion_sqlite.ledgers import keep
from stanchion_sqlite.news import KEPT
from stanchion_sqlite.queues import QueueRow, next_due, queues_of
from stanchion_sqlite.rows import STATE, Found, Row, as_json, found_among
from stanchion_sqlite.statements import insertion, statement, update
from stanchion_sqlite.tags import index

LIMITS: Final = Limits(batch=100, local=False)
"""A batch is one transaction: long enough to share one write to the disk, short enough not to hold up a loop."""

_STATES: Final = {state.value: state for state in State}


class Transaction:
    """A transaction in one namespace.

    Args:
        cursor: A cursor of a connection that is inside of it. There is no other, which an interrupt could leave busy.

        namespace: The namespace.

        now: The instant of all that it does.

        names: The queues it is about.
    """

    def __init__(self, cursor: sqlite3.Cursor, namespace: str, now: datetime, names: Iterable[str]) -> None:
        self.cursor, self.namespace, self.now = cursor, namespace, now
        self.queues = queues_of(cursor, namespace, names)
        """The queues of these names that exist."""
        self._unwritten: dict[int, Found] = {}
        self._tagged: set[int] = set()
        """The jobs that the index of tags may have where they are no more."""
        self._news: defaultdict[tuple[int, Topic], list[str]] = defaultdict(list)

    def run(self, name: str, *arguments: object) -> sqlite3.Cursor:
        """Execute a statement.

        Args:
            name: Its name.

            arguments: What it takes.

        Returns:
            The cursor, for its rows: read them before the next statement.
        """
        return self.cursor.execute(statement(name), arguments)

    def queue(self, name: str) -> QueueRow:
        """Return a queue, and create it if it does not exist.

        Returns:
            The queue.
        """
        queue = self.queues.get(name)
        if queue is None:
            settings = as_json(DEFAULTS)
            (number,) = self.run("new_queue", self.namespace, name, settings).fetchone()
            queue = self.queues[name] = QueueRow(number, name, settings, 0, 0, 0, "{}")
        return queue

    def jobs(self, queue: QueueRow, name: str, *arguments: object) -> list[Found]:
        """Return the jobs that a statement selects; quarantine rows that are not jobs.

        Args:
            queue: Whose jobs.

            name: The statement.

            arguments: What it takes.

        Returns:
            The jobs, in the statement's order.
        """
        return self.readable(queue, self.run(name, *arguments).fetchall())

    def readable(self, queue: QueueRow, rows: Iterable[Row]) -> list[Found]:
        """Return the jobs among rows; quarantine rows that are not jobs.

        Returns:
            The jobs, in the order of the rows.
        """
        jobs, others = found_among(queue.name, rows)
        self.quarantine(queue, others)
        return jobs

    def create(self, columns: Columns) -> int | None:
        """Insert a job.

        Returns:
            Its row number; `None` if its id or its unique key is taken.
        """
        cursor = self.cursor.execute(insertion(tuple(columns)), tuple(columns.values()))
        return cursor.lastrowid if cursor.rowcount == 1 else None

    def enter(self, queue: QueueRow, job: Found, event: Event) -> None:
        """Note a job that came into being; it is in its row already."""
        head: Head = job.head
        queue.count(None, event, head.state)
        queue.arrived(head)
        if head.tags:
            self._tagged.add(job.rowid)

    def move(self, queue: QueueRow, job: Found, event: Event, after: Head) -> None:
        """Note what was made of a job; it is written by `write`.

        Args:
            queue: Its queue.

            job: The job before, which becomes the one afterwards.

            event: What happened to it.

            after: What was made of it.
        """
        before: Head = job.head
        if before.state is not after.state:
            queue.count(before.state, event, after.state, spent(before, after.state, self.now))
        if before.tags or after.tags:
            self._tagged.add(job.rowid)
        job.head = after
        self._unwritten[job.rowid] = job

    def leave(self, queue: QueueRow, jobs: Sequence[Found], event: Event, to: State | None) -> None:
        """Note that jobs leave the state in which they all are; what was made of them is written by the caller."""
        if jobs:
            ms = sum(spent(job.head, to, self.now) for job in jobs)
            queue.count(jobs[0].head.state, event, to, ms, jobs=len(jobs))
            self._tagged.update(job.rowid for job in jobs if job.head.tags)

    def delete(self, queue: QueueRow, job: Found, event: Event) -> None:
        """Delete a job."""
        self.write()
        self.leave(queue, [job], event, None)
        self.run("delete", job.rowid)

    def quarantine(self, queue: QueueRow, rows: Sequence[Row]) -> None:
        """Move records that cannot be read out of the way of everything else.

        Args:
            queue: Their queue.

            rows: The rows, which were read in this transaction.
        """
        for row in rows:
            self.run("remember_quarantine", row[0])
            self.run("quarantine", row[0])
            self._tagged.add(row[0])
            state = _STATES.get(row[STATE])
            if state is not None:
                queue.count(state, Event.QUARANTINE, None)

    def publish(self, queue: QueueRow, topic: Topic, key: str) -> None:
        """Note what is published to watches."""
        self._news[queue.id, topic].append(key)

    def write(self) -> None:
        """Write what was made of jobs until now, before something is read that may depend on it."""
        rows: defaultdict[tuple[str, ...], list[Row]] = defaultdict(list)
        for job in self._unwritten.values():
            changed = changed_columns(job.stored, job.head)
            job.stored = job.head
            if changed:
                rows[tuple(changed)].append((*changed.values(), job.rowid))
        self._unwritten.clear()
        for columns, changes in rows.items():
            self.cursor.executemany(update(columns), changes)

    def finish(self) -> bool:
        """Write what is left to be written.

        Returns:
            `True` if a caller may be waiting for it.
        """
        self.write()
        if self._tagged:
            index(self.cursor, self._tagged)
        for queue in self.queues.values():
            self._close(queue)
        for (number, topic), keys in self._news.items():
            (seq,) = self.run("publish", number, topic, as_json(keys)).fetchone()
            if seq % KEPT == 0:
                self.run("forget_news", seq - KEPT)
        woken = [queue for queue in self.queues.values() if queue.woken]
        return bool(self._news or woken)

    def _close(self, queue: QueueRow) -> None:
        if queue.first_due is not None and queue.first_due == next_due(self.cursor, queue):
            queue.wake()
        snapshot = queue.close(self.now)
        if snapshot is not None:
            keep(self.cursor, queue, snapshot)
        if queue.changed:
            self.run("update_queue", queue.places, queue.wakes, queue.minute, queue.totals, queue.id)
