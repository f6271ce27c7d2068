"""An async backend seen as a sync one, so that the same claims are put to its verbs."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar, cast

from stanchion.contract.backend import VERBS, AsyncBackend, Backend, Limits
from stanchion.contract.capabilities import AsyncWatch
from stanchion.model.changes import Topic

T = TypeVar("T")


@contextmanager
def blocking(make: Callable[[], AsyncBackend]) -> Iterator[Backend]:
    """Drive an async backend, which `make` makes on a loop that runs in a thread of its own.

    The sync backend watches jobs if the async one does. Leaving the context closes it and ends the loop.
    """
    loop = _Loop()
    try:
        made = loop.call(_made(make))
        kind = WatchingBlocking if hasattr(made, "watch") else Blocking
        backend = cast(Backend, kind(made, loop))
        try:
            yield backend
        finally:
            backend.close()
    finally:
        loop.end()


def called(backend: object) -> str:
    """Name a backend in a reason.

    Returns:
        Its class, or that of the async backend that is driven here.
    """
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
    """A `Backend` over an `AsyncBackend`: its verbs are made from the async ones."""

    def __init__(self, backend: AsyncBackend, loop: _Loop) -> None:
        self._backend = backend
        self._loop = loop

    @property
    def limits(self) -> Limits:
        return self._backend.limits


def _verb(name: str) -> Callable[..., Any]:
    def ask(self: Blocking, *request: Any) -> Any:
        asked: Callable[..., Any] = getattr(self._backend, name)
        return self._loop.call(asked(*request))

    return ask


for _name in (*VERBS, "wait", "now", "close"):
    setattr(Blocking, _name, _verb(_name))


class WatchingBlocking(Blocking):
    """The same over an async backend that watches jobs."""

    def watch(self, queues: Sequence[str], topic: Topic) -> "BlockingWatch":
        """See `stanchion.contract.capabilities.WatchesJobs`."""
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
