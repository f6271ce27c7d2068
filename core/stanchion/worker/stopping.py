"""Stopping: why a worker ends, since when, and how much time it has left."""

import asyncio
from contextlib import suppress
from typing import Final

from stanchion.errors.logs import logger
from stanchion.worker.runs import monotonic
from stanchion.worker.shutdown import Budget
from stanchion.worker.slots import Slots

_log: Final = logger("stanchion.worker")


class Stopping:
    """The requests to stop one worker.

    Args:
        worker: The worker's name.

        grace: Seconds that handlers have to end by themselves.

        slots: The worker's slots, which are closed by the first request.
    """

    def __init__(self, worker: str, grace: float, slots: Slots) -> None:
        self._worker, self._grace, self._slots = worker, grace, slots
        self.signalled_at: Final[list[float]] = []
        """When signals came, in seconds of `monotonic`; read by the guard, in case that the loop is blocked."""
        self.failure = ""
        """Why the worker cannot continue; empty while it can."""
        self.is_over = False
        """Whether the shutdown is done, so that what ends afterwards is ignored."""
        self.begin()

    def begin(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Use a loop from now on; without one, signals are remembered only.

        Args:
            loop: The loop. Defaults to `None`: no loop yet.
        """
        self._loop = loop
        self._is_wanted = asyncio.Event()
        self.budget = Budget(self._grace)

    def request(self) -> None:
        """Stop claiming and give handlers their grace; the second time, end the grace. Call it on the loop."""
        if self._slots.is_closed:
            self.budget.cut_short()
        else:
            held = len(self._slots.holding)
            _log.info("worker %s is stopping, %d jobs are running", self._worker, held)
        self._slots.close()
        self.budget.begin()
        self._is_wanted.set()

    def signal(self) -> None:
        """Record a signal, and ask the loop to stop; call it in a signal handler."""
        self.signalled_at.append(monotonic())
        with suppress(RuntimeError):  # the loop is closed already
            if self._loop is None:
                self.request()
            else:
                self._loop.call_soon_threadsafe(self.request)

    def fail(self, why: str) -> None:
        """Stop, since the worker cannot continue; call it on the loop.

        Args:
            why: The reason, as the error will name it.
        """
        if self.is_over or self.failure:
            return
        self.failure = why
        if not self._slots.is_closed:
            self.request()
        _log.critical("worker %s ends: %s", self._worker, why)

    async def requested(self) -> None:
        """Wait until a stop is requested."""
        await self._is_wanted.wait()
