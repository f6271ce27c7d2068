"""A session: a worker on one loop, from the start of its keeper until its last outcome is recorded."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from stanchion.context import StopReason
from stanchion.errors.logs import logger
from stanchion.plugins.manager import Plugins
from stanchion.worker.claiming import ClaimLoop, cancelled
from stanchion.worker.keeper import Keeper
from stanchion.worker.leftovers import Leftovers
from stanchion.worker.runs import Phase
from stanchion.worker.settling import Settler
from stanchion.worker.slots import Slots
from stanchion.worker.stopping import Stopping

_log: Final = logger("stanchion.worker")


class Session:
    """Works until it is stopped, fails, is cancelled, or a burst is over; then shuts down within its budget.

    Args:
        worker: The worker's name.

        queues: What it serves.

        plugins: Are notified that the worker starts and stops.

        keeper: Keeps the runs.

        claiming: Claims jobs and starts their runs.

        settler: Records their outcomes.

        slots: The worker's slots.

        stopping: The requests to stop.

        leftovers: Keeps the runs whose handlers do not end.
    """

    def __init__(
        self,
        worker: str,
        queues: Sequence[str],
        plugins: Plugins,
        keeper: Keeper,
        claiming: ClaimLoop,
        settler: Settler,
        *,
        slots: Slots,
        stopping: Stopping,
        leftovers: Leftovers,
    ) -> None:
        self._worker, self._queues, self._plugins = worker, queues, plugins
        self._keeper, self._claiming, self._settler = keeper, claiming, settler
        self._slots, self._stopping, self._leftovers = slots, stopping, leftovers

    async def work(self) -> None:
        """Work until stopped, and shut down."""
        delivery = asyncio.create_task(self._settler.deliver())
        delivery.add_done_callback(self._delivered)
        try:
            self._keeper.start()
            self._plugins.notify("worker_started", worker=self._worker)
            queues, slots = ", ".join(self._queues), self._slots.most
            _log.info("worker %s started: serving %s, %d jobs at a time", self._worker, queues, slots)
            await self._claim_until_stopped()
        except asyncio.CancelledError:
            self._stopping.budget.cut_short()
            raise
        finally:
            await self._end(asyncio.create_task(self._shut_down(delivery)))

    async def _claim_until_stopped(self) -> None:
        """Claim until there is nothing more to do, or until stopped, whatever the backend is asked just then."""
        claiming = asyncio.create_task(self._claiming.run(lambda: self._keeper.is_alive))
        stopping = asyncio.create_task(self._stopping.requested())
        try:
            await asyncio.wait({claiming, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if claiming.done():
                claiming.result()
        finally:
            await cancelled(claiming, stopping)
        if not self._keeper.is_alive:
            self._stopping.fail("the guard of its runs has ended")

    async def _end(self, shutdown: "asyncio.Task[None]") -> None:
        """Wait for the shutdown; a cancellation that comes meanwhile does no more than cut it short."""
        was_cancelled = False
        while not shutdown.done():
            try:
                await asyncio.shield(shutdown)
            except asyncio.CancelledError:
                was_cancelled = True
                self._stopping.budget.cut_short()
        shutdown.result()
        if was_cancelled:
            raise asyncio.CancelledError

    async def _shut_down(self, delivery: "asyncio.Task[Any]") -> None:
        """Give handlers their grace, ask them to stop, and record what is left; all within one budget."""
        budget = self._stopping.budget
        self._slots.close()
        budget.begin()
        asking = asyncio.create_task(self._claiming.ask_once_more())
        try:
            await self._end_handlers()
            await budget.stopping([asking])
            if not await budget.within(self._all_recorded()):
                unsent = len(self._settler.unsent)
                _log.error("could not record %d outcomes before the end", unsent)
        finally:
            self._stopping.is_over = True
            await cancelled(asking, delivery)
            await self._keeper.stop(budget.left)
            self._leftovers.hold(self._slots.in_handlers())
            self._plugins.notify("worker_stopped", worker=self._worker)
            _log.info("worker %s stopped", self._worker)

    async def _end_handlers(self) -> None:
        for run in list(self._slots.runs.values()):
            self._settler.release(run)
        running = [run for run in self._slots.runs.values() if run.started and run in self._slots.holding]
        left = asyncio.create_task(self._slots.left(running))
        try:
            await self._stopping.budget.grace([left])
            for run in running:
                if run in self._slots.holding:
                    run.ask_to_stop(StopReason.SHUTDOWN)
                    if run.interrupt is not None:
                        run.interrupt()
            await self._stopping.budget.stopping([left])
        finally:
            left.cancel()

    async def _all_recorded(self) -> None:
        """Wait until only runs are left whose handlers have not ended; some outcomes are the keeper's to record."""
        while any(run.phase is not Phase.IN_HANDLER for run in list(self._slots.runs.values())):
            await self._slots.changed(0.05)

    def _delivered(self, delivery: "asyncio.Task[Any]") -> None:
        if self._stopping.is_over or (delivery.cancelled() and delivery.cancelling()):
            return  # it was asked to end, by us or as `asyncio.run` does with every task at its end
        error = None if delivery.cancelled() else delivery.exception()
        why = "their delivery was cancelled" if error is None else f"{type(error).__name__}: {error}"
        self._stopping.fail(f"outcomes can no longer be recorded: {why}")
