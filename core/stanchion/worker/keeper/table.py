"""What the keeper's threads share: the worker's runs, its loop, and the way back to it."""

from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta

from attrs import frozen

from stanchion.context import StopReason
from stanchion.engine.engine import Engine, Report
from stanchion.errors import Unavailable
from stanchion.model.changes import Change
from stanchion.model.records import Record
from stanchion.worker.keeper.duties import Complaints
from stanchion.worker.runs import Act, Run


@frozen
class Table:
    """The worker's runs as its keeper sees them."""

    engine: Engine
    """What to call the backend through: each call once, up to a deadline of a sixth of the lease."""

    runs: Mapping[object, Run]
    """The runs that need their lease, by claim and job; the loop adds and removes, others read a copy."""

    loop: AbstractEventLoop
    """Where async handlers run."""

    queues: Sequence[str]
    """What the worker serves."""

    lease: timedelta
    """How long claims and beats last."""

    settled: Callable[[Run], None]
    """To be called on the loop for a run of which nothing more is to be recorded."""

    changed: Callable[[Record, Change, timedelta], None]
    """To be called for each change that was made to a job, on any thread."""

    complaints: Complaints
    """What single queues are complained of with."""

    def now(self) -> list[Run]:
        """Return the runs there are at this moment."""
        return list(self.runs.values())

    def post(self, call: Callable[..., object], *args: object) -> bool:
        """Call something on the loop.

        Returns:
            `False` if the loop is closed, and needs nothing any more.
        """
        try:
            self.loop.call_soon_threadsafe(call, *args)
        except RuntimeError:
            return False
        return True

    def settle(self, run: Run) -> None:
        """Take note that nothing more is to be recorded of a run; the loop frees its slot once it comes to it."""
        run.move(Act.SETTLE)
        self.post(self.settled, run)

    def stop(self, run: Run, reason: StopReason) -> None:
        """Ask a handler to stop; one on the loop is cancelled there."""
        run.ask_to_stop(reason)
        if run.is_async and run.task is not None:
            self.post(run.task.cancel)

    def report(self, reports: Sequence[Report]) -> list[object]:
        """Record what happened to runs; the answers are those of `Engine.report`."""
        return list(self.engine.run(self.engine.report(reports, changed=self.changed)))

    @contextmanager
    def apart(self, name: str) -> Iterator[None]:
        """Complain of what goes wrong with one queue, and go on with others; an unreachable store ends the duty."""
        try:
            yield
        except Exception as error:
            if isinstance(error, Unavailable):
                raise
            self.complaints.make(name, error)


def by_queue(runs: Iterable[Run]) -> list[list[Run]]:
    """Return runs in groups of one queue each: one damaged queue must not keep back the others."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.record.queue, []).append(run)
    return list(groups.values())
