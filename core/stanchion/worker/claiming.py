"""Claiming: how a worker asks for jobs, and waits for some."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

from stanchion.contract.answers import Claimed
from stanchion.contract.backend import Backend, HasAsync
from stanchion.engine.engine import Engine
from stanchion.model.changes import remembered
from stanchion.model.ids import new_key
from stanchion.worker.runs import monotonic

POLL: Final = timedelta(seconds=5)
"""How often an idle worker looks for jobs although nothing woke it: the cost of a lost wake."""


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

        Returns:
            What was taken, and when the claim was asked for first: its leases count from then.
        """
        if self._unanswered is None or not self.is_unanswered:
            self._unanswered = (new_key(), monotonic())
        claim_id, asked_at = self._unanswered
        asking = self._engine.claim(self._queues, limit, self._worker, self._lease, claim_id)
        claimed = await self._engine.arun(asking)
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
        if claimed.next_due_at is not None:
            timeout = min(POLL, max(timedelta(0), claimed.next_due_at - claimed.now))
        waiting = asyncio.create_task(self._engine.twin().wait(self._queues, timeout))
        try:
            await asyncio.wait({waiting, until}, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                waiting.result()
        finally:
            await cancelled(waiting, until)


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
    """Return how many jobs to claim at once: while one half runs, a store looks for the other.

    Unless its verbs run on the loop, where nothing runs meanwhile.
    """
    return max(slots // 2, min(slots, 10)) if isinstance(backend, HasAsync) else slots
