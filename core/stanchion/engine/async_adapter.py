"""An adapter that makes a local backend's verbs async: they run inline on the loop, where they need not wait.

For stores inside this process or file a call is shorter than handing it to a thread (measured beside a busy loop:
92 000 against 84 statements a second with SQLite). A call that would have to wait for others goes on in a thread, and
so do `wait` and a watch's `next`, which are there to wait.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from time import monotonic
from typing import Any, Final, TypeVar

from attrs import Factory, field, frozen

from stanchion.contract.answers import CheckPage, Claimed, Counts, Due, Inserted, Page
from stanchion.contract.backend import Backend, JoinsTransactions, Limits, MayWait, Topic, Watch, WatchesJobs
from stanchion.engine.threads import Threads
from stanchion.errors import Busy, Unsupported
from stanchion.model.changes import Applied, Change, Refused
from stanchion.model.queues import QueueSettings
from stanchion.model.records import Item, Record
from stanchion.model.states import State

SLICE: Final = timedelta(milliseconds=250)
"""How long a thread waits at a time, so that one whose caller was cancelled is soon gone, and that many who wait
share the threads there are."""

MOST: Final = 64
"""Threads for each of the two: calls that have to wait, and waits. A thread that waits costs some 50 kB."""

T = TypeVar("T")


def _impatient(adapter: "Inline") -> Backend:
    backend = adapter.backend
    return backend.impatient() if isinstance(backend, MayWait) else backend


@frozen
class Inline:
    """An `AsyncBackend` over a local `Backend`, for one loop."""

    backend: Backend

    _at_once: Backend = field(init=False, default=Factory(_impatient, takes_self=True))
    _calls: Threads = field(init=False, default=Factory(lambda: Threads("stanchion-call", MOST)))
    _waits: Threads = field(init=False, default=Factory(lambda: Threads("stanchion-wait", MOST)))

    @property
    def limits(self) -> Limits:
        return self.backend.limits

    async def insert(self, items: Sequence[Item]) -> Sequence[Inserted]:
        try:
            return self._at_once.insert(items)
        except Busy:
            return await self._calls.call(lambda: self.backend.insert(items))

    async def claim(
        self, queues: Sequence[str], *, limit: int, claim_id: str, worker: str, lease: timedelta
    ) -> Claimed:
        try:
            return self._at_once.claim(queues, limit=limit, claim_id=claim_id, worker=worker, lease=lease)
        except Busy:
            return await self._calls.call(
                lambda: self.backend.claim(queues, limit=limit, claim_id=claim_id, worker=worker, lease=lease)
            )

    async def apply(self, changes: Sequence[Change]) -> Sequence[Applied | Refused]:
        try:
            return self._at_once.apply(changes)
        except Busy:
            return await self._calls.call(lambda: self.backend.apply(changes))

    async def due(self, queues: Sequence[str], limit: int) -> Due:
        try:
            return self._at_once.due(queues, limit)
        except Busy:
            return await self._calls.call(lambda: self.backend.due(queues, limit))

    async def get(self, ids: Sequence[str]) -> Sequence[Record | None]:
        try:
            return self._at_once.get(ids)
        except Busy:
            return await self._calls.call(lambda: self.backend.get(ids))

    async def list(self, queue: str, state: State, cursor: str | None = None) -> Page:
        try:
            return self._at_once.list(queue, state, cursor)
        except Busy:
            return await self._calls.call(lambda: self.backend.list(queue, state, cursor))

    async def count(self, queues: Sequence[str]) -> Mapping[str, Counts]:
        try:
            return self._at_once.count(queues)
        except Busy:
            return await self._calls.call(lambda: self.backend.count(queues))

    async def queues(self) -> Mapping[str, QueueSettings]:
        try:
            return self._at_once.queues()
        except Busy:
            return await self._calls.call(self.backend.queues)

    async def configure(self, queue: str, settings: QueueSettings) -> None:
        try:
            self._at_once.configure(queue, settings)
        except Busy:
            await self._calls.call(lambda: self.backend.configure(queue, settings))

    async def forget(self, queue: str) -> bool:
        try:
            return self._at_once.forget(queue)
        except Busy:
            return await self._calls.call(lambda: self.backend.forget(queue))

    async def check(self, queue: str, cursor: str | None = None) -> CheckPage:
        try:
            return self._at_once.check(queue, cursor)
        except Busy:
            return await self._calls.call(lambda: self.backend.check(queue, cursor))

    async def insert_joined(self, items: Sequence[Item], connection: Any) -> Sequence[Inserted]:
        if not isinstance(self.backend, JoinsTransactions):
            raise Unsupported("joining transactions", self.backend)
        return self.backend.insert_joined(
            items, connection
        )  # on the loop: the connection belongs to its thread

    async def wait(self, queues: Sequence[str], timeout: timedelta) -> bool:
        return await _in_slices(self._waits, lambda left: self.backend.wait(queues, left), timeout)

    async def now(self) -> datetime:
        return self.backend.now()

    async def watch(self, queues: Sequence[str], topic: Topic) -> "InlineWatch":
        backend = self.backend
        if not isinstance(backend, WatchesJobs):
            raise Unsupported("watching jobs", backend)
        try:
            watch = self._at_once.watch(queues, topic)  # type: ignore[attr-defined]  # it is the same backend
        except Busy:
            watch = await self._calls.call(lambda: backend.watch(queues, topic))
        return InlineWatch(watch, self._waits)

    async def close(self) -> None:
        if self._at_once is self.backend:
            self.backend.close()
        else:
            await self._calls.call(self.backend.close)
        self._calls.shutdown()
        self._waits.shutdown()


@frozen
class InlineWatch:
    """An `AsyncWatch` over a `Watch`."""

    watch: Watch
    _waits: Threads

    async def next(self, timeout: timedelta) -> frozenset[str]:
        return await _in_slices(self._waits, self.watch.next, timeout)

    async def close(self) -> None:
        self.watch.close()


async def _in_slices(threads: Threads, wait: Callable[[timedelta], T], timeout: timedelta) -> T:
    """Wait in one thread after the other until something came, the wait was ended, or the timeout is over."""
    end = monotonic() + timeout.total_seconds()
    while True:
        left = max(timedelta(0), timedelta(seconds=end - monotonic()))
        came, was_ended = await threads.call(partial(_slice, wait, min(left, SLICE)))
        if came or was_ended or left <= SLICE:
            return came


def _slice(wait: Callable[[timedelta], T], span: timedelta) -> tuple[T, bool]:
    """Wait; the answer, and whether it came early."""
    end = monotonic() + span.total_seconds() / 2
    return wait(span), monotonic() < end
