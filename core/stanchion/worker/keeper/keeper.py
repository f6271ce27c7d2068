"""The keeper of one worker: its three threads, put together."""

import asyncio
import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

from stanchion.engine.engine import Engine
from stanchion.engine.notifying import Observer
from stanchion.worker.keeper.cancels import WatchCancels
from stanchion.worker.keeper.duties import Complaints, DutyThread
from stanchion.worker.keeper.guard import Guard
from stanchion.worker.keeper.leases import AbandonRuns, RenewLeases
from stanchion.worker.keeper.sweeping import Sweep, Tick
from stanchion.worker.keeper.table import Table
from stanchion.worker.keeper.timeouts import RecordTimeouts, TimeLimits
from stanchion.worker.runs import Run


class Keeper:
    """One worker's keeper; it makes each call once, with a deadline of a sixth of the lease, on its own connections.

    Args:
        engine: The worker's engine.

        runs: The worker's runs by claim and job; the loop adds and removes.

        loop: Where async handlers run.

        queues: What to sweep.

        lease: How long claims and beats last.

        sweep: How often to sweep.

        settled: To be called on the loop for a run that the keeper has settled.

        queued: To be called on the loop when a sweep has moved jobs.

        observer: Observes the changes that were made, on any thread.

        failed: To be called on the loop when the keeper cannot continue.

        blocked: Called on the guard's thread, with how many seconds the loop has not answered.
    """

    def __init__(
        self,
        engine: Engine,
        runs: Mapping[object, Run],
        loop: AbstractEventLoop,
        *,
        queues: Sequence[str],
        lease: timedelta,
        sweep: timedelta,
        settled: Callable[[Run], None],
        queued: Callable[[], None],
        observer: Observer,
        failed: Callable[[str], None],
        blocked: Callable[[float], None],
    ) -> None:
        own = engine.within(lease / 6)
        table = Table(own, runs, loop, queues, lease, settled, observer, Complaints())
        self._ending = threading.Event()
        limits = TimeLimits(table)
        self._cancels = WatchCancels(table, self._ending, lambda: bool(limits.late))
        renewing = RenewLeases(table, self._cancels.look_at)
        sweeping = Sweep(table, sweep, queued)
        self._threads = (
            DutyThread(
                "stanchion-keeper",
                (RecordTimeouts(table, limits.late), renewing, self._cancels),
                self._ending,
            ),
            DutyThread(
                "stanchion-sweeper",
                (sweeping, Tick(table, self._ending, lambda: sweeping.pause)),
                self._ending,
            ),
        )
        self._guard = Guard(
            table, (limits, AbandonRuns(table)), self._threads, failed=failed, blocked=blocked
        )
        self._owned = own.backend if own.backend is not engine.backend else None

    def start(self) -> None:
        """Begin to keep."""
        for thread in (*self._threads, self._guard):
            thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it still looks after the runs."""
        return self._guard.is_alive

    async def stop(self, within: float) -> None:
        """End.

        Args:
            within: Seconds to wait for calls under way. A thread that still waits for an answer then is left behind:
                it is a daemon, and changes nothing more than its call does.
        """
        self._ending.set()
        self._guard.stop()
        self._cancels.close()
        loop = asyncio.get_running_loop()
        _, left = await asyncio.wait([thread.ended(loop) for thread in self._threads], timeout=within)
        for one in left:
            one.cancel()
        self._cancels.close()  # it may have begun to watch just now
        if self._owned is not None:
            self._owned.close()
