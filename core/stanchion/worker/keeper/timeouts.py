"""Time limits: runs that went past theirs are overruled, and recorded as timed out."""

from collections import deque
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from stanchion.context import StopReason
from stanchion.engine.reporting import Report
from stanchion.errors import Contended
from stanchion.model.history import Failure
from stanchion.model.signals import TimedOut
from stanchion.worker.keeper.table import Table, by_queue
from stanchion.worker.runs import Act, Run


class TimeLimits:
    """Notices runs that are past their limit; the guard's part, which never waits."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self.late: Final[deque[Run]] = deque()
        """The runs whose end is to be recorded."""

    def look(self, now: float) -> None:
        """Overrule the handlers that are past their limit, and ask them to stop.

        Args:
            now: The time, in seconds of `monotonic`.
        """
        for run in self._table.now():
            if run.is_overdue(now) and run.move(Act.OVERRULE):
                self.late.append(run)
                self._table.stop(run, StopReason.TIMEOUT)


class RecordTimeouts:
    """Records runs that went past their limit; the keeper's part.

    Args:
        table: The worker's runs.

        late: The runs to be recorded; those that could not be stay.
    """

    name = "record time limits"

    def __init__(self, table: Table, late: deque[Run]) -> None:
        self._table, self._late = table, late
        self._reports: dict[Run, Report] = {}

    def __call__(self) -> None:
        """Record those there are."""
        for runs in by_queue(list(self._late)):  # the guard adds to it meanwhile
            with self._table.apart(self.name):
                self._record(runs)

    def _record(self, runs: Sequence[Run]) -> None:
        for run in runs:
            self._reports.setdefault(run, timed_out(run))
        answers = self._table.report([self._reports[run] for run in runs])
        for run, answer in zip(runs, answers, strict=True):
            if not isinstance(answer, Contended):  # else it is recorded with the next round
                self._late.remove(run)
                del self._reports[run]
                self._table.settle(run)


def timed_out(run: Run) -> Report:
    """Return what is recorded of a run that went past its limit, with what its handler wrote until now.

    Args:
        run: The run.

    Returns:
        The report.
    """
    limit = run.policy.timeout.total_seconds()
    failure = Failure("timed_out", f"it ran past its time limit of {limit:g} s", run=run.record.run)
    signal = TimedOut(failure=failure, **run.written(last=True))
    return Report(run.record, signal, run.policy, timedelta(seconds=run.elapsed))
