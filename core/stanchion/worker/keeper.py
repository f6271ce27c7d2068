"""The keeper: a thread beside the loop that keeps a worker's leases, so that no handler can stop it.

It extends leases, sends what handlers wrote, hears of requests to cancel, ends runs that go past their limit,
sweeps what is due, and ticks plugins. It makes each call once, with a deadline of a sixth of the lease, on
connections of its own.
"""

import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import cycle
from typing import Final

from stanchion.backend import Topic, Watch, WatchesJobs
from stanchion.changes import Applied
from stanchion.decisions import Beaten, TimedOut
from stanchion.engine import Engine, Report
from stanchion.errors import BackendError, Contended, JobNotFound, LeaseLost, StanchionError, Unavailable
from stanchion.logs import logger
from stanchion.payloads import Failure
from stanchion.worker.runs import Run, Stop, monotonic

_log: Final = logger("stanchion.worker")

TICK: Final = 1.0
"""Seconds between two calls of the hook `tick`."""

COMPLAINT: Final = 5.0
"""Seconds between two complaints about the same duty."""

PAUSE: Final = 0.25
"""Seconds that the keeper sleeps at most: how late it notices that it shall stop."""


class Keeper:
    """One worker's keeper.

    Args:
        engine: What to call the backend through; made for this thread.

        runs: The worker's runs by claim and job; the loop adds and removes, the keeper reads a copy.

        loop: Where async handlers run.

        queues: What to sweep.

        lease: How long claims and beats last.

        sweep: How often to sweep.

        settled: To be called on the loop for a run that the keeper has settled.

        queued: To be called on the loop when a sweep has moved jobs.
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
    ) -> None:
        self._thread = threading.Thread(target=self._keep, name="stanchion-keeper", daemon=True)
        self._engine = engine.within(lease / 6)
        self._runs, self._loop, self._queues = runs, loop, queues
        self._settled, self._queued = settled, queued
        self._lease, self._sweep = lease, sweep.total_seconds()
        self._lease_seconds = lease.total_seconds()
        self._swept_at = self._ticked_at = 0.0
        self._late: list[tuple[Run, Report]] = []
        self._unswept: list[str] = []
        self._complaints: dict[str, float] = {}
        self._watch: Watch | None = None
        self._own = self._engine.backend is not engine.backend
        self._ending = threading.Event()

    def start(self) -> None:
        """Begin to keep."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; it is gone within `PAUSE` and one call's deadline."""
        self._ending.set()

    def join(self) -> None:
        """Wait until the thread is gone."""
        self._thread.join()

    def _keep(self) -> None:
        duties = (self._time_out, self._beat, self._let_go, self._sweep_due, self._tick, self._listen)
        for duty in cycle(duties):
            if self._ending.is_set():
                break
            try:
                duty()
            except Exception as error:  # noqa: BLE001  # the leases of every run hang on this thread
                self._complain(duty.__name__, error)
        if self._watch is not None:
            self._watch.close()
        if self._own:
            self._engine.backend.close()

    def _complain(self, duty: str, error: Exception) -> None:
        """Log what a duty failed of, once in a while: it will be tried again within a moment."""
        now = monotonic()
        if now - self._complaints.get(duty, -COMPLAINT) >= COMPLAINT:
            self._complaints[duty] = now
            trace = None if isinstance(error, StanchionError) else error
            _log.warning(
                "the keeper could not %s: %s", duty.strip("_").replace("_", " "), error, exc_info=trace
            )

    @contextmanager
    def _apart(self, duty: str) -> Iterator[None]:
        """Complain of what one queue's store refuses, and go on with the others; an unreachable one ends the duty."""
        try:
            yield
        except BackendError as error:
            if isinstance(error, Unavailable):
                raise
            self._complain(duty, error)

    def _time_out(self) -> None:
        """Record runs that went past their limit as timed out, and tell their handlers to stop."""
        now = monotonic()
        for run in list(self._runs.values()):
            if _in_handler(run) and now >= run.deadline:
                run.settled = True
                self._stop(run, Stop.TIMEOUT)
                self._late.append((run, self._timed_out(run, now)))
        for queue in {run.record.queue for run, _ in self._late}:
            with self._apart("time out"):
                self._tell_late([one for one in self._late if one[0].record.queue == queue])

    def _tell_late(self, late: Sequence[tuple[Run, Report]]) -> None:
        answers = self._engine.run(self._engine.report([report for _, report in late]))
        for one, answer in zip(late, answers, strict=True):
            if not isinstance(answer, Contended):  # else it is told again with the next round
                self._late.remove(one)
                self._loop.call_soon_threadsafe(self._settled, one[0])

    def _timed_out(self, run: Run, now: float) -> Report:
        limit = run.policy.timeout.total_seconds()
        failure = Failure("timed_out", f"it ran past its limit of {limit:g} s", run=run.record.run)
        notes, append = run.job.take() if run.job else ({}, {})
        signal = TimedOut(failure=failure, notes=notes, append=append)
        return Report(run.record, signal, run.policy, timedelta(seconds=now - run.started_at))

    def _beat(self) -> None:
        """Extend the leases that are a third over, and send what handlers wrote."""
        now = monotonic()
        due = [run for run in list(self._runs.values()) if now >= run.beat_at or _has_news(run)]
        for queue in {run.record.queue for run in due}:
            with self._apart("beat"):
                self._beat_together([run for run in due if run.record.queue == queue], now)

    def _beat_together(self, due: Sequence[Run], now: float) -> None:
        taken = [run.job.take() if run.job else ({}, {}) for run in due]
        reports = [
            Report(run.record, Beaten(lease=self._lease, notes=notes, append=append), run.policy)
            for run, (notes, append) in zip(due, taken, strict=True)
        ]
        try:
            answers = self._engine.run(self._engine.report(reports))
        except StanchionError:
            for run, (notes, append) in zip(due, taken, strict=True):
                run.beat_at = now + self._lease_seconds / 12
                if run.job:
                    run.job.put_back(notes, append)
            raise
        touched = []
        for run, answer in zip(due, answers, strict=True):
            if isinstance(answer, Applied):
                run.lease_ends, run.beat_at = now + self._lease_seconds, now + self._lease_seconds / 3
                if answer.revision != run.revision:
                    touched.append(run)
            elif run.settled:
                run.beat_at = now + self._lease_seconds / 3  # its outcome was quicker than this beat
            elif isinstance(answer, LeaseLost):
                _log.warning("%s", answer)
                self._abandon(run)
        self._look_at(touched)

    def _let_go(self) -> None:
        """Stop handlers whose lease will be over before another beat could save it."""
        now = monotonic()
        for run in list(self._runs.values()):
            if not run.settled and now >= run.lease_ends - self._lease_seconds / 6:
                _log.error("job %s: its lease could not be extended, its handler is stopped", run.record.id)
                self._abandon(run)

    def _abandon(self, run: Run) -> None:
        run.settled = True
        self._stop(run, Stop.LEASE)
        self._loop.call_soon_threadsafe(self._settled, run)

    def _sweep_due(self) -> None:
        """Sweep each queue, a batch at a time: between two batches everything else has its turn."""
        now = monotonic()
        if now - self._swept_at >= self._sweep:
            self._swept_at = now
            self._unswept = list(self._queues)
        if not self._unswept:
            return
        queue = self._unswept.pop()
        with self._apart("sweep"):
            moved = self._engine.run(self._engine.sweep([queue], rounds=1))
            if moved >= self._engine.backend.limits.batch:
                self._unswept.append(queue)
            if moved:
                self._loop.call_soon_threadsafe(self._queued)
                self._engine.plugins.tell("swept", count=moved)

    def _tick(self) -> None:
        now = monotonic()
        if now - self._ticked_at >= TICK:
            self._ticked_at = now
            self._engine.plugins.tell("tick")

    def _listen(self) -> None:
        """Sleep until something is due, or a run was touched from outside."""
        pause = self._pause()
        if not isinstance(self._engine.backend, WatchesJobs):
            self._ending.wait(pause)
            return
        try:
            if self._watch is None:
                self._watch = self._engine.backend.watch(self._queues, Topic.TOUCHED)
            heard = self._watch.next(timedelta(seconds=pause))
        except StanchionError:
            self._ending.wait(pause)
            raise
        self._look_at([run for run in list(self._runs.values()) if run.record.id in heard])

    def _pause(self) -> float:
        if self._unswept:
            return 0.0
        now = monotonic()
        nexts = [now + PAUSE, self._swept_at + self._sweep, self._ticked_at + TICK]
        for run in list(self._runs.values()):
            nexts.append(run.beat_at)
            if _in_handler(run):
                nexts.append(run.deadline)
        return max(0.005, min(nexts) - now)

    def _look_at(self, runs: Sequence[Run]) -> None:
        """Stop the handlers of runs that somebody asked to cancel."""
        for run in runs:
            try:
                record = self._engine.run(self._engine.get(run.record.id))
            except JobNotFound:
                continue
            if record.claim != run.record.claim:
                continue
            run.revision = record.revision
            if record.cancel_requested and run.stop is None:
                self._stop(run, Stop.CANCEL)

    def _stop(self, run: Run, why: Stop) -> None:
        run.stop = run.stop or why
        if run.job is not None:
            run.job.cancel()
        if run.task is not None and run.definition is not None and run.definition.is_async:
            self._loop.call_soon_threadsafe(run.task.cancel)


def _in_handler(run: Run) -> bool:
    return run.started and run.ended_at is None and not run.settled


def _has_news(run: Run) -> bool:
    return run.job is not None and run.job.has_news and not run.settled
