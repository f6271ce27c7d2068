"""Threads for what would block a loop: sync handlers, and calls that wait for others.

Each pool has one owner: asyncio's executor is filled by handlers that use `asyncio.to_thread`, and what waits there for
jobs would not be reached. The threads are daemons: a call that never returns does not keep a process from ending.
"""

import asyncio
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

from stanchion.errors.logs import logger

_log: Final = logger("stanchion.threads")

T = TypeVar("T")

_Calls = SimpleQueue[tuple["Future[Any]", Callable[[], Any]] | None]


class Threads(Executor):
    """Threads that are started when they are needed, and kept.

    Where one cannot be started, calls wait for those there are: a call that was accepted is made once, or never.

    Args:
        name: What they are called.

        most: How many there are at most; further calls wait for one, in the order they came.

        ready: How many are started at once, so that a process that may start none says so early.

    Raises:
        RuntimeError: Those cannot be started.
    """

    def __init__(self, name: str, most: int, *, ready: int = 0) -> None:
        self._name, self._most = name, most
        self._calls: _Calls = SimpleQueue()
        self._load = _Load()
        self._started = 0
        self._complained = False
        self._end = weakref.finalize(self, _end, self._calls, most)
        self._end.atexit = False
        for _ in range(ready):
            self._start()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        """Call a function in one of the threads.

        Returns:
            What it returns or raises, once it was called.

        Raises:
            RuntimeError: The pool is shut down, or no thread can be started, and there is none yet.
        """
        if not self._end.alive:
            raise RuntimeError(f"the threads {self._name} are shut down")
        future: Future[T] = Future()
        self._calls.put((future, lambda: fn(*args, **kwargs)))
        if self._load.more() > self._started and self._started < self._most:
            self._start_for(future)
        return future

    async def call(self, act: Callable[[], T]) -> T:
        """Call a function in one of the threads, without holding up the loop.

        One that was begun goes on although the caller is cancelled.

        Returns:
            What the function returns.

        Raises:
            RuntimeError: No thread can be started, and there is none yet.
        """
        if not self._end.alive:
            return act()  # what is closed says so at once
        return await asyncio.wrap_future(self.submit(act))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the threads end, once they have made the calls that were begun; never waits for them.

        Args:
            wait: As with other executors; without a meaning here.

            cancel_futures: Cancel the calls that no thread has begun.
        """
        with suppress(Empty):
            while cancel_futures and (call := self._calls.get_nowait()):
                call[0].cancel()
        self._end()

    def _start_for(self, future: "Future[Any]") -> None:
        try:
            self._start()
        except RuntimeError as error:
            if self._started == 0:
                future.cancel()
                raise
            if not self._complained:  # each call would say the same
                _log.error(
                    "cannot start a thread, %s: %d calls at a time: %s", self._name, self._started, error
                )
            self._complained = True

    def _start(self) -> None:
        args = (self._calls, self._load)
        threading.Thread(target=_work, args=args, name=self._name, daemon=True).start()
        self._started += 1
        self._complained = False


class _Load:
    """How many calls are not done yet: as many threads have work."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls = 0

    def more(self) -> int:
        """Count one more."""
        with self._lock:
            self._calls += 1
            return self._calls

    def less(self) -> None:
        """Count one less."""
        with self._lock:
            self._calls -= 1


def _work(calls: _Calls, load: _Load) -> None:
    while (call := calls.get()) is not None:
        future, act = call
        if future.set_running_or_notify_cancel():
            _settle(future, act)
        load.less()
        del future, act, call  # else they live until the next call


def _settle(future: "Future[Any]", act: Callable[[], Any]) -> None:
    try:
        result = act()
    except BaseException as error:  # noqa: BLE001  # it is the caller's
        future.set_exception(error)
    else:
        future.set_result(result)


def _end(calls: _Calls, most: int) -> None:
    for _ in range(most):
        calls.put(None)
