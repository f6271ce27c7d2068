"""Starting: how the jobs of a claim become runs, and come to the runner of their kind."""

from collections.abc import Callable, Sequence
from typing import Final

from stanchion.app.tasks import Definition
from stanchion.errors.logs import logger
from stanchion.model.decisions import unknown_wait
from stanchion.model.records import Record
from stanchion.model.signals import TaskUnknown
from stanchion.worker.runner import Left, Runner
from stanchion.worker.runs import Lease, Run, monotonic
from stanchion.worker.settling import Settler
from stanchion.worker.slots import Slots

_log: Final = logger("stanchion.worker")


class Starter:
    """Starts the runs of one worker.

    Args:
        slots: The worker's slots.

        settler: Hands back what is not started.

        lease: How many seconds a claim holds its jobs.

        definition: Finds a task; returns `None` for one that the worker does not know.

        runner: Chooses the runner for a task's handlers.

        left: Called for a run that needs no runner.
    """

    def __init__(
        self,
        slots: Slots,
        settler: Settler,
        lease: float,
        *,
        definition: Callable[[str], Definition | None],
        runner: Callable[[Definition], Runner],
        left: Left,
    ) -> None:
        self._slots, self._settler, self._lease = slots, settler, lease
        self._definition, self._runner, self._left = definition, runner, left

    def start(self, records: Sequence[Record], asked_at: float) -> None:
        """Start the runs of one claim; those of one runner together, in the order in which they were claimed.

        Nothing is started if the answer came too late for that, or once the slots are closed: it is handed back.

        Args:
            records: The jobs that were claimed.

            asked_at: When the claim was asked for; their leases count from then.
        """
        now = monotonic()
        groups: dict[Runner, list[Run]] = {}
        for record in records:
            run = Run(record, Lease(asked_at, self._lease), now)
            self._slots.add(run)
            if self._slots.is_closed or now >= run.lease.stop_at:
                self._settler.release(run)
            elif (definition := self._take(run)) is not None:
                groups.setdefault(self._runner(definition), []).append(run)
        for runner, runs in groups.items():
            runner.start(runs)

    def _take(self, run: Run) -> Definition | None:
        """Give a run its slot and its task.

        Returns:
            The task; `None` if the worker does not know it, which ends the run.
        """
        self._slots.take(run)
        definition = self._definition(run.record.task)
        if definition is None:
            _log.error(
                "%s: task %r is not registered in this worker; rescheduled in %.3g s",
                run.record.id,
                run.record.task,
                unknown_wait(run.record).total_seconds(),
            )
            self._left(run, TaskUnknown())
        else:
            run.assign(definition)
        return definition
