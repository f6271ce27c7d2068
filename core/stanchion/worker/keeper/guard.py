"""The guard: looks after runs, threads and loop without ever waiting for a backend, a handler or a plugin."""

import threading
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from stanchion.errors.logs import logger
from stanchion.worker.keeper.table import Table
from stanchion.worker.runs import monotonic

_log: Final = logger("stanchion.worker")

LONGEST_PAUSE: Final = 0.25
"""Seconds between two looks at most; a twelfth of the lease where that is shorter."""


AWAY: Final = 4
"""After how many pauses without a look the guard takes it that the process was frozen."""


class Watched(Protocol):
    """A thread that must not end by itself."""

    @property
    def is_alive(self) -> bool:
        """Whether it still works."""
        ...


class Looks(Protocol):
    """Something that looks at the runs."""

    def look(self, now: float) -> None:
        """Look, and return at once.

        Args:
            now: The time, in seconds of `monotonic`.
        """
        ...


class Pulse:
    """Whether the loop still turns: it answers each question when it comes to it.

    Args:
        post: Calls something on the loop, unless that is closed.
    """

    def __init__(self, post: Callable[[Callable[[], object]], bool]) -> None:
        self._post = post
        self._asked_at: float | None = None

    def ask(self, now: float) -> None:
        """Ask the loop for a sign of life, unless it has not answered yet.

        Args:
            now: The time, in seconds of `monotonic`.
        """
        if self._asked_at is None:
            self._asked_at = now
            if not self._post(self._answer):
                self._asked_at = None

    def begin_anew(self, now: float) -> None:
        """Count from now: the whole process was frozen, and the loop could not answer.

        Args:
            now: The time, in seconds of `monotonic`.
        """
        if self._asked_at is not None:
            self._asked_at = now

    def _answer(self) -> None:
        self._asked_at = None

    def silent_for(self, now: float) -> float:
        """Return for how many seconds the loop has not answered.

        Args:
            now: The time, in seconds of `monotonic`.

        Returns:
            Seconds; zero if it has answered.
        """
        asked_at = self._asked_at
        return 0.0 if asked_at is None else now - asked_at


class Guard:
    """A thread that only looks.

    Args:
        table: The worker's runs.

        looks: What looks at them.

        watched: The other threads of the keeper.

        failed: To be called on the loop if one of them has ended.

        blocked: Called here, with how many seconds the loop has been blocked.
    """

    def __init__(
        self,
        table: Table,
        looks: Sequence[Looks],
        watched: Sequence[Watched],
        *,
        failed: Callable[[str], None],
        blocked: Callable[[float], None],
    ) -> None:
        self._table, self._looks, self._watched = table, looks, watched
        self._failed, self._blocked = failed, blocked
        self._pulse = Pulse(table.post)
        self._pause = min(LONGEST_PAUSE, table.lease.total_seconds() / 12)
        self._looked_at = monotonic()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name="stanchion-guard", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End within a moment."""
        self._ending.set()

    @property
    def is_alive(self) -> bool:
        """Whether it still looks."""
        return self._thread.is_alive()

    def _work(self) -> None:
        while not self._ending.wait(self._pause):
            try:
                self.look(monotonic())
            except BaseException:  # noqa: BLE001  # nothing else would stop a handler whose lease is over
                _log.exception("could not check the runs")

    def look(self, now: float) -> None:
        """Look at everything once.

        Args:
            now: The time, in seconds of `monotonic`.
        """
        for one in self._looks:
            one.look(now)
        if now - self._looked_at > AWAY * self._pause:
            self._pulse.begin_anew(now)
        self._looked_at = now
        self._pulse.ask(now)
        silent = self._pulse.silent_for(now)
        if silent:
            self._blocked(silent)
        if not all(one.is_alive for one in self._watched):
            self._table.post(self._failed, "a thread of its keeper has ended")
