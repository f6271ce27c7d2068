"""Blocked: how a worker's process ends when its loop is blocked for good."""

from typing import Final

from stanchion.errors import StanchionError
from stanchion.errors.logs import logger
from stanchion.worker.leaving import leave
from stanchion.worker.leftovers import Leftovers
from stanchion.worker.runs import Act, Phase, monotonic
from stanchion.worker.slots import Slots
from stanchion.worker.stopping import Stopping

_log: Final = logger("stanchion.worker")

BLOCKED: Final = 1.0
"""Seconds that a loop does not answer until it counts as blocked."""


class BlockedLoop:
    """Ends the process of a worker whose loop is blocked for good; nothing would ever run on that loop again.

    Args:
        worker: The worker's name.

        lease: How many seconds claims last: a loop may be blocked for that long.

        slots: The worker's slots.

        stopping: When the worker was asked to stop.

        leftovers: Hands back what the worker holds.
    """

    def __init__(
        self, worker: str, lease: float, *, slots: Slots, stopping: Stopping, leftovers: Leftovers
    ) -> None:
        self._worker, self._lease = worker, lease
        self._slots, self._stopping, self._leftovers = slots, stopping, leftovers
        self.owns_process = False
        """Whether the process is the worker's, which may end it."""

    def look(self, silent: float) -> None:
        """End the process if its loop is blocked for good; called on the guard's thread.

        Args:
            silent: For how many seconds the loop has not answered.
        """
        if (
            self.owns_process
            and silent >= BLOCKED
            and (self._ignored_signals() or self._runs_nothing(silent))
        ):
            self._end_process(silent)

    def _ignored_signals(self) -> bool:
        """Return whether a signal has had no effect for as long as a shutdown may take."""
        asked = self._stopping.signalled_at
        allowed = self._stopping.budget.whole if len(asked) == 1 else 2 * BLOCKED
        return bool(asked) and monotonic() - asked[-1] > allowed

    def _runs_nothing(self, silent: float) -> bool:
        """Return whether no handler on the loop is within its time limit, after a lease of silence."""
        runs = list(self._slots.runs.values())
        return silent >= self._lease and not any(
            run.phase is Phase.IN_HANDLER and run.is_async for run in runs
        )

    def _end_process(self, silent: float) -> None:
        _log.critical("worker %s: loop has been blocked for %.3g s; ending the process", self._worker, silent)
        runs = list(self._slots.runs.values())
        self._leftovers.hold([run for run in runs if run.move(Act.OVERRULE) or run.move(Act.DECIDE)])
        try:
            self._leftovers.hand_back()
        except StanchionError as error:
            lost = len(self._leftovers)
            _log.error("could not hand back %d jobs: %s; they run again when their leases end", lost, error)
        finally:
            leave(1)
