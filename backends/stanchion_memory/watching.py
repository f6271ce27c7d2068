"""Wakes and watches of the memory backend: one condition, on which everybody waits."""

import threading
from collections.abc import Callable, Iterable
from datetime import timedelta

from stanchion.model.changes import Topic
from stanchion.model.ids import split_id


class Notices:
    """What those who wait are notified of.

    Args:
        lock: The backend's lock.
    """

    def __init__(self, lock: threading.RLock) -> None:
        self.changed = threading.Condition(lock)
        self.closed = False
        self.watches: set[MemoryWatch] = set()
        self._woken: set[str] = set()

    def wake(self, *queues: str) -> None:
        """Wake those who wait for work in these queues."""
        with self.changed:
            self._woken.update(queues)
            self.changed.notify_all()

    def looked(self, queues: Iterable[str]) -> None:
        """Forget the wakes of these queues: the caller has looked for work now."""
        self._woken.difference_update(queues)

    def wait(self, queues: Iterable[str], timeout: timedelta) -> bool:
        """Block until one of these queues is woken, or until the timeout.

        Returns:
            `True` if woken; `False` at the timeout or when closed.
        """
        with self.changed:
            self._until(lambda: self.closed or not self._woken.isdisjoint(queues), timeout)
            woken = self._woken.intersection(queues)
            self._woken -= woken
            return bool(woken) and not self.closed

    def _until(self, happens: Callable[[], bool], timeout: timedelta) -> None:
        self.changed.wait_for(happens, timeout.total_seconds())

    def publish(self, job_id: str, topic: Topic) -> None:
        """Notify the watches of a job."""
        for watch in self.watches:
            if watch.topic is topic and split_id(job_id)[0] in watch.queues:
                watch.published.add(job_id)
        self.changed.notify_all()

    def close(self) -> None:
        """End all waits."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()


class MemoryWatch:
    """See `stanchion.contract.capabilities.Watch`."""

    def __init__(self, notices: Notices, queues: frozenset[str], topic: Topic) -> None:
        self._notices, self.queues, self.topic = notices, queues, topic
        self.published: set[str] = set()
        notices.watches.add(self)

    def next(self, timeout: timedelta) -> frozenset[str]:
        changed = self._notices.changed
        with changed:
            changed.wait_for(lambda: self.published or self._is_over, timeout.total_seconds())
            published, self.published = frozenset(self.published), set()
            return published

    @property
    def _is_over(self) -> bool:
        return self._notices.closed or self not in self._notices.watches

    def close(self) -> None:
        with self._notices.changed:
            self._notices.watches.discard(self)
            self._notices.changed.notify_all()
