"""Settling: outcomes gather while the last round trip is under way, and are recorded together."""

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from itertools import islice
from typing import Final

from stanchion.engine.engine import Engine
from stanchion.engine.notifying import Observer
from stanchion.engine.reporting import Report
from stanchion.errors import Contended, LeaseLost, Unavailable
from stanchion.errors.logs import logger
from stanchion.model.signals import Completed, Ended, Failed, TimedOut
from stanchion.worker.calling import handed_back
from stanchion.worker.runs import Act, Run

_log: Final = logger("stanchion.worker")

PAUSES: Final = (0.1, 0.2, 0.5, 1.0)
"""Seconds between tries while the backend cannot be reached; the last is repeated."""

Waiting = tuple[Run, Report]


class Settler:
    """The outcomes of one worker's runs on their way to the backend.

    Args:
        engine: What to call the backend through.

        settled: Called for each run whose outcome is recorded, or cannot be any more.

        observer: Observes the changes that were made.
    """

    def __init__(
        self,
        engine: Engine,
        settled: Callable[[Run], None],
        observer: Observer,
    ) -> None:
        self._engine, self._settled, self._observer = engine, settled, observer
        self._limits = engine.backend.limits
        self._most = self._limits.batch
        self.begin()

    def begin(self) -> None:
        """Use the running loop from now on, with no outcomes."""
        self._waiting: deque[Waiting] = deque()
        self._wanted = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def release(self, run: Run) -> None:
        """Hand back a run whose handler was not entered, unless its outcome is decided.

        Args:
            run: The run.
        """
        if run.move(Act.DECIDE) is not None:
            self.put(run, handed_back(run))

    def put(self, run: Run, signal: Ended) -> None:
        """Record an outcome with the next round trip.

        Args:
            run: The run, whose outcome is decided.

            signal: The outcome.
        """
        report = Report(run.record, signal, run.policy, timedelta(seconds=run.elapsed))
        self._waiting.append((run, report))
        self._empty.clear()
        self._wanted.set()

    @property
    def unsent(self) -> list[Report]:
        """What is not answered yet."""
        return [report for _, report in self._waiting]

    async def deliver(self) -> None:
        """Record what gathers, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            failures = 0
            while self._waiting:
                if await self._send(self._next()):
                    failures = 0
                else:
                    failures += 1
                    await asyncio.sleep(PAUSES[min(failures, len(PAUSES)) - 1])
            self._empty.set()

    async def emptied(self) -> None:
        """Wait until everything that was put is answered."""
        await self._empty.wait()

    def _next(self) -> list[Waiting]:
        """Return the outcomes of the next round trip, which stay in line until they are answered.

        They are bounded by number and bytes; one that is too large for any group goes alone.
        """
        group: list[Waiting] = []
        left = self._limits.bytes
        for run, report in islice(self._waiting, self._most):
            left -= size_of(report)
            if group and left < 0:
                break
            group.append((run, report))
        return group

    async def _send(self, group: list[Waiting]) -> bool:
        """Record outcomes in one round trip; those that were not accepted stay in line.

        Returns:
            `True` if the next group may follow at once.
        """
        try:
            answers = await self._engine.acall(
                self._engine.report([report for _, report in group], observer=self._observer)
            )
        except Exception as error:  # noqa: BLE001 - the outcomes of all runs hang on this task
            return self._failed(group, error)
        self._most = min(2 * self._most, self._limits.batch)
        for (run, report), answer in zip(group, answers, strict=True):
            self._waiting.popleft()
            if isinstance(answer, Contended):
                self._waiting.append((run, report))
                continue
            if isinstance(answer, LeaseLost):
                _log.warning(
                    "%s %s run %d lost its lease; outcome %s discarded",
                    run.record.id,
                    run.record.task,
                    run.record.run,
                    report.signal.event,
                )
            self._settled(run)
        return not any(isinstance(answer, Contended) for answer in answers)

    def _failed(self, group: list[Waiting], error: Exception) -> bool:
        """Send less at a time: a group may be too much for one answer, or hold one outcome that is refused."""
        self._most = max(1, len(group) // 2)
        if not isinstance(error, Unavailable) and len(group) > 1:
            return True
        if not isinstance(error, Unavailable):
            self._waiting.rotate(-1)  # it must not keep back the others
        _log.warning("could not record %d outcomes: %s; trying again", len(group), error)
        return False


def size_of(report: Report) -> int:
    """Return about how many bytes a report carries.

    Args:
        report: The report.

    Returns:
        Bytes.
    """
    signal = report.signal
    size = 0
    if signal.notes or signal.append:
        size = sum(map(len, (*signal.notes.values(), *signal.append.values())))
    match signal:
        case Completed():
            size += len(signal.result)
        case Failed() | TimedOut():
            size += len(signal.failure.message) + len(signal.failure.traceback)
    return size
