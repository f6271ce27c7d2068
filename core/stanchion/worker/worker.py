"""The worker: claims jobs as slots become free, and starts their handlers."""

import asyncio
import os
import signal
import socket
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any, Final

from stanchion.app import Stanchion
from stanchion.backend import Backend, HasAsync
from stanchion.config import Config
from stanchion.decisions import Ended, Failed, TaskUnknown, hand_back
from stanchion.engine import Report
from stanchion.errors import InvalidArgument, StanchionError
from stanchion.jobs import Record, new_key
from stanchion.logs import logger
from stanchion.payloads import failure_of, policy_of
from stanchion.queries import Claimed
from stanchion.queues import check_name
from stanchion.tasks import Definition
from stanchion.worker.executors import perform
from stanchion.worker.keeper import Keeper
from stanchion.worker.runs import Run, Stop, monotonic
from stanchion.worker.settling import PAUSES, Outbox

_log: Final = logger("stanchion.worker")

POLL: Final = timedelta(seconds=5)
"""How often an idle worker looks for jobs although nothing woke it: the cost of a lost wake."""

_CANCELLED: Final = 1.0
"""Seconds that cancelled handlers have to end, once the grace of a shutdown is over."""


class Worker:
    """Runs the jobs of an application.

    Args:
        app: The application whose tasks it knows.

        queues: Which queues to claim from, in strict order; those of the application's tasks unless given.

        burst: Stop once nothing can be claimed and nothing runs here.

    Concurrency, lease, sweep and grace are the application's settings (see `stanchion.config.Config`).

    Raises:
        InvalidArgument: There is no queue to claim from, or a name is none.
    """

    def __init__(self, app: Stanchion, *, queues: Sequence[str] | None = None, burst: bool = False) -> None:
        own = dict.fromkeys(task.options.queue for task in app.tasks.values())
        self.queues = [check_name(queue) for queue in (own if queues is None else queues)]
        """What it claims from, in this order."""
        if not self.queues:
            raise InvalidArgument("a worker needs a queue: the application has no tasks, and none were named")
        self.name = f"{socket.gethostname()}-{os.getpid()}-{new_key()[-6:]}"
        """Its name, never used by another worker."""
        self._app, self._engine, self._burst = app, app.engine, burst
        self._config: Config = app.config
        self._runs: dict[object, Run] = {}
        self._overdue: set[Run] = set()
        self._active = 0
        self._share = _share(self._config.concurrency, self._engine.backend)
        """How many jobs one claim takes at most."""
        self._unanswered: tuple[str, float] | None = None
        """The id of a claim that was not answered, and when it was first asked for."""
        self._held: list[Run] = []
        self._stopping = self._nudged = self._over = False
        self._begin()
        self._threads: Executor = ThreadPoolExecutor(self._config.concurrency, "stanchion-handler")

    def run(self) -> None:
        """Work until stopped by SIGTERM or SIGINT, or for a burst until there is nothing to do.

        Look at `stuck` afterwards.
        """
        asyncio.run(self._run())

    async def _run(self) -> None:
        try:
            await self.main(signals=True)
        finally:
            await self._engine.release_twin()

    @property
    def stuck(self) -> list[str]:
        """The ids of the jobs whose threads did not return in time, once the worker has stopped.

        Unless their time was up before, they still hold their jobs: call `abandon` immediately before the process
        exits, or wait for them.
        """
        return [run.record.id for run in (*self._held, *self._overdue)]

    def abandon(self) -> None:
        """Hand back the jobs of threads that did not return. Nothing may run after this but the process's exit."""
        held = [Report(run.record, self._handed_back(run), policy_of(run.record.spec)) for run in self._held]
        self._engine.run(self._engine.report([*self._outbox.unsent, *held]))

    async def main(self, *, signals: bool = False) -> None:
        """Work on the running loop until stopped.

        Args:
            signals: Stop at SIGTERM and SIGINT; a second one stops without waiting for handlers.
        """
        loop = asyncio.get_running_loop()
        self._begin()
        if signals:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self.stop)
        keeper = Keeper(
            self._engine,
            self._runs,
            loop,
            queues=self.queues,
            lease=self._config.lease,
            sweep=self._config.sweep,
            settled=self._forget,
            queued=self.nudge,
        )
        delivery = asyncio.create_task(self._outbox.deliver())
        keeper.start()
        self._app.plugins.tell("worker_started", worker=self.name)
        _log.info(
            "worker %s serves %s, %d at a time", self.name, ", ".join(self.queues), self._config.concurrency
        )
        try:
            try:
                await self._claim_until_stopped()
            except asyncio.CancelledError:
                self._stopping = True
                self._hurry.set()
                raise
            finally:
                await self._shut_down()
        finally:
            if signals:
                for number in (signal.SIGTERM, signal.SIGINT):
                    loop.remove_signal_handler(number)
            keeper.stop()
            delivery.cancel()
            await asyncio.gather(delivery, return_exceptions=True)
            await asyncio.to_thread(keeper.join)
            self._over = True
            self._held = [run for run in self._runs.values() if _in_handler(run)]
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._app.plugins.tell("worker_stopped", worker=self.name)
            _log.info("worker %s stopped", self.name)

    async def step(self, *, limit: int | None = None) -> int:
        """Sweep once, claim once, run what was claimed to its end and settle it; how many were.

        For tests: no keeper runs, so with a virtual clock nothing happens but this.

        Args:
            limit: How many to claim at most; as many as a worker runs at a time unless given.
        """
        self._begin()
        await self._engine.arun(self._engine.sweep(self.queues))
        claimed = await self._claim(self._config.concurrency if limit is None else limit)
        delivery = asyncio.create_task(self._outbox.deliver())
        try:
            tasks = [run.task for run in self._runs.values() if run.task is not None]
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._outbox.emptied()
        finally:
            delivery.cancel()
            await asyncio.gather(delivery, return_exceptions=True)
        return len(claimed.records)

    def stop(self) -> None:
        """Stop claiming, give handlers their grace, hand back what did not end. Twice: without grace.

        Call it on the worker's loop.
        """
        if self._stopping:
            self._hurry.set()
        else:
            _log.info("worker %s is stopping, %d jobs are running", self.name, self._active)
        self._stopping = True
        self._wanted.set()

    def nudge(self) -> None:
        """Look for jobs now: the keeper has queued some, and their wake may have gone to a worker that is no more.

        Call it on the worker's loop.
        """
        self._nudged = True
        self._wanted.set()

    def _begin(self) -> None:
        """Make what belongs to the running loop."""
        self._wanted = asyncio.Event()
        self._hurry = asyncio.Event()
        self._outbox = Outbox(self._engine, self._forget)

    async def _claim_until_stopped(self) -> None:
        failures = 0
        while not self._stopping:
            free = self._config.concurrency - self._active
            if free <= 0 or len(self._runs) >= 2 * self._config.concurrency:
                if len(self._overdue) >= self._config.concurrency:
                    _log.error(
                        "every slot is held by a thread whose time is up: nothing is claimed until one returns"
                    )
                await self._until_wanted(None)
                continue
            try:
                self._nudged = False
                claimed = await self._claim(min(free, self._share))
                failures = 0
                if claimed.more:
                    continue
                if self._burst and not claimed.records and not self._runs:
                    return
                await self._idle(claimed)
            except Exception as error:  # noqa: BLE001  # whatever the store holds or answers, a worker goes on
                trace = None if isinstance(error, StanchionError) else error
                _log.warning("cannot claim, trying again: %s", error, exc_info=trace)
                await self._until_wanted(PAUSES[min(failures, len(PAUSES) - 1)])
                failures += 1

    async def _claim(self, limit: int) -> Claimed:
        """Claim, and start what was claimed.

        A claim that was not answered may have been made: it is asked for again with its id, for as long as the
        leases it would have got last, so that its jobs need not wait for their end.
        """
        lease = self._config.lease
        if self._unanswered is None or monotonic() - self._unanswered[1] > lease.total_seconds():
            self._unanswered = (new_key(), monotonic())
        claim_id, asked_at = self._unanswered
        claimed = await self._engine.arun(self._engine.claim(self.queues, limit, self.name, lease, claim_id))
        self._unanswered = None
        for record in claimed.records:
            self._start(record, asked_at)
        return claimed

    async def _idle(self, claimed: Claimed) -> None:
        """Wait for a wake, the next due time, or to be stopped; a burst, for its last runs to end."""
        timeout = POLL
        if claimed.next_due_at is not None:
            timeout = min(POLL, max(timedelta(0), claimed.next_due_at - claimed.now))
        if self._burst:
            if self._runs:
                await self._until_wanted(min(timeout.total_seconds(), 0.05))
            return
        waiting = asyncio.create_task(self._engine.twin().wait(self.queues, timeout))
        stopping = asyncio.create_task(self._until_stopped_or_nudged())
        try:
            await asyncio.wait({waiting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                waiting.result()
        finally:
            pending: set[asyncio.Task[Any]] = {task for task in (waiting, stopping) if not task.done()}
            while pending:
                for task in pending:
                    task.cancel()  # again and again: one that comes while the driver connects is swallowed
                ended, pending = await asyncio.wait(pending, timeout=0.05)
                await asyncio.gather(*ended, return_exceptions=True)

    async def _until_stopped_or_nudged(self) -> None:
        while not (self._stopping or self._nudged):
            await self._until_wanted(None)

    async def _until_wanted(self, timeout: float | None) -> None:
        """Wait until a slot became free or the worker was stopped."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):  # `wait_for` can swallow a cancellation before Python 3.12
                await self._wanted.wait()
        self._wanted.clear()

    def _start(self, record: Record, claimed_at: float) -> None:
        run = Run(record, claimed_at, self._config.lease.total_seconds())
        self._runs[record.id, record.claim] = run
        self._active += 1
        definition = self._definition(record.task)
        run.task = asyncio.create_task(perform(run, definition, self._app.plugins, self._threads))
        run.task.add_done_callback(partial(self._done, run))
        if self._stopping:
            run.task.cancel()  # before it starts: it is handed back untouched

    def _definition(self, task: str) -> Definition | None:
        return self._app.tasks.get(task)

    def _done(self, run: Run, task: "asyncio.Task[Ended | None]") -> None:
        """The handler has left, or was never entered: send what it means, unless that is decided already."""
        if self._over:
            return  # the loop is ending, and cancels what waits for threads that did not return
        self._active -= 1
        self._overdue.discard(run)
        self._wanted.set()
        outcome = self._outcome(run, task)
        run.error = None  # its traceback would keep alive all that the handler had in hand
        if run.settled:
            if run.stop in (Stop.TIMEOUT, Stop.LEASE):
                _log.warning("job %s: its handler ended after the job was taken from it", run.record.id)
        elif outcome is not None:
            self._outbox.put(run, outcome)

    def _outcome(self, run: Run, task: "asyncio.Task[Ended | None]") -> Ended | None:
        if task.cancelled():
            return self._handed_back(run)
        error = task.exception()
        if error is not None:
            _log.error("job %s: the worker failed to run it", run.record.id, exc_info=error)
            return Failed(failure=failure_of(error, run.record.run))
        outcome = task.result()
        if isinstance(outcome, TaskUnknown):
            _log.error(
                "job %s: task %r is not registered here; it is put off", run.record.id, run.record.task
            )
        return outcome

    def _forget(self, run: Run) -> None:
        """The run's outcome is known to the backend: it needs no lease any more."""
        self._runs.pop((run.record.id, run.record.claim), None)
        if run.task is not None and not run.task.done():
            self._overdue.add(run)
        self._wanted.set()

    async def _shut_down(self) -> None:
        if self._unanswered is not None:
            with suppress(StanchionError):
                await self._claim(1)  # what it took, if it took anything, is handed back
        tasks = {run.task for run in self._runs.values() if run.task is not None and not run.task.done()}
        if tasks:
            hurry = asyncio.create_task(self._hurry.wait())
            grace = asyncio.create_task(asyncio.wait(tasks))
            await asyncio.wait(
                {hurry, grace},
                timeout=self._config.grace.total_seconds(),
                return_when=asyncio.FIRST_COMPLETED,
            )
            hurry.cancel()
            for run in list(self._runs.values()):
                if run.task is not None and not run.task.done():
                    run.stop = run.stop or Stop.SHUTDOWN
                    if run.job is not None:
                        run.job.cancel()
                    if run.definition is not None and run.definition.is_async:
                        run.task.cancel()
            await asyncio.wait({grace}, timeout=_CANCELLED)
            grace.cancel()
        try:
            await asyncio.wait_for(self._outbox.emptied(), self._config.lease.total_seconds())
        except TimeoutError:
            _log.error(
                "the outcomes of %d runs could not be recorded before the worker ended", len(self._runs)
            )

    def _handed_back(self, run: Run) -> Ended:
        notes, append = run.job.take() if run.job else ({}, {})
        return hand_back(policy_of(run.record.spec), started=run.started, notes=notes, append=append)


def _share(slots: int, backend: Backend) -> int:
    """How many jobs to claim at once: while one half runs, a store looks for the other.

    Unless its verbs run on the loop, where nothing runs meanwhile.
    """
    return max(slots // 2, min(slots, 10)) if isinstance(backend, HasAsync) else slots


def _in_handler(run: Run) -> bool:
    return run.task is not None and not run.task.done() and not run.settled
