"""An async backend seen as a sync one, so that the same claims are put to its verbs."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, TypeVar

from stanchion.contract.answers import CheckPage, Claimed, Counts, Due, Inserted, Page
from stanchion.contract.backend import AsyncBackend, AsyncWatch, Backend, Limits, Topic
from stanchion.model.changes import Applied, Change, Refused
from stanchion.model.queues import QueueSettings
from stanchion.model.records import Item, Record
from stanchion.model.states import State

T = TypeVar("T")


@contextmanager
def blocking(make: Callable[[], AsyncBackend]) -> Iterator[Backend]:
    """A sync backend over an async one, which `make` makes on a loop that runs in a thread of its own.

    It watches jobs if the async one does. Leaving the context closes it and ends the loop.
    """
    loop = _Loop()
    try:
        made = loop.call(_made(make))
        backend = WatchingBlocking(made, loop) if hasattr(made, "watch") else Blocking(made, loop)
        try:
            yield backend
        finally:
            backend.close()
    finally:
        loop.end()


def called(backend: object) -> str:
    """What a backend is called in a reason: its class, or the one of the async backend that is driven here."""
    if isinstance(backend, Blocking):
        return f"{type(backend._backend).__name__} (async, driven by `blocking`)"
    return type(backend).__name__


async def _made(make: Callable[[], T]) -> T:
    return make()


class _Loop:
    """A loop that runs in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def end(self) -> None:
        self.call(self._rest())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _rest(self) -> None:
        """Let what still runs come to its end, such as a wait that was just ended."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)
        await self._loop.shutdown_asyncgens()
        await self._loop.shutdown_default_executor()


class Blocking:
    """A `Backend` over an `AsyncBackend`."""

    def __init__(self, backend: AsyncBackend, loop: _Loop) -> None:
        self._backend = backend
        self._loop = loop

    @property
    def limits(self) -> Limits:
        return self._backend.limits

    def insert(self, items: Sequence[Item]) -> Sequence[Inserted]:
        return self._loop.call(self._backend.insert(items))

    def claim(
        self, queues: Sequence[str], *, limit: int, claim_id: str, worker: str, lease: timedelta
    ) -> Claimed:
        return self._loop.call(
            self._backend.claim(queues, limit=limit, claim_id=claim_id, worker=worker, lease=lease)
        )

    def apply(self, changes: Sequence[Change]) -> Sequence[Applied | Refused]:
        return self._loop.call(self._backend.apply(changes))

    def due(self, queues: Sequence[str], limit: int) -> Due:
        return self._loop.call(self._backend.due(queues, limit))

    def get(self, ids: Sequence[str]) -> Sequence[Record | None]:
        return self._loop.call(self._backend.get(ids))

    def list(self, queue: str, state: State, cursor: str | None = None) -> Page:
        return self._loop.call(self._backend.list(queue, state, cursor))

    def count(self, queues: Sequence[str]) -> Mapping[str, Counts]:
        return self._loop.call(self._backend.count(queues))

    def wait(self, queues: Sequence[str], timeout: timedelta) -> bool:
        return self._loop.call(self._backend.wait(queues, timeout))

    def queues(self) -> Mapping[str, QueueSettings]:
        return self._loop.call(self._backend.queues())

    def configure(self, queue: str, settings: QueueSettings) -> None:
        self._loop.call(self._backend.configure(queue, settings))

    def forget(self, queue: str) -> bool:
        return self._loop.call(self._backend.forget(queue))

    def now(self) -> datetime:
        return self._loop.call(self._backend.now())

    def check(self, queue: str, cursor: str | None = None) -> CheckPage:
        return self._loop.call(self._backend.check(queue, cursor))

    def close(self) -> None:
        self._loop.call(self._backend.close())


class WatchingBlocking(Blocking):
    """The same over an async backend that watches jobs."""

    def watch(self, queues: Sequence[str], topic: Topic) -> "BlockingWatch":
        """See `stanchion.contract.backend.WatchesJobs`."""
        backend: Any = self._backend
        return BlockingWatch(self._loop.call(backend.watch(queues, topic)), self._loop)


class BlockingWatch:
    """A `Watch` over an `AsyncWatch`."""

    def __init__(self, watch: AsyncWatch, loop: _Loop) -> None:
        self._watch = watch
        self._loop = loop

    def next(self, timeout: timedelta) -> frozenset[str]:
        return self._loop.call(self._watch.next(timeout))

    def close(self) -> None:
        self._loop.call(self._watch.close())
