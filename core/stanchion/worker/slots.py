"""Slots: which runs a worker has, and how many more it may start."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from stanchion.worker.runs import IN_HANDLER, Act, Phase, Run


class Slots:
    """The runs of one worker.

    A run is kept until its outcome is recorded, so that its lease is extended; it holds a slot until its handler has
    left, even if that is long after its outcome was recorded: a thread cannot be stopped. Only the loop changes what
    is here; the keeper's threads read a copy of `runs`.

    Args:
        most: How many handlers run at a time.
    """

    def __init__(self, most: int) -> None:
        self.most: Final = most
        """How many handlers run at a time."""
        self.runs: Final[dict[object, Run]] = {}
        """The runs whose outcomes are not recorded, by `Run.key`."""
        self.holding: Final[set[Run]] = set()
        """The runs that hold a slot."""
        self.lingering: Final[set[Run]] = set()
        """The runs whose outcomes are recorded, and whose handlers have not left."""
        self.is_closed = False
        """Whether starting runs has stopped."""
        self.begin()

    def begin(self) -> None:
        """Use the running loop from now on."""
        self._changed = asyncio.Event()

    def close(self) -> None:
        """Stop starting runs."""
        self.is_closed = True
        self._changed.set()

    @property
    def free(self) -> int:
        """How many runs may be started now; zero while twice as many as there are slots wait to be recorded."""
        return 0 if len(self.runs) >= 2 * self.most else max(0, self.most - len(self.holding))

    @property
    def are_stuck(self) -> bool:
        """Whether each slot is held by a handler whose outcome was recorded without it."""
        return len(self.lingering) >= self.most

    def add(self, run: Run) -> None:
        """Keep a run that was claimed.

        Args:
            run: The run.
        """
        self.runs[run.key] = run

    def take(self, run: Run) -> None:
        """Give a slot to a run.

        Args:
            run: The run.
        """
        self.holding.add(run)

    def leave(self, run: Run) -> None:
        """Take back the slot of a run: its handler has left, or will not be entered.

        Args:
            run: The run.
        """
        self.holding.discard(run)
        self.lingering.discard(run)
        self._changed.set()

    def settled(self, run: Run) -> None:
        """Forget a run: its outcome is recorded, or cannot be any more.

        Args:
            run: The run.
        """
        run.move(Act.SETTLE)
        self.runs.pop(run.key, None)
        if run.phase is Phase.LINGERING:
            self.lingering.add(run)
        self._changed.set()

    def in_handlers(self) -> list[Run]:
        """Return the runs whose outcomes are not recorded, and whose handlers have not left.

        Returns:
            The runs.
        """
        return [run for run in self.runs.values() if run.phase in IN_HANDLER]

    def wake_up(self) -> None:
        """End the wait of `changed`."""
        self._changed.set()

    async def changed(self, timeout: float | None = None) -> None:
        """Wait until a slot became free or an outcome was recorded, or `wake_up` was called.

        Args:
            timeout: How many seconds to wait at most; defaults to no limit.
        """
        if timeout is None:
            await self._changed.wait()
        else:
            with suppress(TimeoutError):
                async with asyncio.timeout(
                    timeout
                ):  # `wait_for` can swallow a cancellation before Python 3.12
                    await self._changed.wait()
        self._changed.clear()

    async def left(self, runs: Iterable[Run]) -> None:
        """Wait until none of these runs holds a slot.

        Args:
            runs: The runs.
        """
        pending = set(runs)
        while pending & self.holding:
            await self.changed()
