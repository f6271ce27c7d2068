"""Signals: how a worker is asked to stop from outside, even while its loop is blocked."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Final, Self

STOPPING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Each of them asks a worker to stop."""


class StopSignals:
    """While entered, calls a function for each signal that asks the process to stop.

    A process that is forked meanwhile, by a handler that uses multiprocessing for instance, ends by these signals as
    any other program does; it does not pass them on.

    Args:
        stop: Called on the main thread, between two steps of whatever it does.
    """

    def __init__(self, stop: Callable[[], object]) -> None:
        self._stop = stop
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in STOPPING:
            self._before[number] = signal.signal(number, self._received)
        _entered.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _entered.remove(self)
        self.restore()

    def restore(self) -> None:
        """Restore what the signals did before."""
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def _received(self, number: int, frame: FrameType | None) -> None:
        self._stop()


_entered: Final[list[StopSignals]] = []
_masks: Final = threading.local()


def _before() -> None:
    """Hold back signals in the thread that forks: one that comes to the child too early would be forgotten."""
    if _entered:
        _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)


def _in_child() -> None:
    for one in _entered:
        one.restore()
    _entered.clear()
    _after()


def _after() -> None:
    mask = getattr(_masks, "before", None)
    if mask is not None:
        _masks.before = None
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_in_child)
