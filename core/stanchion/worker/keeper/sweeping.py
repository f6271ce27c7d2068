"""Sweeping: jobs that are due are moved, queue by queue in a ring, so that no backlog starves another."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

from stanchion.errors import Unavailable
from stanchion.worker.keeper.table import Table
from stanchion.worker.runs import monotonic

CHUNK: Final = 100
"""How many queues one call looks at."""


class Ring:
    """Queues in the order in which they are swept next, in chunks.

    Each period every chunk is put in line once, behind those that still wait. One that had more than a batch of due
    jobs goes to the end of the line, begins at another queue, and is swept again when all others were.

    Args:
        queues: The queues.

        size: How many make a chunk.
    """

    def __init__(self, queues: Sequence[str], size: int = CHUNK) -> None:
        self._chunks = [tuple(queues[at : at + size]) for at in range(0, len(queues), size)]
        self._line: deque[int] = deque()

    def begin(self) -> None:
        """Begin a period: put in line what is not."""
        self._line.extend(number for number in range(len(self._chunks)) if number not in self._line)

    def next(self) -> tuple[str, ...] | None:
        """Return the queues to sweep next.

        Returns:
            The queues; `None` if this period's are done.
        """
        return self._chunks[self._line[0]] if self._line else None

    def done(self, *, more: bool) -> None:
        """Continue with the next chunk; if this one had more, it comes again.

        Args:
            more: Whether there may be more jobs due in this chunk.
        """
        number = self._line.popleft()
        if more:
            first, *others = self._chunks[number]
            self._chunks[number] = (*others, first)
            self._line.append(number)


class Sweep:
    """Sweeps the worker's queues, a batch at a time.

    Args:
        table: The worker's runs.

        period: How often each queue is swept at least.

        queued: To be called on the loop when jobs were moved.
    """

    name = "sweep queues"

    def __init__(self, table: Table, period: timedelta, queued: Callable[[], None]) -> None:
        self._table, self._queued = table, queued
        self._period = period.total_seconds()
        self._ring = Ring(table.queues)
        self._begun_at = 0.0

    def __call__(self) -> None:
        """Sweep one chunk of queues, if it is time."""
        now = monotonic()
        if now - self._begun_at >= self._period:
            self._begun_at = now
            self._ring.begin()
        queues = self._ring.next()
        if queues is None:
            return
        more = False
        try:
            more = self._sweep(queues)
        finally:
            self._ring.done(more=more)

    def _sweep(self, queues: Sequence[str]) -> bool:
        """Sweep one batch of these queues; return whether there may be more."""
        engine = self._table.engine
        moved, more = 0, False
        try:
            moved, more = engine.call(engine.sweep_once(queues, observer=self._table.observer))
        except Exception as error:
            if len(queues) == 1 or isinstance(error, Unavailable):
                raise
            for queue in queues:  # one queue that cannot be swept must not keep back the others
                with self._table.apart(self.name):
                    more = self._sweep([queue]) or more
        if moved:
            self._table.post(self._queued)
            engine.plugins.notify("swept", count=moved)
        return more

    @property
    def pause(self) -> float:
        """For how many seconds there is nothing to sweep."""
        return 0.0 if self._ring.next() else max(0.0, self._begun_at + self._period - monotonic())


class Tick:
    """Runs the hook `tick` once a second, and sleeps until something is due.

    Args:
        table: The worker's runs.

        ending: Set when the sweeper shall end.

        pause: Answers for how many seconds nothing else is due.
    """

    name = "call the hook tick"

    TICK: Final = 1.0
    """Seconds between two calls of the hook."""

    def __init__(self, table: Table, ending: threading.Event, pause: Callable[[], float]) -> None:
        self._table, self._ending, self._pause = table, ending, pause
        self._ticked_at = 0.0

    def __call__(self) -> None:
        """Tick, if it is time, and sleep."""
        now = monotonic()
        if now - self._ticked_at >= self.TICK:
            self._ticked_at = now
            self._table.engine.plugins.notify("tick")
        self._ending.wait(min(self._pause(), max(0.0, self._ticked_at + self.TICK - monotonic())))
