"""Threads: where sync handlers run. A pool of the worker's own, which nothing else can fill or keep waiting."""

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

from stanchion.logs import logger

_log: Final = logger("stanchion.worker")

T = TypeVar("T")
_Call = tuple["Future[Any]", Callable[[], Any]]


class HandlerThreads(Executor):
    """Threads that call sync handlers, at most as many as a worker has slots.

    The first is started at once, so that a process that may start none says so before it claims anything; further
    ones when they are needed. Where one cannot be started, calls wait for those there are: a call that was accepted
    is made once, or never. The threads are daemons: one that never returns does not keep the process from ending.

    Args:
        most: How many threads at most.

    Raises:
        RuntimeError: Not even one thread can be started.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._count = 0
        self._closed = self._complained = False
        self._start()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        """Call a function in a thread.

        Returns:
            What it returns or raises, once it was called.
        """
        future: Future[T] = Future()
        self._calls.put((future, lambda: fn(*args, **kwargs)))
        if not self._idle.acquire(blocking=False) and self._count < self._most:
            try:
                self._start()
            except RuntimeError as error:
                self._complain(error)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let idle threads end, and drop calls that no thread has begun; never waits for those that have."""
        self._closed = True
        with suppress(Empty):
            while call := self._calls.get_nowait():
                call[0].cancel()
        for _ in range(self._count):
            self._calls.put(None)

    def _complain(self, error: RuntimeError) -> None:
        if not self._complained:  # each call would say the same
            _log.error("cannot start a thread, sync handlers run %d at a time: %s", self._count, error)
        self._complained = True

    def _start(self) -> None:
        name = f"stanchion-handler_{self._count}"
        threading.Thread(target=self._work, name=name, daemon=True).start()
        self._count += 1
        self._complained = False

    def _work(self) -> None:
        while not self._closed and (call := self._next()) is not None:
            future, make = call
            if future.set_running_or_notify_cancel():
                _settle(future, make)
            del future, make, call  # nothing a handler returned stays alive in an idle thread

    def _next(self) -> "_Call | None":
        """Wait for a call; `None` ends the thread."""
        try:
            return self._calls.get_nowait()
        except Empty:
            self._idle.release()
            return self._calls.get()


def _settle(future: "Future[Any]", make: Callable[[], Any]) -> None:
    try:
        result = make()
    except BaseException as error:  # noqa: BLE001  # whatever it is, it belongs to the caller
        future.set_exception(error)
    else:
        future.set_result(result)
