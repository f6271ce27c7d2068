"""Settling: outcomes gather while the last round trip is under way, and are recorded together."""

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from itertools import islice
from typing import Final

from stanchion.codec.payloads import policy_of
from stanchion.engine.engine import Engine, Report
from stanchion.errors import Contended, LeaseLost, Unavailable
from stanchion.errors.logs import logger
from stanchion.model.changes import Change
from stanchion.model.decisions import Completed, Ended, Failed, TimedOut
from stanchion.model.records import Record
from stanchion.worker.runs import Run

_log: Final = logger("stanchion.worker")

PAUSES: Final = (0.1, 0.2, 0.5, 1.0)
"""Seconds between tries while the backend cannot be reached; the last is repeated."""

Waiting = tuple[Run, Report]


class Settler:
    """The outcomes of one worker's runs on their way to the backend.

    Args:
        engine: What to call the backend through.

        settled: Called for each run whose outcome is recorded, or cannot be any more.

        changed: Called for each change that was made.
    """

    def __init__(
        self,
        engine: Engine,
        settled: Callable[[Run], None],
        changed: Callable[[Record, Change, timedelta], None],
    ) -> None:
        self._engine, self._settled, self._changed = engine, settled, changed
        self._limits = engine.backend.limits
        self._most = self._limits.batch
        self._waiting: deque[Waiting] = deque()
        self._wanted = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def put(self, run: Run, signal: Ended) -> None:
        """Record an outcome with the next round trip."""
        policy = run.policy if run.started else policy_of(run.record.spec)
        report = Report(run.record, signal, policy, timedelta(seconds=run.elapsed))
        self._waiting.append((run, report))
        self._empty.clear()
        self._wanted.set()

    @property
    def unsent(self) -> list[Report]:
        """What is not answered yet."""
        return [report for _, report in self._waiting]

    async def deliver(self) -> None:
        """Record what gathers, for ever."""
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
            answers = await self._engine.arun(
                self._engine.report([report for _, report in group], changed=self._changed)
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
                _log.warning("%s (%s of run %d)", answer, report.signal.event, run.record.run)
            self._settled(run)
        return not any(isinstance(answer, Contended) for answer in answers)

    def _failed(self, group: list[Waiting], error: Exception) -> bool:
        """Send less at a time: a group may be too much for one answer, or hold one outcome that is refused."""
        self._most = max(1, len(group) // 2)
        if not isinstance(error, Unavailable) and len(group) > 1:
            return True
        if not isinstance(error, Unavailable):
            self._waiting.rotate(-1)  # it must not keep back the others
        _log.warning("could not record %d outcomes, trying again: %s", len(group), error)
        return False


def size_of(report: Report) -> int:
    """Return about how many bytes a report carries."""
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
