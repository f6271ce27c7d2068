"""A run of `stanchion demo --kill`: worker processes on one store, one of which is killed every second."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

from stanchion.app.application import Stanchion
from stanchion.app.drafts import Draft
from stanchion.app.queues import Queue
from stanchion.cli.store import refuse_local
from stanchion.codec.specs import policy_of
from stanchion.contract.answers import Counts, unbalanced
from stanchion.contract.requests import Apply, List
from stanchion.engine.operations import Call, Steps
from stanchion.errors import StanchionError
from stanchion.model.decisions import decide
from stanchion.model.records import Head
from stanchion.model.signals import Deleted
from stanchion.model.states import State
from stanchion_demo.crew import Crew
from stanchion_demo.kills import Kill, KillSummary, LedgerSummary, with_kills
from stanchion_demo.report import final_records, read_back
from stanchion_demo.run import INTERVAL, Show, ended, names, slices, store_now
from stanchion_demo.tasks import LEASE, Tree, draft, hashing, mark
from stanchion_demo.worker import Orders

WORKERS: Final = 3
"""How many processes there are by default."""

EVERY: Final = 1.0
"""Seconds between two kills."""

SPAN: Final = timedelta(seconds=10)
"""How long the work lasts by default: long enough for some kills, short enough to watch."""

LONGEST_PACE: Final = timedelta(seconds=0.5)
"""Well below the time between two kills, or most jobs would be hit."""

MOST_HITS: Final = 2
"""How often a job may be hit: one whose workers died more than `max_lost` (3) times fails, as it should."""


def kill_app(backend: str | None, concurrency: int | None, lease: timedelta = LEASE) -> Stanchion:
    """Create the application of the process that kills; it runs no job itself.

    Args:
        backend: The URL of the store; `None` for the configured one.

        concurrency: How many files each worker reads at a time; `None` for the configured number.

        lease: How long a claim holds a job without a beat.

    Returns:
        The application.

    Raises:
        ConfigError: The backend cannot be used, or no other process can see it.
    """
    app = Stanchion(backend, plugins=(), concurrency=concurrency, lease=lease)
    refuse_local(app.engine.backend, "demo --kill")
    return app


def pace_for(files: int, slots: int) -> timedelta:
    """Return the pace at which files keep slots busy for `SPAN`.

    Args:
        files: How many files there are.

        slots: How many are read at a time.

    Returns:
        How much longer each job is held; at most `LONGEST_PACE`.
    """
    return min(LONGEST_PACE, SPAN * slots / max(files, 1))


class KillRun:
    """A run of the demo on a directory, whose workers are killed.

    Args:
        app: Its application.

        directory: What the files' names are relative to.

        tree: The files.

        workers: How many processes.

        pace: How much longer each job is held. Defaults to `pace_for` the number of files.

        every: Seconds between two kills.
    """

    def __init__(
        self,
        app: Stanchion,
        directory: Path,
        tree: Tree,
        *,
        workers: int = WORKERS,
        pace: timedelta | None = None,
        every: float = EVERY,
    ) -> None:
        self._app, self._tree, self._every = app, tree, every
        self._queue: Queue = app.queue(f"demo-kill-{mark(directory)}")
        task = hashing(app, self._queue.name)
        self._drafts: list[Draft[Any]] = [draft(task, directory, path) for path in tree.files]
        self._names = names(self._drafts, directory, tree)
        usual = pace_for(len(tree.files), workers * app.config.concurrency)
        self._crew = Crew(workers, self._orders(usual if pace is None else pace))
        self._kills: list[Kill] = []
        self._kill_at = self._seconds = 0.0
        self._enqueued = 0
        self._since: datetime | None = None
        self._stopping = False

    def _orders(self, pace: timedelta) -> Orders:
        config = self._app.config
        return Orders(
            backend=config.backend,
            namespace=config.namespace,
            queue=self._queue.name,
            concurrency=config.concurrency,
            lease=config.lease,
            pace=pace,
        )

    @property
    def manner(self) -> str:
        """How the files are read, for the first line of output."""
        processes = "1 process" if self._crew.size == 1 else f"{self._crew.size} processes"
        slots = self._app.config.concurrency
        return f"{processes}, {slots} at a time each, one of them killed every {self._every:g} s"

    @property
    def hint(self) -> str:
        """What to do after a stop, for the last line of output."""
        return "its workers have ended, and handed back their jobs; the next run with --kill starts over"

    def work(self, show: Show) -> bool:
        """Let the workers work until every job is final, or SIGINT or SIGTERM stops it.

        Whatever happens, the processes have ended afterwards.

        Args:
            show: Shows the progress.

        Returns:
            `True` if every job is final.

        Raises:
            StanchionError: The backend does not answer, another process does the same, or a worker cannot work.
        """
        started = monotonic()
        try:
            with self._listening():
                if not self._begin_anew(show):
                    return False
                self._since = self._app.engine.call(store_now())
                self._kill_at = monotonic() + self._every
                with self._crew:
                    return self._enqueue(show) and self._until_final(show)
        finally:
            self._seconds = monotonic() - started

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Handle SIGINT and SIGTERM while it is entered."""
        before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, *_: object) -> None:
        """Stop waiting, which stops the workers; the second time, stop those without grace."""
        if self._stopping:
            self._crew.stop()
        self._stopping = True

    def _begin_anew(self, show: Show) -> bool:
        """Delete what an earlier run left: its kills are not those of this run."""
        name, lease = self._queue.name, self._app.config.lease.total_seconds()
        patience = monotonic() + lease + self._app.config.sweep.total_seconds()
        while self._swept()[State.RUNNING]:
            if self._stopping:
                return False
            if monotonic() > patience:
                raise StanchionError(
                    f"jobs of queue {name} are running: wait for the other demo --kill of this directory, or stop it"
                )
            show(dict.fromkeys(State, 0), f"waiting up to {lease:g} s for jobs that an earlier run held")
            sleep(INTERVAL)
        self._app.engine.call(_emptied(name))
        return True

    def _swept(self) -> Counts:
        self._app.engine.call(self._app.engine.sweep([self._queue.name]))
        return self._queue.count()

    def _enqueue(self, show: Show) -> bool:
        for some in slices(self._drafts):
            if self._stopping:
                return False
            self._enqueued += sum(job.is_new for job in self._app.enqueue_many(some))
            self._look(show)
        return True

    def _until_final(self, show: Show) -> bool:
        while ended(counts := self._look(show)) < sum(counts.values()):
            if self._stopping:
                return False
            sleep(INTERVAL)
        return True

    def _look(self, show: Show) -> Counts:
        """Keep the crew complete, kill one of it when the time has come, and show where the jobs are."""
        self._crew.fill()
        if monotonic() >= self._kill_at:
            self._kill_at = monotonic() + self._every
            self._kill_one()
        counts = self._queue.count()
        show(counts, f"{len(self._kills)} killed")
        return counts

    def _kill_one(self) -> None:
        """Kill the longest-serving worker that holds jobs, none of which was hit too often already.

        If there is none at this moment, none is killed before the next: otherwise the last jobs would be hit
        each time they are started again.
        """
        hits: dict[str | None, int] = {}
        for record in self._running():
            hits[record.worker] = max(hits.get(record.worker, 0), record.count("lost"))
        victim = self._crew.longest_serving({name for name, most in hits.items() if most < MOST_HITS})
        if victim is None:
            return
        at = self._app.engine.call(store_now())
        self._crew.kill(victim)
        held = {record.id: record.run for record in self._running() if record.worker == victim.name}
        self._kills.append(Kill(at=at, held=held))

    def _running(self) -> list[Head]:
        return [job.head for job in self._app.jobs(self._queue.name, State.RUNNING)]

    def hand_back(self) -> int:
        """Return how many jobs are final; the workers have handed back every job.

        Returns:
            How many jobs are final.
        """
        return ended(self._queue.count())

    def summary(self) -> KillSummary:
        """Return the summary of the run.

        Returns:
            All files, accounted for, and what the kills did.
        """
        records = {record.id: record for record in final_records(self._app, self._queue.name)}
        summary = read_back(
            records.values(),
            self._names,
            unlisted=self._tree.unlisted,
            since=self._since,
            seconds=self._seconds,
            tasks={},  # no job was run in this process
        )
        return with_kills(
            summary,
            records,
            self._kills,
            workers=self._crew.size,
            pace=self._crew.orders.pace.total_seconds(),
            enqueued=self._enqueued,
            ledger=self._ledger(),
        )

    def _ledger(self) -> LedgerSummary:
        engine = self._app.engine
        totals = engine.call(engine.ledger(self._queue.name)).totals
        balanced = not unbalanced(self._queue.name, totals, self._queue.count())
        return LedgerSummary(moves=sum(tally.jobs for tally in totals.values()), balanced=balanced)


def _emptied(queue: str) -> Steps[None]:
    """Delete the jobs of a queue, a page at a time."""
    for state in State:
        while heads := (yield Call("list", (List(queue=queue, state=state),))).heads:
            changes = [decide(one, Deleted(), roll=0, policy=policy_of(one.policy)) for one in heads]
            yield Call("apply", (Apply(changes),))
