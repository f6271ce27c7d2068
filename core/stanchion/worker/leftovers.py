"""Leftovers: what a worker could not bring to an end, and how it is handed back when its process ends."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from stanchion.context import StopReason
from stanchion.engine.engine import Engine
from stanchion.engine.reporting import Report
from stanchion.worker.calling import handed_back
from stanchion.worker.keeper.timeouts import timed_out
from stanchion.worker.runs import Run
from stanchion.worker.settling import Settler
from stanchion.worker.slots import Slots

LAST_CALL: Final = timedelta(seconds=0.5)
"""How long the backend may take to take back what a process holds that is about to end."""


class Leftovers:
    """The runs of a worker whose handlers did not end in time, and its outcomes that were not recorded.

    Args:
        engine: What to call the backend through.

        slots: The worker's slots.

        settler: The worker's outcomes.
    """

    def __init__(self, engine: Engine, slots: Slots, settler: Settler) -> None:
        self._engine, self._slots, self._settler = engine, slots, settler
        self._held: list[Run] = []

    def hold(self, runs: Sequence[Run]) -> None:
        """Keep the runs whose handlers did not end.

        Args:
            runs: The runs.
        """
        self._held = list(runs)

    @property
    def stuck(self) -> list[str]:
        """The ids of the jobs whose handlers did not end in time."""
        return [run.record.id for run in (*self._held, *self._slots.lingering)]

    @property
    def unrecorded(self) -> int:
        """How many outcomes are not recorded."""
        return len(self._settler.unsent)

    def __len__(self) -> int:
        return len(self._held)

    def hand_back(self) -> None:
        """Hand back the jobs whose handlers did not end, and record what was not recorded, in one last call.

        Raises:
            BackendError: The backend did not take it within `LAST_CALL`.
        """
        held = [_last_report(run) for run in self._held]
        if not held and not self.unrecorded:
            return
        last = self._engine.within(LAST_CALL)
        try:
            last.call(last.report([*self._settler.unsent, *held]))
        finally:
            if last.backend is not self._engine.backend:
                last.backend.close()


def _last_report(run: Run) -> Report:
    """Return what is reported of a run whose handler did not end: its time-out, or that it is handed back."""
    if run.stop is StopReason.TIMEOUT:
        return timed_out(run)
    return Report(run.record, handed_back(run), run.policy)
