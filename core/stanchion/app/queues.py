"""Queues, as an application sees them."""

from datetime import timedelta

from stanchion.app.lifecycle import Lifecycle
from stanchion.app.stats import QueueStats, read_stats, span_of, step_of
from stanchion.contract.answers import Configured, Counts
from stanchion.engine.engine import Engine
from stanchion.engine.operations import Steps
from stanchion.model.queues import check_queue

DAY = timedelta(hours=24)
"""How far back statistics go by default."""


class Queue:
    """A queue, as an application sees it."""

    def __init__(self, app: Lifecycle, name: str) -> None:
        self._app = app
        self.name = check_queue(name)
        """Its name."""

    @property
    def _engine(self) -> Engine:
        return self._app.engine  # asked for each time: `override` changes it

    def pause(self) -> bool:
        """Stop workers from claiming from this queue; running jobs continue.

        Returns:
            `True` if it was not paused before.
        """
        return _changed(self._engine.call(self._engine.configure(self.name, paused=True)))

    async def apause(self) -> bool:
        """`pause`, async."""
        return _changed(await self._engine.acall(self._engine.configure(self.name, paused=True)))

    def resume(self) -> bool:
        """Allow workers to claim from this queue again.

        Returns:
            `True` if it was paused before.
        """
        return _changed(self._engine.call(self._engine.configure(self.name, paused=False)))

    async def aresume(self) -> bool:
        """`resume`, async."""
        return _changed(await self._engine.acall(self._engine.configure(self.name, paused=False)))

    def stats(self, since: float | timedelta = DAY, *, step: float | timedelta | None = None) -> QueueStats:
        """Return what happened in this queue, by its ledger.

        Args:
            since: How far back; a timedelta or seconds. At most 90 days.

            step: How long each interval is, in whole minutes; by whole hours for what is more than two days ago.
                Defaults to such that there are at most 48 of them.

        Returns:
            Counts for the whole span and for each interval, and how many jobs are in each state now.

        Raises:
            InvalidArgument: A value cannot be used.
        """
        return self._engine.call(self._stats(since, step))

    async def astats(
        self, since: float | timedelta = DAY, *, step: float | timedelta | None = None
    ) -> QueueStats:
        """`stats`, async."""
        return await self._engine.acall(self._stats(since, step))

    def _stats(self, since: object, step: object) -> Steps[QueueStats]:
        span = span_of(since)
        return read_stats(self._engine, self.name, span, step_of(span, step))

    def count(self) -> Counts:
        """Return how many jobs are in each state.

        Returns:
            The counts; every state has its key.
        """
        return self._engine.call(self._engine.counts(self.name))

    async def acount(self) -> Counts:
        """`count`, async."""
        return await self._engine.acall(self._engine.counts(self.name))

    def forget(self) -> None:
        """Remove an empty queue and its settings.

        Raises:
            QueueNotEmpty: It has jobs.
        """
        self._engine.call(self._engine.forget(self.name))

    async def aforget(self) -> None:
        """`forget`, async."""
        await self._engine.acall(self._engine.forget(self.name))

    def __repr__(self) -> str:
        return f"<Queue {self.name}>"


def _changed(answer: Configured) -> bool:
    return answer.before != answer.after
