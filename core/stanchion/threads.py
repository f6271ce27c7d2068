"""Threads for calls that would block a loop.

They are nobody else's: asyncio's own executor is filled by handlers that use `asyncio.to_thread`, and what waits there
for jobs would not be reached. They are daemons, so a call that still waits does not keep a process from ending.
"""

import asyncio
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

_Calls = SimpleQueue[tuple["Future[Any]", Callable[[], Any]] | None]


class Threads:
    """Threads that are started when they are needed, and kept. For one loop.

    Args:
        name: What they are called.

        most: How many there are at most; further calls wait for one, in the order they came.
    """

    def __init__(self, name: str, most: int) -> None:
        self._name, self._most = name, most
        self._calls: _Calls = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._started = 0
        self._end = weakref.finalize(self, _end, self._calls, most)
        self._end.atexit = False

    async def call(self, act: Callable[[], T]) -> T:
        """Call a function in one of the threads, without holding up the loop.

        One that was begun goes on although the caller is cancelled.

        Raises:
            RuntimeError: No thread can be started, and there is none yet.
        """
        if not self._end.alive:
            return act()  # what is closed says so at once
        future: Future[T] = Future()
        self._calls.put((future, act))
        if not self._idle.acquire(blocking=False) and self._started < self._most:
            self._start(future)
        return await asyncio.wrap_future(future)

    def _start(self, future: "Future[Any]") -> None:
        thread = threading.Thread(target=_work, args=(self._calls, self._idle), name=self._name, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            if self._started == 0:
                future.cancel()
                raise
        else:
            self._started += 1

    def close(self) -> None:
        """Let the threads end, once they have made the calls that were begun."""
        self._end()


def _work(calls: _Calls, idle: threading.Semaphore) -> None:
    while (call := calls.get()) is not None:
        future, act = call
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(act())
            except BaseException as error:  # noqa: BLE001  # it is the caller's
                future.set_exception(error)
        del future, act, call  # else they live until the next call
        idle.release()


def _end(calls: _Calls, most: int) -> None:
    for _ in range(most):
        calls.put(None)
