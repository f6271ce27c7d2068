"""What is published when something was committed to the file, by this process or another one."""

import threading
from collections.abc import Callable, Iterable
from datetime import timedelta
from time import monotonic
from typing import Final

import msgspec

from stanchion.errors import BackendError
from stanchion.model.changes import Topic
from stanchion_sqlite.database import Database
from stanchion_sqlite.statements import statement

POLL: Final = 0.07
"""Seconds between two looks at the file while a thread waits: each wakes a processor, for some 0.2 ms in all."""

KEPT: Final = 1000
"""How many news are kept at least: a watch that is further behind has missed some, as it may."""


class Bell:
    """Rings when something was committed.

    What this process commits rings it at once. For what others commit, one of the threads that wait looks at the
    file, for all of them.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._closed = False
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.RLock()
        """Taken by itself, and not by way of the condition: an interrupt could come before that gives it back."""
        self._rung = threading.Condition(self._lock)
        self._count = self._version = 0
        self._looking = False

    def after_fork(self, *, in_child: bool) -> None:
        """Begin anew in the child, which has none of the threads that waited."""
        if in_child:
            self._begin()
        self._version = 0  # it is another connection's now

    def ring(self) -> None:
        """Wake those who wait: something was committed."""
        with self._lock:
            self._count += 1
            self._rung.notify_all()

    def close(self) -> None:
        """End all waits."""
        self._closed = True
        self.ring()

    def wait_until(self, found: Callable[[], bool], timeout: timedelta) -> bool:
        """Ask now, and after each ring, until something was found.

        Args:
            found: Answers whether it was.

            timeout: How long to wait at most.

        Returns:
            `False` if the time is over, or the bell was closed.
        """
        end = monotonic() + timeout.total_seconds()
        while not self._closed:
            count = self._count
            try:
                if found():
                    return True
                if not self._wait_for_ring(count, end):
                    return False
            except BackendError:
                if not self._closed:
                    raise
        return False

    def _wait_for_ring(self, count: int, end: float) -> bool:
        """Wait for a ring after the count; return `False` if the time is over."""
        with self._lock:
            try:
                while self._count == count:
                    left = end - monotonic()
                    if left <= 0:
                        return False
                    if self._looking:
                        self._rung.wait(left)
                    else:
                        self._wait_and_look(min(left, POLL), count)
                return True
            finally:
                self._rung.notify()  # if this was the thread that looked, another one does so now

    def _wait_and_look(self, pause: float, count: int) -> None:
        self._looking = True
        try:
            self._rung.wait(pause)
            if self._count != count:
                return
            self._lock.release()  # nobody who rings shall wait for a look behind a long read
            try:
                version = self._database.version()
            finally:
                self._lock.acquire()
            if version != self._version:
                self._version = version
                self._count += 1
                self._rung.notify_all()
        finally:
            self._looking = False


class SqliteWatch:
    """See `stanchion.contract.capabilities.Watch`."""

    def __init__(
        self, database: Database, bell: Bell, namespace: str, queues: Iterable[str], topic: Topic
    ) -> None:
        self._database, self._bell = database, bell
        self._of = (topic, namespace, msgspec.json.encode(list(queues)).decode())
        self._closed = False
        self._published: set[str] = set()
        self._seq = database.read(lambda cursor: cursor.execute(statement("last_news")).fetchone()[0])

    def next(self, timeout: timedelta) -> frozenset[str]:
        self._bell.wait_until(self._look, timeout)
        published, self._published = frozenset(self._published), set()
        return published

    def _look(self) -> bool:
        if not self._closed:
            rows = self._database.read(
                lambda cursor: cursor.execute(statement("news"), (self._seq, *self._of)).fetchall()
            )
            for self._seq, queue, keys in rows:
                self._published.update(f"{queue}:{key}" for key in msgspec.json.decode(keys))
        return self._closed or bool(self._published)

    def close(self) -> None:
        self._closed = True
        self._bell.ring()
