"""An adapter that makes a local backend's verbs async: they run inline on the loop, and only `wait` leaves it.

For stores inside this process or file a call is shorter than handing it to a thread (measured beside a busy loop:
92 000 against 84 statements a second with SQLite).
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from attrs import frozen

from stanchion.backend import Backend, JoinsTransactions, Limits, Topic, Watch, WatchesJobs
from stanchion.changes import Applied, Change, Refused
from stanchion.errors import Unsupported
from stanchion.jobs import Item, Record
from stanchion.queries import CheckPage, Claimed, Counts, Due, Inserted, Page
from stanchion.queues import QueueSettings
from stanchion.states import State

SLICE: Final = timedelta(milliseconds=250)
"""How long a thread waits at a time, so that one whose caller was cancelled is soon gone."""


@frozen
class Inline:
    """An `AsyncBackend` over a local `Backend`."""

    backend: Backend

    @property
    def limits(self) -> Limits:
        return self.backend.limits

    async def insert(self, items: Sequence[Item]) -> Sequence[Inserted]:
        return self.backend.insert(items)

    async def insert_joined(self, items: Sequence[Item], connection: Any) -> Sequence[Inserted]:
        if not isinstance(self.backend, JoinsTransactions):
            raise Unsupported("joining transactions", self.backend)
        return self.backend.insert_joined(items, connection)

    async def claim(
        self, queues: Sequence[str], *, limit: int, claim_id: str, worker: str, lease: timedelta
    ) -> Claimed:
        return self.backend.claim(queues, limit=limit, claim_id=claim_id, worker=worker, lease=lease)

    async def apply(self, changes: Sequence[Change]) -> Sequence[Applied | Refused]:
        return self.backend.apply(changes)

    async def due(self, queues: Sequence[str], limit: int) -> Due:
        return self.backend.due(queues, limit)

    async def get(self, ids: Sequence[str]) -> Sequence[Record | None]:
        return self.backend.get(ids)

    async def list(self, queue: str, state: State, cursor: str | None = None) -> Page:
        return self.backend.list(queue, state, cursor)

    async def count(self, queues: Sequence[str]) -> Mapping[str, Counts]:
        return self.backend.count(queues)

    async def wait(self, queues: Sequence[str], timeout: timedelta) -> bool:
        left = timeout
        while left > SLICE:
            if await asyncio.to_thread(self.backend.wait, queues, SLICE):
                return True
            left -= SLICE
        return await asyncio.to_thread(self.backend.wait, queues, left)

    async def queues(self) -> Mapping[str, QueueSettings]:
        return self.backend.queues()

    async def configure(self, queue: str, settings: QueueSettings) -> None:
        self.backend.configure(queue, settings)

    async def forget(self, queue: str) -> bool:
        return self.backend.forget(queue)

    async def now(self) -> datetime:
        return self.backend.now()

    async def check(self, queue: str, cursor: str | None = None) -> CheckPage:
        return self.backend.check(queue, cursor)

    async def close(self) -> None:
        self.backend.close()

    async def watch(self, queues: Sequence[str], topic: Topic) -> "InlineWatch":
        if not isinstance(self.backend, WatchesJobs):
            raise Unsupported("watching jobs", self.backend)
        return InlineWatch(self.backend.watch(queues, topic))


@frozen
class InlineWatch:
    """An `AsyncWatch` over a `Watch`."""

    watch: Watch

    async def next(self, timeout: timedelta) -> frozenset[str]:
        return await asyncio.to_thread(self.watch.next, timeout)

    async def close(self) -> None:
        self.watch.close()
