"""The worker: its public face, and how its parts are put together."""

import asyncio
import os
import socket
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from typing import Final

from stanchion.app.application import Stanchion
from stanchion.app.tasks import Definition
from stanchion.context import StopReason
from stanchion.contract.answers import Claimed
from stanchion.errors import InvalidArgument, StanchionError
from stanchion.errors.logs import logger
from stanchion.model.ids import new_key
from stanchion.model.queues import check_queue
from stanchion.model.signals import Ended
from stanchion.worker.blocked import BlockedLoop
from stanchion.worker.calling import handed_back
from stanchion.worker.claiming import ClaimLoop, Claims, cancelled, share
from stanchion.worker.keeper import Keeper
from stanchion.worker.leftovers import Leftovers
from stanchion.worker.log import JobLog
from stanchion.worker.loops import run_on_own_loop
from stanchion.worker.runner import Runner, Runners
from stanchion.worker.runs import Act, Run
from stanchion.worker.session import Session
from stanchion.worker.settling import Settler
from stanchion.worker.signals import StopSignals
from stanchion.worker.slots import Slots
from stanchion.worker.starting import Starter
from stanchion.worker.stopping import Stopping

_log: Final = logger("stanchion.worker")

RELEASING: Final = 0.25
"""Seconds to release the loop's connections."""


class Worker:
    """Runs the jobs of an application.

    Args:
        app: The application whose tasks it knows.

        queues: Queues to claim from, in strict order. Defaults to those of the application's tasks.

        burst: Stop once nothing can be claimed and nothing runs here.

    Concurrency, lease, sweep and grace are the application's settings (see `stanchion.app.config.Config`).

    Raises:
        InvalidArgument: There is no queue to claim from, or a name is not valid.
    """

    def __init__(self, app: Stanchion, *, queues: Sequence[str] | None = None, burst: bool = False) -> None:
        own = dict.fromkeys(task.options.queue for task in app.tasks.values())
        self.queues = [check_queue(queue) for queue in (own if queues is None else queues)]
        """What it claims from, in this order."""
        if not self.queues:
            raise InvalidArgument(
                "cannot start a worker without a queue: the application has no tasks; name one with queues=[…]"
            )
        self.name = f"{socket.gethostname()}-{os.getpid()}-{new_key()[-6:]}"
        """Its name, never used by another worker."""
        self._app, self._engine, self._config = app, app.engine, app.config
        lease, grace = self._config.lease.total_seconds(), self._config.grace.total_seconds()
        self._slots = slots = Slots(self._config.concurrency)
        self._settler = settler = Settler(self._engine, slots.settled, JobLog())
        self._claims = claims = Claims(self._engine, self.queues, self.name, self._config.lease)
        most = share(slots.most, self._engine.backend)
        self._claiming = ClaimLoop(claims, slots, self._claim, share=most, burst=burst)
        self._starter = Starter(
            slots, settler, lease, definition=self._definition, runner=self._runner, left=self._left
        )
        self._stopping = stopping = Stopping(self.name, grace, slots)
        self._leftovers = leftovers = Leftovers(self._engine, slots, settler)
        self._blocked = BlockedLoop(self.name, lease, slots=slots, stopping=stopping, leftovers=leftovers)
        self._runners = Runners(slots.most, app.plugins, self._left)

    def run(self) -> None:
        """Work until stopped by SIGTERM, SIGINT or SIGHUP, or for a burst until there is nothing to do.

        A second signal ends the grace. Returns although a handler does not; look at `stuck` afterwards.

        Raises:
            StanchionError: The worker cannot continue.
        """
        with StopSignals(self._stopping.signal):
            run_on_own_loop(self._run())

    async def _run(self) -> None:
        self._blocked.owns_process = True
        try:
            await self.main()
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(RELEASING):
                    await self._engine.release_async_backend()

    @property
    def stuck(self) -> list[str]:
        """The ids of the jobs whose handlers did not end in time, once the worker has stopped.

        Unless they are past their time limit, they still hold their jobs: call `abandon` immediately before the process
        exits, or wait for them.
        """
        return self._leftovers.stuck

    @property
    def unrecorded(self) -> int:
        """How many outcomes could not be recorded before the worker stopped; `abandon` tries once more."""
        return self._leftovers.unrecorded

    def abandon(self) -> None:
        """Hand back the jobs whose handlers did not end, and record what could not be recorded yet.

        Nothing may run after this but the process's exit.

        Raises:
            BackendError: The backend did not take it within `stanchion.worker.leftovers.LAST_CALL`.
        """
        self._leftovers.hand_back()

    async def main(self, *, signals: bool = False) -> None:
        """Work on the running loop until stopped.

        Args:
            signals: Stop at SIGTERM, SIGINT and SIGHUP; a second one stops without waiting for handlers. The process
                then belongs to the worker: if its loop is blocked for good, it ends with exit code 1.

        Raises:
            StanchionError: The worker cannot continue: a thread of its keeper has ended, for instance.
        """
        self._begin(asyncio.get_running_loop())
        self._runners.make_ready()
        self._blocked.owns_process = self._blocked.owns_process or signals
        try:
            with StopSignals(self._stopping.signal) if signals else nullcontext():
                await self._session().work()
        finally:
            self._runners.close()
        if self._stopping.failure:
            raise StanchionError(f"worker {self.name} ended: {self._stopping.failure}")

    def _session(self) -> Session:
        keeper = Keeper(
            self._engine,
            self._slots.runs,
            asyncio.get_running_loop(),
            queues=self.queues,
            lease=self._config.lease,
            sweep=self._config.sweep,
            settled=self._slots.settled,
            queued=self._claiming.wake_up,
            observer=JobLog(),
            failed=self._stopping.fail,
            blocked=self._blocked.look,
        )
        return Session(
            self.name,
            self.queues,
            self._app.plugins,
            keeper,
            self._claiming,
            self._settler,
            slots=self._slots,
            stopping=self._stopping,
            leftovers=self._leftovers,
        )

    async def step(self, *, limit: int | None = None) -> int:
        """Sweep once, claim once, run what was claimed to its end and settle it.

        For tests: no keeper runs, so with a virtual clock nothing happens but this.

        Args:
            limit: How many jobs to claim at most. Defaults to as many as a worker runs at a time.

        Returns:
            How many jobs were run.
        """
        self._begin()
        await self._engine.acall(self._engine.sweep(self.queues))
        claimed = await self._claim(self._slots.most if limit is None else limit)
        delivery = asyncio.create_task(self._settler.deliver())
        try:
            await self._slots.left(self._slots.holding)
            await self._settler.emptied()
        finally:
            await cancelled(delivery)
        return len(claimed.records)

    def stop(self) -> None:
        """Stop claiming, give handlers their grace, hand back what did not end. The second call ends the grace.

        Call it on the worker's loop.
        """
        self._stopping.request()

    def _begin(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Make what belongs to the running loop.

        Args:
            loop: Where signals ask to stop. Defaults to `None`: no signal will come.
        """
        self._slots.begin()
        self._settler.begin()
        self._stopping.begin(loop)
        self._runners.begin()

    async def _claim(self, limit: int) -> Claimed:
        claimed, asked_at = await self._claims.claim(limit)
        self._starter.start(claimed.records, asked_at)
        return claimed

    def _definition(self, task: str) -> Definition | None:
        return self._app.tasks.get(task)

    def _runner(self, definition: Definition) -> Runner:
        return self._runners.of(definition)

    def _left(self, run: Run, outcome: Ended | None) -> None:
        """Record the outcome of a run that holds its slot no more, unless it was decided without its handler."""
        if self._stopping.is_over:
            return  # the loop is ending, and cancels what waits for handlers that did not end
        self._slots.leave(run)
        run.raised(None)
        is_ours = run.is_own if run.started else run.move(Act.DECIDE) is not None
        if is_ours:
            self._settler.put(run, handed_back(run) if outcome is None else outcome)
        elif run.started:
            when = "its time limit" if run.stop is StopReason.TIMEOUT else "its lease was lost"
            _log.warning(
                "%s %s: handler finished after %s; result discarded", run.record.id, run.record.task, when
            )
