"""Settling: outcomes gather while the last round trip is under way, and leave together."""

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from stanchion.decisions import Ended
from stanchion.engine import Engine, Report
from stanchion.errors import LeaseLost, StanchionError
from stanchion.payloads import policy_of
from stanchion.worker.runs import Run

_log: Final = logging.getLogger("stanchion.worker")

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

    async def deliver(self) -> None:
        """Send what gathers, for ever."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._send(batch)
            self._empty.set()

    async def emptied(self) -> None:
        """Wait until everything that was put is answered."""
        await self._empty.wait()

    async def _send(self, batch: list[tuple[Run, Report]]) -> None:
        reports = [report for _, report in batch]
        tries = 0
        while True:
            try:
                answers = await self._engine.arun(self._engine.report(reports))
                break
            except StanchionError as error:
                _log.warning("%d outcomes could not be recorded, trying again: %s", len(batch), error)
                await asyncio.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
                tries += 1
        for (run, report), answer in zip(batch, answers, strict=True):
            if isinstance(answer, LeaseLost):
                _log.warning("%s (%s of run %d)", answer, report.signal.event, run.record.run)
            self._settled(run)
