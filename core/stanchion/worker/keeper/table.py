"""What the keeper's threads share: the worker's runs, its loop, and the way back to it."""

from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta

from attrs import frozen

from stanchion.context import StopReason
from stanchion.engine.engine import Engine
from stanchion.engine.notifying import Observer
from stanchion.engine.reporting import Report
from stanchion.errors import Unavailable
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

    observer: Observer
    """To be called for each change that was made to a job, on any thread."""

    complaints: Complaints
    """Logs what goes wrong with a single queue."""

    def now(self) -> list[Run]:
        """Return the runs there are at this moment.

        Returns:
            A copy.
        """
        return list(self.runs.values())

    def post(self, call: Callable[..., object], *args: object) -> bool:
        """Call something on the loop.

        Args:
            call: What to call.

            args: Its arguments.

        Returns:
            `False` if the loop is closed, and needs nothing any more.
        """
        try:
            self.loop.call_soon_threadsafe(call, *args)
        except RuntimeError:
            return False
        return True

    def settle(self, run: Run) -> None:
        """Settle a run: nothing more is to be recorded of it. The loop frees its slot once it comes to it.

        Args:
            run: The run.
        """
        run.move(Act.SETTLE)
        self.post(self.settled, run)

    def stop(self, run: Run, reason: StopReason) -> None:
        """Ask a handler to stop, and interrupt it on the loop if its runner can.

        Args:
            run: Its run.

            reason: Why.
        """
        run.ask_to_stop(reason)
        if run.interrupt is not None:
            self.post(run.interrupt)

    def report(self, reports: Sequence[Report]) -> list[object]:
        """Record what happened to runs.

        Args:
            reports: What happened.

        Returns:
            The answers of `Engine.report`.
        """
        return list(self.engine.call(self.engine.report(reports, observer=self.observer)))

    @contextmanager
    def apart(self, name: str) -> Iterator[None]:
        """Log what goes wrong with one queue, and continue with others; an unreachable store ends the duty.

        Args:
            name: What is done, in the infinitive: the log says `could not renew leases: …`.
        """
        try:
            yield
        except Exception as error:
            if isinstance(error, Unavailable):
                raise
            self.complaints.make(name, error)


def by_queue(runs: Iterable[Run]) -> list[list[Run]]:
    """Return runs in groups of one queue each: one damaged queue must not delay the others.

    Args:
        runs: The runs.

    Returns:
        The groups.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.record.queue, []).append(run)
    return list(groups.values())
