"""Claiming: how a worker asks for jobs as slots become free, and waits for some."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

from stanchion.contract.answers import Claimed
from stanchion.contract.backend import Backend
from stanchion.contract.capabilities import HasAsync
from stanchion.contract.requests import Wait
from stanchion.engine.engine import Engine
from stanchion.errors import StanchionError
from stanchion.errors.logs import logger
from stanchion.model.changes import remembered
from stanchion.model.ids import new_key
from stanchion.worker.runs import monotonic
from stanchion.worker.settling import PAUSES
from stanchion.worker.slots import Slots

_log: Final = logger("stanchion.worker")

POLL: Final = timedelta(seconds=5)
"""How often an idle worker looks for jobs although nothing woke it: the cost of a lost wake."""

BURST: Final = 0.05
"""Seconds between two claims of a burst that waits for its last runs."""


class Claims:
    """The claims of one worker.

    Args:
        engine: What to call the backend through.

        queues: Which queues to claim from, in this order; the list may change between two claims.

        worker: The worker's name.

        lease: How long a claim holds its jobs.
    """

    def __init__(self, engine: Engine, queues: list[str], worker: str, lease: timedelta) -> None:
        self._engine, self._queues, self._worker, self._lease = engine, queues, worker, lease
        self._unanswered: tuple[str, float] | None = None

    @property
    def is_unanswered(self) -> bool:
        """Whether a claim was made, it is not known what it took, and its answer is still kept."""
        return self._unanswered is not None and monotonic() - self._unanswered[1] <= self._remembered

    async def claim(self, limit: int) -> tuple[Claimed, float]:
        """Claim jobs.

        A claim that was not answered may have been made: it is asked for again with its id, for as long as its answer
        is kept, so that its jobs need not wait for the end of their leases.

        Args:
            limit: How many jobs to claim at most.

        Returns:
            What was taken, and when the claim was asked for first: its leases count from then.
        """
        if self._unanswered is None or not self.is_unanswered:
            self._unanswered = (new_key(), monotonic())
        claim_id, asked_at = self._unanswered
        asking = self._engine.claim(self._queues, limit, self._worker, self._lease, claim_id)
        claimed = await self._engine.acall(asking)
        self._unanswered = None
        return claimed, asked_at

    @property
    def _remembered(self) -> float:
        return remembered(self._lease).total_seconds()

    async def idle(self, claimed: Claimed, until: "asyncio.Task[Any]") -> None:
        """Wait until there may be jobs: for a wake, or the next due time.

        Args:
            claimed: The answer to the last claim.

            until: What ends the wait as well; it is cancelled in the end.
        """
        timeout = POLL
        if claimed.ask_again_at is not None:
            timeout = min(POLL, max(timedelta(0), claimed.ask_again_at - claimed.now))
        waiting = asyncio.create_task(self._engine.async_backend().wait(Wait(list(self._queues), timeout)))
        try:
            await asyncio.wait({waiting, until}, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                waiting.result()
        finally:
            await cancelled(waiting, until)


class ClaimLoop:
    """Claims jobs as slots become free, whatever the backend does meanwhile.

    Args:
        claims: The worker's claims, which say how to wait for jobs.

        slots: The worker's slots; once they are closed, nothing is claimed any more.

        claim: Claims up to a number of jobs and starts their runs.

        share: How many jobs to claim at once at most.

        burst: Whether to end once nothing can be claimed and nothing runs here.
    """

    def __init__(
        self,
        claims: Claims,
        slots: Slots,
        claim: Callable[[int], Awaitable[Claimed]],
        *,
        share: int,
        burst: bool,
    ) -> None:
        self._claims, self._slots, self._claim = claims, slots, claim
        self._share, self._burst = share, burst
        self._is_woken = False
        self._failures = 0

    def wake_up(self) -> None:
        """Look for jobs now: the keeper has queued some, and their wake may have gone to a worker that is gone.

        Call it on the worker's loop.
        """
        self._is_woken = True
        self._slots.wake_up()

    async def run(self, is_kept: Callable[[], bool]) -> None:
        """Claim until the slots are closed, or a burst is over.

        Args:
            is_kept: Answers whether the guard still looks after the runs; nothing is claimed without it.
        """
        while not self._slots.is_closed and is_kept():
            if not self._slots.free:
                await self._until_free()
                continue
            try:
                if await self._once():
                    return
            except Exception as error:  # noqa: BLE001  # whatever the store holds or answers, a worker continues
                await self._after(error)

    async def ask_once_more(self) -> None:
        """Ask what an unanswered claim has taken: once the slots are closed, it is handed back."""
        if self._claims.is_unanswered:
            with suppress(StanchionError):
                await self._claim(1)

    async def _until_free(self) -> None:
        if self._slots.are_stuck:
            kind = "handlers" if any(run.is_async for run in self._slots.lingering) else "threads"
            _log.error("all %d slots are held by timed-out %s; not claiming", self._slots.most, kind)
        await self._slots.changed()

    async def _once(self) -> bool:
        """Claim once, and wait if nothing is left to be claimed.

        Returns:
            `True` if a burst is over.
        """
        self._is_woken = False
        claimed = await self._claim(min(self._slots.free, self._share))
        self._failures = 0
        if claimed.more:
            return False
        if not self._burst:
            await self._claims.idle(claimed, asyncio.create_task(self._until_woken()))
        elif self._slots.runs:
            await self._slots.changed(BURST)
        else:
            return not claimed.records
        return False

    async def _until_woken(self) -> None:
        while not self._is_woken:
            await self._slots.changed()

    async def _after(self, error: Exception) -> None:
        """Wait a little longer after each failure."""
        trace = None if isinstance(error, StanchionError) else error
        _log.warning("could not claim jobs: %s; trying again", error, exc_info=trace)
        await self._slots.changed(PAUSES[min(self._failures, len(PAUSES) - 1)])
        self._failures += 1


CANCELS: Final = 20
"""How often a task is cancelled that does not end, every 50 ms; then it is left behind."""


async def cancelled(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel tasks until they have ended: one cancellation that comes while a driver connects is swallowed."""
    pending = {task for task in tasks if not task.done()}
    for _ in range(CANCELS):
        if not pending:
            return
        for task in pending:
            task.cancel()
        ended, pending = await asyncio.wait(pending, timeout=0.05)
        for task in ended:
            with suppress(asyncio.CancelledError):
                task.exception()


def share(slots: int, backend: Backend) -> int:
    """Return how many jobs to claim at once: while one half runs, the store looks for the other.

    Args:
        slots: How many jobs run at a time.

        backend: The store; if its verbs run on the loop, nothing else runs there meanwhile, and all are claimed.

    Returns:
        How many jobs.
    """
    return max(slots // 2, min(slots, 10)) if isinstance(backend, HasAsync) else slots
