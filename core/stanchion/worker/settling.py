"""Settling: outcomes gather while the last round trip is under way, and leave together."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from stanchion.decisions import Ended
from stanchion.engine import Engine, Report
from stanchion.errors import Contended, LeaseLost, Unavailable
from stanchion.logs import logger
from stanchion.payloads import policy_of
from stanchion.worker.runs import Run

_log: Final = logger("stanchion.worker")

PAUSES: Final = (0.1, 0.2, 0.5, 1.0)
"""Seconds between tries while the backend cannot be reached; the last is repeated."""


class Outbox:
    """The outcomes of one worker's runs on their way to the backend."""

    def __init__(self, engine: Engine, settled: Callable[[Run], None]) -> None:
        self._engine, self._settled = engine, settled
        self._waiting: list[tuple[Run, Report]] = []
        self._wanted = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def put(self, run: Run, signal: Ended) -> None:
        """Send an outcome with the next round trip."""
        run.settled = True
        elapsed = timedelta(seconds=(run.ended_at or run.started_at) - run.started_at)
        policy = run.policy if run.started else policy_of(run.record.spec)
        self._waiting.append((run, Report(run.record, signal, policy, elapsed)))
        self._empty.clear()
        self._wanted.set()

    @property
    def unsent(self) -> list[Report]:
        """What is not answered yet."""
        return [report for _, report in self._waiting]

    async def deliver(self) -> None:
        """Send what gathers, for ever."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            failures = 0
            while self._waiting:
                batch, self._waiting = self._waiting, []
                left = await self._send(batch)
                failures = failures + 1 if left else 0
                if left:
                    self._waiting = [*left, *self._waiting]
                    await asyncio.sleep(PAUSES[min(failures, len(PAUSES)) - 1])
            self._empty.set()

    async def emptied(self) -> None:
        """Wait until everything that was put is answered."""
        await self._empty.wait()

    async def _send(
        self, batch: list[tuple[Run, Report]], *, quiet: bool = False
    ) -> list[tuple[Run, Report]]:
        """Send outcomes once; those that could not be recorded."""
        try:
            answers = await self._engine.arun(self._engine.report([report for _, report in batch]))
        except Exception as error:  # noqa: BLE001 - the outcomes of all runs hang on this task
            if not quiet:
                _log.warning("%d outcomes could not be recorded, trying again: %s", len(batch), error)
            if isinstance(error, Unavailable) or len(batch) == 1:
                return batch
            # One that is refused must not keep back the others.
            return [left for one in batch for left in await self._send([one], quiet=True)]
        left = []
        for (run, report), answer in zip(batch, answers, strict=True):
            if isinstance(answer, Contended):
                left.append((run, report))
                continue
            if isinstance(answer, LeaseLost):
                _log.warning("%s (%s of run %d)", answer, report.signal.event, run.record.run)
            self._settled(run)
        return left
