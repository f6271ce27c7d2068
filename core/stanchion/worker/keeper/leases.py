"""Leases: extended while their runs make progress; otherwise handlers are asked to stop in time."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

from stanchion.context import StopReason
from stanchion.engine.reporting import Report
from stanchion.errors import Contended, LeaseLost
from stanchion.errors.logs import logger
from stanchion.model.changes import Applied
from stanchion.model.signals import Beaten
from stanchion.worker.calling import handed_back
from stanchion.worker.keeper.table import Table, by_queue
from stanchion.worker.runs import SETTLED, Act, Phase, Run, monotonic

_log: Final = logger("stanchion.worker")

NEVER_STARTED: Final = 1 / 6
"""At a beat, a run goes back that was known for this part of a lease and not entered: a worker that is well starts one
at once."""


class AbandonRuns:
    """Abandons runs whose lease ends before another beat could extend it; the guard's part, which never waits."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def look(self, now: float) -> None:
        """Stop the handlers of those runs; a decided outcome is still sent, since it may be accepted.

        Args:
            now: The time, in seconds of `monotonic`.
        """
        for run in self._table.now():
            if now >= run.lease.stop_at and abandon(self._table, run):
                _log.error(
                    "%s %s could not renew its lease in time; handler asked to stop",
                    run.record.id,
                    run.record.task,
                )


class RenewLeases:
    """Extends the leases that are a third over, and sends what handlers wrote; the keeper's part.

    A run that was not entered is not extended but handed back: the loop is blocked, or no thread is free.

    Args:
        table: The worker's runs.

        touched: Called with runs whose job was changed from outside.
    """

    name = "renew leases"

    def __init__(self, table: Table, touched: Callable[[Sequence[Run]], None]) -> None:
        self._table, self._touched = table, touched
        self._returned: dict[Run, Report] = {}

    def __call__(self) -> None:
        """Extend those that are due."""
        now = monotonic()
        for run in self._table.now():
            if self._does_not_start(run, now) and run.move(Act.DECIDE):
                late = now - run.known_at
                _log.warning(
                    "%s %s did not start within %.3g s of its claim; handed back",
                    run.record.id,
                    run.record.task,
                    late,
                )
                self._returned[run] = Report(run.record, handed_back(run), run.policy)
        for runs in by_queue(self._returned):
            with self._table.apart("hand back jobs"):
                self._hand_back(runs)
        due = [run for run in self._table.now() if _needs_beat(run, now)]
        for runs in by_queue(run for run in due if run not in self._returned):
            with self._table.apart(self.name):
                self._beat(runs, now)

    def _does_not_start(self, run: Run, now: float) -> bool:
        late = now >= run.known_at + run.lease.length * NEVER_STARTED
        return late and now >= run.lease.beat_at and run.phase is Phase.CLAIMED

    def _hand_back(self, runs: Sequence[Run]) -> None:
        answers = self._table.report([self._returned[run] for run in runs])
        for run, answer in zip(runs, answers, strict=True):
            if not isinstance(answer, Contended):  # else it is handed back with the next round
                del self._returned[run]
                self._table.settle(run)

    def _beat(self, runs: Sequence[Run], now: float) -> None:
        try:
            answers = self._table.report([_beaten(run) for run in runs])
        except BaseException:
            for run in runs:
                run.lease.missed(now)
                if run.job is not None:
                    run.job.unsent.put_back()
            raise
        touched = [run for run, answer in zip(runs, answers, strict=True) if self._answered(run, answer, now)]
        self._touched(touched)

    def _answered(self, run: Run, answer: object, now: float) -> bool:
        """Record the answer to a beat.

        Returns:
            `True` if the job was changed from outside since this worker last read it.
        """
        if isinstance(answer, Applied):
            run.lease.extend(now)
            if run.job is not None:
                run.job.unsent.sent()
            return answer.revision != run.revision
        if run.job is not None:
            run.job.unsent.put_back()
        if run.phase is Phase.IN_HANDLER and isinstance(answer, LeaseLost):
            _log.warning("%s %s lost its lease; handler asked to stop", run.record.id, run.record.task)
            abandon(self._table, run)
        run.lease.skip(now)  # its outcome was quicker than this beat
        return False


def abandon(table: Table, run: Run) -> bool:
    """Abandon a run whose job is another worker's, or will be: ask its handler to stop, and record nothing.

    Args:
        table: The worker's runs.

        run: The run.

    Returns:
        `True` if it was abandoned; `False` if its outcome is decided already.
    """
    if run.move(Act.OVERRULE) is None and run.move(Act.DECIDE) is None:
        return False
    table.stop(run, StopReason.LEASE)
    table.settle(run)
    return True


def _beaten(run: Run) -> Report:
    signal = Beaten(lease=timedelta(seconds=run.lease.length), **run.written(last=False))
    return Report(run.record, signal, run.policy)


def _needs_beat(run: Run, now: float) -> bool:
    if run.phase in SETTLED:
        return False
    has_news = run.phase is Phase.IN_HANDLER and run.job is not None and run.job.unsent.has_news
    return has_news or now >= run.lease.beat_at
