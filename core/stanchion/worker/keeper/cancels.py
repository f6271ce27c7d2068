"""Cancels: requests arrive at once where the backend can be watched, else with the next beat."""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Final

from stanchion.context import StopReason
from stanchion.contract.capabilities import Watch, WatchesJobs
from stanchion.errors import JobNotFound, StanchionError
from stanchion.model.changes import Topic
from stanchion.worker.keeper.table import Table
from stanchion.worker.runs import Phase, Run, monotonic

PAUSE: Final = 0.25
"""Seconds that the keeper sleeps at most: how late it notices that it must stop."""


class WatchCancels:
    """Sleeps until something is due, or a job that runs here was changed from outside.

    Args:
        table: The worker's runs.

        ending: Set when the keeper must end.

        waiting: Answers whether something is to be recorded at once.
    """

    name = "watch for cancels"

    def __init__(self, table: Table, ending: threading.Event, waiting: Callable[[], bool]) -> None:
        self._table, self._ending, self._waiting = table, ending, waiting
        self._watch: Watch | None = None

    def __call__(self) -> None:
        """Wait for requests to cancel, until something else is due."""
        pause = self._pause()
        backend = self._table.engine.backend
        if not isinstance(backend, WatchesJobs):
            self._ending.wait(pause)
            return
        try:
            if self._watch is None:
                self._watch = backend.watch(self._table.queues, Topic.TOUCHED)
            changed = self._watch.next(timedelta(seconds=pause))
        except StanchionError:
            self._ending.wait(pause)
            raise
        self.look_at([run for run in self._table.now() if run.record.id in changed])

    def look_at(self, runs: Sequence[Run]) -> None:
        """Stop the handlers of runs whose jobs have a request to cancel.

        Args:
            runs: Runs whose jobs were changed from outside.
        """
        engine = self._table.engine
        for run in runs:
            with suppress(JobNotFound):
                record = engine.call(engine.get(run.record.id))
                if record.claim == run.record.claim:
                    run.noticed(record.revision)
                    if record.cancel is not None and run.stop is None:
                        self._table.stop(run, StopReason.CANCEL)

    def close(self) -> None:
        """Stop watching."""
        if self._watch is not None:
            self._watch.close()

    def _pause(self) -> float:
        if self._waiting():
            return 0.005
        now = monotonic()
        beats = [run.lease.beat_at for run in self._table.now() if run.phase is not Phase.OVER]
        return max(0.005, min([now + PAUSE, *beats]) - now)
