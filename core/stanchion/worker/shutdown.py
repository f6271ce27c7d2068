"""Shutting down: one budget for all of it, which a second request to stop cuts short."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

from stanchion.worker.runs import monotonic

STOPPING: Final = 0.5
"""Seconds that handlers have to end once they are asked to stop, after the grace."""

RECORDING: Final = 0.5
"""Seconds to record the last outcomes after that. A process has a little more to do at its end: with the default grace
of 7 s it is gone within the 10 s after which container runtimes kill, whatever does not answer."""


class Budget:
    """The time that a shutdown may take.

    Args:
        grace: Seconds that handlers have to end by themselves.
    """

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self.whole = grace + STOPPING + RECORDING
        """Seconds that all of a shutdown may take."""
        self._is_cut_short = asyncio.Event()
        self._grace_ends = self._ends = float("inf")

    def begin(self) -> None:
        """Begin to count; the first call counts."""
        if self._ends == float("inf"):
            self._grace_ends = monotonic() + self._grace
            self._ends = monotonic() + self.whole

    def cut_short(self) -> None:
        """End the grace now."""
        self.begin()
        now = monotonic()
        self._grace_ends = min(self._grace_ends, now)
        self._ends = min(self._ends, now + STOPPING + RECORDING)
        self._is_cut_short.set()

    @property
    def left(self) -> float:
        """Seconds until the shutdown must be over."""
        return max(0.0, self._ends - monotonic())

    async def grace(self, tasks: Iterable["asyncio.Task[Any]"]) -> None:
        """Wait until handlers have ended by themselves, within the grace.

        Args:
            tasks: Tasks that end once handlers have ended by themselves.
        """
        await self._wait(tasks, lambda: self._grace_ends)

    async def stopping(self, tasks: Iterable["asyncio.Task[Any]"]) -> None:
        """Wait until handlers have ended that were asked to stop.

        Args:
            tasks: Tasks that end once these handlers have ended.
        """
        end = monotonic() + STOPPING
        await self._wait(tasks, lambda: min(end, self._ends))

    async def within(self, work: Coroutine[Any, Any, None]) -> bool:
        """Do work, as long as there is time.

        Args:
            work: What to do.

        Returns:
            `True` if it was done; otherwise it was cancelled.
        """
        task = asyncio.create_task(work)
        try:
            await self._wait([task], lambda: self._ends)
            return task.done()
        finally:
            task.cancel()

    async def _wait(self, tasks: Iterable["asyncio.Task[Any]"], end: Callable[[], float]) -> None:
        """Wait until tasks are done, or until an instant that comes sooner once the budget is cut short."""
        pending = {task for task in tasks if not task.done()}
        cut = asyncio.create_task(self._is_cut_short.wait())
        try:
            while pending and (left := end() - monotonic()) > 0:
                awaited = pending if cut.done() else {cut, *pending}
                await asyncio.wait(awaited, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                pending = {task for task in pending if not task.done()}
        finally:
            cut.cancel()
