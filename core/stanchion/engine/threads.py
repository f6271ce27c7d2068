"""Threads for what would block a loop: sync handlers, and calls that wait for others.

Each pool has one owner: asyncio's executor is filled by handlers that use `asyncio.to_thread`, and what waits there for
jobs would not be reached. The threads are daemons: a call that never returns does not keep a process from ending.
"""

import asyncio
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Final, TypeVar

from stanchion.errors.logs import logger

_log: Final = logger("stanchion.threads")

T = TypeVar("T")

Act = Callable[[], object]
"""What a thread does."""

_Acts = SimpleQueue[Act | None]


class Threads:
    """Threads that are started when they are needed, and kept.

    They take from one queue, one act at a time: an act that takes long delays none that was added with it. Where a
    thread cannot be started, acts wait for those there are: an act that was accepted is done once.

    Args:
        name: The name of each thread.

        most: How many there are at most; further acts wait for one, in the order they came.

        ready: How many are started now, so that a process that may start none fails early.

    Raises:
        RuntimeError: Those cannot be started.
    """

    def __init__(self, name: str, most: int, *, ready: int = 0) -> None:
        self._name, self._most = name, most
        self._acts: _Acts = SimpleQueue()
        self._load = _Load()
        self._started = 0
        self.is_short = False
        """Whether a thread that was needed could not be started, so that acts may wait for others to end."""
        self._end = weakref.finalize(self, _end, self._acts, most)
        self._end.atexit = False
        for _ in range(ready):
            self._start()

    def add(self, acts: Sequence[Act]) -> None:
        """Have a group of acts done, each in one of the threads.

        Args:
            acts: What to do. What an act raises is logged; it should handle its own errors.

        Raises:
            RuntimeError: The pool is shut down, or no thread can be started, and there is none yet; nothing is done.
        """
        if not self._end.alive:
            raise RuntimeError(f"cannot use the threads {self._name}: they are shut down")
        needed = min(self._load.more(len(acts)), self._most)
        while self._started < needed:
            try:
                self._start()
            except RuntimeError as error:
                if not self._started:
                    self._load.less(len(acts))
                    raise
                self._complain(error)
                break
        for act in acts:
            self._acts.put(act)

    async def call(self, act: Callable[[], T]) -> T:
        """Call a function in one of the threads, without holding up the loop.

        A call that has begun continues although the caller is cancelled; another is not made.

        Args:
            act: The function.

        Returns:
            What the function returns.

        Raises:
            RuntimeError: No thread can be started, and there is none yet.
        """
        if not self._end.alive:
            return act()  # what is closed fails at once
        future: Future[T] = Future()
        self.add([lambda: _settle(future, act)])
        return await asyncio.wrap_future(future)

    @property
    def has_waiting(self) -> bool:
        """Whether an act waits for a thread; each thread that takes one wakes up another."""
        return not self._acts.empty()

    def shutdown(self) -> None:
        """Let the threads end, once they have done what was added; returns at once."""
        self._end()

    def _complain(self, error: RuntimeError) -> None:
        if not self.is_short:  # each group would say the same
            _log.error(
                "%s: could not start a thread: %s; %d calls at a time", self._name, error, self._started
            )
        self.is_short = True

    def _start(self) -> None:
        args = (self._acts, self._load)
        threading.Thread(target=_work, args=args, name=self._name, daemon=True).start()
        self._started += 1
        self.is_short = False


class _Load:
    """How many acts are not done yet: as many threads have work."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._acts = 0

    def more(self, count: int) -> int:
        """Count more acts.

        Returns:
            How many there are now.
        """
        with self._lock:
            self._acts += count
            return self._acts

    def less(self, count: int = 1) -> None:
        """Count fewer acts."""
        with self._lock:
            self._acts -= count


def _work(acts: _Acts, load: _Load) -> None:
    while (act := acts.get()) is not None:
        try:
            act()
        except BaseException:  # noqa: BLE001  # others wait for this thread
            _log.exception("%s: a call raised", threading.current_thread().name)
        load.less()
        del act  # else it lives until the next one


def _settle(future: "Future[Any]", act: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = act()
    except BaseException as error:  # noqa: BLE001  # it is the caller's
        future.set_exception(error)
    else:
        future.set_result(result)


def _end(acts: _Acts, most: int) -> None:
    for _ in range(most):
        acts.put(None)
