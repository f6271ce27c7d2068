"""Duties: what a thread of the keeper does again and again, whatever one of them raises."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import cycle
from typing import Final, Protocol

from stanchion.errors import StanchionError
from stanchion.errors.logs import logger
from stanchion.worker.runs import monotonic

_log: Final = logger("stanchion.worker")

COMPLAINT: Final = 5.0
"""Seconds between two complaints about the same duty."""


class Duty(Protocol):
    """Something to be done again and again."""

    name: str
    """What it does, in the infinitive: the log says `could not renew leases: …`."""

    def __call__(self) -> None:
        """Do it, if it is time; return within a call or two to the backend."""
        ...


class Complaints:
    """Logs what a duty failed of, at most every `COMPLAINT` seconds: it is tried again within a moment."""

    def __init__(self) -> None:
        self._made: dict[str, float] = {}

    def make(self, name: str, error: BaseException) -> None:
        """Log one failure, unless the last line about the same duty is recent.

        Args:
            name: The duty's name.

            error: What it raised.
        """
        now = monotonic()
        if now - self._made.get(name, -COMPLAINT) >= COMPLAINT:
            self._made[name] = now
            trace = None if isinstance(error, StanchionError) else error
            _log.warning("could not %s: %s", name, error, exc_info=trace)


class DutyThread:
    """A thread that goes round its duties until it is stopped.

    Args:
        name: The thread's name.

        duties: What it does, in this order; the last one sleeps.

        ending: Set when it shall end.
    """

    def __init__(self, name: str, duties: Sequence[Duty], ending: threading.Event) -> None:
        self._duties, self._ending = duties, ending
        self._complaints = Complaints()
        self._at_end: list[Callable[[], object]] = []
        self._is_over = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it still works."""
        return self._thread.is_alive()

    def ended(self, loop: asyncio.AbstractEventLoop) -> "asyncio.Future[None]":
        """Return a future of a loop that is done when the thread has ended.

        Args:
            loop: The loop.

        Returns:
            The future.
        """
        future: asyncio.Future[None] = loop.create_future()

        def done() -> None:
            if not future.done():
                future.set_result(None)

        self._at_end.append(lambda: loop.call_soon_threadsafe(done))
        if self._is_over:
            done()
        return future

    def _work(self) -> None:
        self._go_round()
        self._is_over = True
        for call in self._at_end:
            with suppress(RuntimeError):  # that loop is closed
                call()

    def _go_round(self) -> None:
        for duty in cycle(self._duties):
            if self._ending.is_set():
                break
            try:
                duty()
            except BaseException as error:  # noqa: BLE001  # the runs of a whole worker hang on this thread
                self._complaints.make(duty.name, error)
