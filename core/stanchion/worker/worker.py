"""The worker: claims jobs as slots become free, starts their handlers, and ends in time."""

import asyncio
import os
import socket
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import nullcontext, suppress
from datetime import timedelta
from functools import partial
from typing import Final

from stanchion.app.application import Stanchion
from stanchion.app.tasks import Definition
from stanchion.codec.failures import failure_of
from stanchion.codec.payloads import policy_of
from stanchion.context import StopReason
from stanchion.contract.answers import Claimed
from stanchion.engine.engine import Report
from stanchion.engine.threads import Threads
from stanchion.errors import InvalidArgument, StanchionError
from stanchion.errors.logs import logger
from stanchion.model.decisions import Ended, Failed, TaskUnknown
from stanchion.model.ids import new_key
from stanchion.model.queues import check_name
from stanchion.model.records import Record
from stanchion.worker.claiming import Claims, cancelled, share
from stanchion.worker.executors import handed_back, perform
from stanchion.worker.keeper import Keeper
from stanchion.worker.keeper.timeouts import timed_out
from stanchion.worker.leaving import leave
from stanchion.worker.log import log_change
from stanchion.worker.loops import run_on_own_loop
from stanchion.worker.runs import IN_HANDLER, Act, Lease, Phase, Run, monotonic
from stanchion.worker.settling import PAUSES, Settler
from stanchion.worker.shutdown import Budget
from stanchion.worker.signals import StopSignals

_log: Final = logger("stanchion.worker")

BLOCKED: Final = 1.0
"""Seconds that a loop does not answer until it counts as blocked."""

RELEASING: Final = 0.25
"""Seconds to give the loop's connections back."""

LAST_CALL: Final = timedelta(seconds=0.5)
"""How long the backend may take to take back what a process holds that is about to end."""


class Worker:
    """Runs the jobs of an application.

    Args:
        app: The application whose tasks it knows.

        queues: Which queues to claim from, in strict order; defaults to those of the application's tasks.

        burst: Stop once nothing can be claimed and nothing runs here.

    Concurrency, lease, sweep and grace are the application's settings (see `stanchion.app.config.Config`).

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
        self._app, self._engine, self._burst, self._config = app, app.engine, burst, app.config
        self._runs: dict[object, Run] = {}
        self._lingering: set[Run] = set()
        self._held: list[Run] = []
        self._active = 0
        self._share = share(self._config.concurrency, self._engine.backend)
        self._claims = Claims(self._engine, self.queues, self.name, self._config.lease)
        self._stopping = self._nudged = self._over = self._owns_process = False
        self._stop_requests: list[float] = []
        self._failure = ""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._begin()
        self._threads: Executor | None = None

    def run(self) -> None:
        """Work until stopped by SIGTERM, SIGINT or SIGHUP, or for a burst until there is nothing to do.

        A second signal ends the grace. Returns although a handler does not; look at `stuck` afterwards.

        Raises:
            StanchionError: The worker cannot go on.
        """
        with StopSignals(self._ask_to_stop):
            run_on_own_loop(self._run())

    async def _run(self) -> None:
        self._owns_process = True
        try:
            await self.main()
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(RELEASING):
                    await self._engine.release_twin()

    @property
    def stuck(self) -> list[str]:
        """The ids of the jobs whose handlers did not end in time, once the worker has stopped.

        Unless their time was up before, they still hold their jobs: call `abandon` immediately before the process
        exits, or wait for them.
        """
        return [run.record.id for run in (*self._held, *self._lingering)]

    @property
    def unrecorded(self) -> int:
        """How many outcomes could not be recorded before the worker stopped; `abandon` tries once more."""
        return len(self._settler.unsent)

    def abandon(self) -> None:
        """Hand back the jobs whose handlers did not end, and record what could not be recorded yet.

        Nothing may run after this but the process's exit.

        Raises:
            BackendError: The backend did not take it within `LAST_CALL`.
        """
        held = [_last_report(run) for run in self._held]
        if not held and not self.unrecorded:
            return
        last = self._engine.within(LAST_CALL)
        try:
            last.run(last.report([*self._settler.unsent, *held]))
        finally:
            if last.backend is not self._engine.backend:
                last.backend.close()

    async def main(self, *, signals: bool = False) -> None:
        """Work on the running loop until stopped.

        Args:
            signals: Stop at SIGTERM, SIGINT and SIGHUP; a second one stops without waiting for handlers. The process
                then belongs to the worker: if its loop is blocked for good, it ends with exit code 1.

        Raises:
            StanchionError: The worker cannot go on: a thread of its keeper has ended, for instance.
        """
        loop = asyncio.get_running_loop()
        self._begin()
        self._threads = self._threads or Threads("stanchion-handler", self._config.concurrency, ready=1)
        keeper = Keeper(
            self._engine,
            self._runs,
            loop,
            queues=self.queues,
            lease=self._config.lease,
            sweep=self._config.sweep,
            settled=self._forget,
            queued=self.nudge,
            changed=log_change,
            failed=self._fail,
            blocked=self._blocked,
        )
        self._loop = loop
        self._owns_process = self._owns_process or signals
        with StopSignals(self._ask_to_stop) if signals else nullcontext():
            await self._work(keeper)
        if self._failure:
            raise StanchionError(f"worker {self.name} ended: {self._failure}")

    async def _work(self, keeper: Keeper) -> None:
        delivery = asyncio.create_task(self._settler.deliver())
        delivery.add_done_callback(self._delivered)
        try:
            keeper.start()
            self._app.plugins.tell("worker_started", worker=self.name)
            queues, slots = ", ".join(self.queues), self._config.concurrency
            _log.info("worker %s serves %s, %d at a time", self.name, queues, slots)
            await self._until_stopped(asyncio.create_task(self._claim_until_stopped(keeper)))
        except asyncio.CancelledError:
            self._budget.hurry()
            raise
        finally:
            await self._end(asyncio.create_task(self._shut_down(keeper, delivery)))

    async def _end(self, shutdown: "asyncio.Task[None]") -> None:
        """Wait for the shutdown, whoever cancels meanwhile: that is no more than a hurry."""
        was_cancelled = False
        while not shutdown.done():
            try:
                await asyncio.shield(shutdown)
            except asyncio.CancelledError:
                was_cancelled = True
                self._budget.hurry()
        shutdown.result()
        if was_cancelled:
            raise asyncio.CancelledError

    async def step(self, *, limit: int | None = None) -> int:
        """Sweep once, claim once, run what was claimed to its end and settle it.

        For tests: no keeper runs, so with a virtual clock nothing happens but this.

        Args:
            limit: How many to claim at most; defaults to as many as a worker runs at a time.

        Returns:
            How many jobs were run.
        """
        self._begin()
        await self._engine.arun(self._engine.sweep(self.queues))
        claimed = await self._claim(self._config.concurrency if limit is None else limit)
        delivery = asyncio.create_task(self._settler.deliver())
        try:
            tasks = [run.task for run in self._runs.values() if run.task is not None]
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._settler.emptied()
        finally:
            await cancelled(delivery)
        return len(claimed.records)

    def stop(self) -> None:
        """Stop claiming, give handlers their grace, hand back what did not end. Twice: without grace.

        Call it on the worker's loop.
        """
        if self._stopping:
            self._budget.hurry()
        else:
            _log.info("worker %s is stopping, %d jobs are running", self.name, self._active)
        self._stopping = True
        self._budget.begin()
        self._stop_wanted.set()

    def nudge(self) -> None:
        """Look for jobs now: the keeper has queued some, and their wake may have gone to a worker that is no more.

        Call it on the worker's loop.
        """
        self._nudged = True
        self._wanted.set()

    def _begin(self) -> None:
        """Make what belongs to the running loop."""
        self._wanted, self._stop_wanted = asyncio.Event(), asyncio.Event()
        self._settler = Settler(self._engine, self._forget, log_change)
        self._budget = Budget(self._config.grace.total_seconds())

    # Claiming and starting.

    async def _until_stopped(self, claiming: "asyncio.Task[None]") -> None:
        """Claim until there is nothing more to do, or until stopped, whatever the backend is asked just then."""
        stopping = asyncio.create_task(self._stop_wanted.wait())
        try:
            await asyncio.wait({claiming, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if claiming.done():
                claiming.result()
        finally:
            await cancelled(claiming, stopping)

    async def _claim_until_stopped(self, keeper: Keeper) -> None:
        failures = 0
        while not self._stopping:
            if not keeper.is_alive:
                self._fail("the guard of its runs has ended")
                return
            free = self._config.concurrency - self._active
            if free <= 0 or len(self._runs) >= 2 * self._config.concurrency:
                if len(self._lingering) >= self._config.concurrency:
                    _log.error(
                        "all %d slots are held by timed-out handlers; not claiming", len(self._lingering)
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
                _log.warning("could not claim, trying again: %s", error, exc_info=trace)
                await self._until_wanted(PAUSES[min(failures, len(PAUSES) - 1)])
                failures += 1

    async def _claim(self, limit: int) -> Claimed:
        claimed, asked_at = await self._claims.claim(limit)
        for record in claimed.records:
            self._start(record, Lease(asked_at, self._config.lease.total_seconds()))
        return claimed

    async def _idle(self, claimed: Claimed) -> None:
        """Wait for a wake, the next due time, or to be stopped; a burst, for its last runs to end."""
        if not self._burst:
            await self._claims.idle(claimed, asyncio.create_task(self._until_nudged()))
        elif self._runs:
            await self._until_wanted(0.05)

    async def _until_nudged(self) -> None:
        while not self._nudged:
            await self._until_wanted(None)

    async def _until_wanted(self, timeout: float | None) -> None:
        """Wait until a slot became free or there may be jobs."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):  # `wait_for` can swallow a cancellation before Python 3.12
                await self._wanted.wait()
        self._wanted.clear()

    def _start(self, record: Record, lease: Lease) -> None:
        """Start the handler of a job, unless the answer came too late for that or the worker is stopping."""
        now = monotonic()
        run = Run(record, lease, now)
        self._runs[record.id, record.claim] = run
        if self._stopping or now >= lease.let_go_at:
            self._release(run)
            return
        self._active += 1
        run.task = asyncio.create_task(
            perform(run, self._definition(record.task), self._app.plugins, self._executor)
        )
        run.task.add_done_callback(partial(self._done, run))

    def _release(self, run: Run) -> bool:
        """Hand back a run if it was not entered.

        Returns:
            `True` if it was handed back.
        """
        if run.move(Act.DECIDE) is None:
            return False
        self._settler.put(run, handed_back(run))
        return True

    @property
    def _executor(self) -> Executor:
        """What calls sync handlers; not made before there is a use for it, so that a worker can be forked with."""
        if self._threads is None:
            self._threads = Threads("stanchion-handler", self._config.concurrency)
        return self._threads

    def _definition(self, task: str) -> Definition | None:
        return self._app.tasks.get(task)

    # Ends of runs.

    def _done(self, run: Run, task: "asyncio.Task[Ended | None]") -> None:
        """The handler has left, or was never entered: record what it means, unless that is decided already."""
        if self._over:
            return  # the loop is ending, and cancels what waits for handlers that did not end
        self._active -= 1
        self._lingering.discard(run)
        self._wanted.set()
        outcome = self._outcome(run, task)
        run.error = None  # its traceback would keep alive all that the handler had in hand
        is_ours = run.is_own if run.started else run.move(Act.DECIDE) is not None
        if is_ours:
            self._settler.put(run, handed_back(run) if outcome is None else outcome)
        elif run.started:
            _log.warning(
                "%s %s: handler finished after its job was taken from it", run.record.id, run.record.task
            )

    def _outcome(self, run: Run, task: "asyncio.Task[Ended | None]") -> Ended | None:
        if task.cancelled():
            return handed_back(run)
        error = task.exception()
        if error is not None:
            _log.error("%s %s: the worker failed to run it", run.record.id, run.record.task, exc_info=error)
            return Failed(failure=failure_of(error, run.record.run))
        outcome = task.result()
        if isinstance(outcome, TaskUnknown):
            _log.error(
                "%s: task %r is not registered in this worker; rescheduled", run.record.id, run.record.task
            )
        return outcome

    def _forget(self, run: Run) -> None:
        """The run's outcome is known to the backend, or never will be: it needs no lease any more."""
        run.move(Act.SETTLE)
        self._runs.pop((run.record.id, run.record.claim), None)
        if run.phase is Phase.LINGERING:
            self._lingering.add(run)
        self._wanted.set()

    # Stopping.

    async def _shut_down(self, keeper: Keeper, delivery: "asyncio.Task[None]") -> None:
        """Give handlers their grace, ask them to stop, and record what is left; all within one budget."""
        self._stopping = True
        self._budget.begin()
        asking = asyncio.create_task(self._ask_once_more())
        try:
            await self._let_handlers_end()
            await self._budget.stopping([asking])
            if not await self._budget.within(self._all_recorded()):
                _log.error("could not record the outcomes of %d runs before the end", self.unrecorded)
        finally:
            self._over = True
            await cancelled(asking, delivery)
            await keeper.stop(self._budget.left)
            self._held = [run for run in self._runs.values() if run.phase in IN_HANDLER]
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._threads = None
            self._app.plugins.tell("worker_stopped", worker=self.name)
            _log.info("worker %s stopped", self.name)

    async def _let_handlers_end(self) -> None:
        for run in list(self._runs.values()):
            self._release(run)
        running = [run for run in self._runs.values() if run.started and run.task is not None]
        tasks = [run.task for run in running if run.task is not None]
        await self._budget.grace(tasks)
        for run in running:
            if run.task is not None and not run.task.done():
                run.ask_to_stop(StopReason.SHUTDOWN)
                if run.is_async:
                    run.task.cancel()
        await self._budget.stopping(tasks)

    async def _all_recorded(self) -> None:
        """Wait until only runs are left whose handlers have not ended; some outcomes are the keeper's to record."""
        while any(run.phase is not Phase.IN_HANDLER for run in list(self._runs.values())):
            await self._until_wanted(0.05)

    async def _ask_once_more(self) -> None:
        """Hear what a claim has taken that was not answered: it is handed back."""
        if self._claims.is_unanswered:
            with suppress(StanchionError):
                await self._claim(1)

    def _ask_to_stop(self) -> None:
        """A signal came: ask the loop, and remember when, in case that it is blocked."""
        self._stop_requests.append(monotonic())
        with suppress(RuntimeError):  # the loop is closed already
            if self._loop is None:
                self.stop()
            else:
                self._loop.call_soon_threadsafe(self.stop)

    def _fail(self, why: str) -> None:
        """End, since the worker cannot go on."""
        if self._over or self._failure:
            return
        self._failure = why
        if not self._stopping:
            self.stop()
        _log.critical("worker %s ends: %s", self.name, why)

    def _delivered(self, delivery: "asyncio.Task[None]") -> None:
        if self._over or (delivery.cancelled() and delivery.cancelling()):
            return  # it was asked to end, by us or as `asyncio.run` does with every task at its end
        error = None if delivery.cancelled() else delivery.exception()
        self._fail(f"outcomes can no longer be recorded: {error!r}")

    def _blocked(self, silent: float) -> None:
        """On the guard's thread: end the process if its loop is blocked for good, and it belongs to the worker."""
        if not self._owns_process or silent < BLOCKED:
            return
        asked = self._stop_requests
        allowed = self._budget.whole if len(asked) == 1 else 2 * BLOCKED
        if asked and monotonic() - asked[-1] > allowed:
            self._end_process(silent)
        own = (run for run in list(self._runs.values()) if run.phase is Phase.IN_HANDLER and run.is_async)
        if silent >= self._config.lease.total_seconds() and not any(own):
            self._end_process(silent)

    def _end_process(self, silent: float) -> None:
        """Hand back what is held, and end from here: nothing would ever run on the loop again."""
        _log.critical("the loop has been blocked for %.3g s; worker %s ends its process", silent, self.name)
        self._held = [
            run for run in list(self._runs.values()) if run.move(Act.OVERRULE) or run.move(Act.DECIDE)
        ]
        try:
            self.abandon()
        except StanchionError as error:
            _log.error(
                "could not hand back %d jobs; they wait for the end of their leases: %s",
                len(self._held),
                error,
            )
        finally:
            leave(1)


def _last_report(run: Run) -> Report:
    """Return what is said of a run whose handler did not end: its time-out, or that it is handed back."""
    if run.stop is StopReason.TIMEOUT:
        return timed_out(run)
    return Report(run.record, handed_back(run), policy_of(run.record.spec))
