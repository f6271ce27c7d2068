"""One run of the demo: a worker and its jobs on one loop, until every job is final or the run is stopped."""

import asyncio
import signal
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Any, Final

from stanchion.app.application import Stanchion
from stanchion.app.drafts import Draft
from stanchion.app.queues import Queue
from stanchion.app.registry import Task
from stanchion.contract.answers import Counts
from stanchion.engine.operations import Call, Steps
from stanchion.errors.texts import shown
from stanchion.model.states import FINAL
from stanchion.worker import Worker
from stanchion_demo.report import Summary, final_records, read_back
from stanchion_demo.tasks import Tree, draft

INTERVAL: Final = 0.1
"""Seconds between two reads of the counts: often enough for a smooth bar."""

SLICE: Final = 500
"""How many jobs are enqueued between two reads of the counts."""

Show = Callable[[Counts, str], None]
"""Shows how many of the demo's jobs are in each state, and a remark, which may be empty."""


class DemoRun:
    """A run of the demo on a directory.

    Args:
        app: The demo's application.

        task: Its task, with the queue of this directory.

        directory: What the files' names are relative to.

        tree: The files.
    """

    def __init__(self, app: Stanchion, task: Task[[str], Any], directory: Path, tree: Tree) -> None:
        self._app, self._tree = app, tree
        self._drafts: list[Draft[Any]] = [draft(task, directory, path) for path in tree.files]
        self._names = names(self._drafts, directory, tree)
        self._queue: Queue = app.queue(task.definition.options.queue)
        self._worker = Worker(app, queues=[self._queue.name])
        self._since: datetime | None = None
        self._stopping = False
        self._seconds = 0.0

    @property
    def manner(self) -> str:
        """How the files are read, for the first line of output."""
        return f"{self._app.config.concurrency} at a time"

    @property
    def hint(self) -> str:
        """What to do after a stop, for the last line of output."""
        if self._app.engine.backend.limits.local:
            kept = "with --backend sqlite:///jobs.db the next run continues from here"
            return f"in memory they end with this process; {kept}"
        return "run the same command again to continue from here"

    def work(self, show: Show) -> bool:
        """Work until every job is final, or SIGINT or SIGTERM stops it.

        Args:
            show: Shows the progress.

        Returns:
            `True` if every job is final.

        Raises:
            Unavailable: The backend does not answer.
        """
        started = monotonic()
        try:
            return asyncio.run(self._work(show))
        finally:
            self._seconds = monotonic() - started

    async def _work(self, show: Show) -> bool:
        self._since = await self._app.engine.acall(
            store_now()
        )  # a store that cannot be reached ends the run here
        working = asyncio.create_task(self._worker.main())
        following = asyncio.create_task(self._until_final(show))
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._stop)
        await asyncio.wait({working, following}, return_when=asyncio.FIRST_COMPLETED)
        self._stopping = True
        await asyncio.wait({following})  # before the worker ends, which closes the connections of this loop
        self._worker.stop()
        await working
        return following.result()

    def _stop(self) -> None:
        """Stop waiting, which stops the worker; the second time, stop that without grace."""
        if self._stopping:
            self._worker.stop()
        self._stopping = True

    async def _until_final(self, show: Show) -> bool:
        """Enqueue the jobs, and wait until all are final, including those that a killed run still holds."""
        for some in slices(self._drafts):
            if self._stopping:
                return False
            await self._app.aenqueue_many(some)
            show(await self._queue.acount(), "")
        while ended(counts := await self._queue.acount()) < sum(counts.values()):
            if self._stopping:
                return False
            show(counts, "")
            await asyncio.sleep(INTERVAL)
        show(counts, "")
        return True

    def hand_back(self) -> int:
        """Hand back every job, after a stop and immediately before the process exits.

        Returns:
            How many jobs are final.
        """
        self._worker.abandon()
        return ended(self._queue.count())

    def summary(self) -> Summary:
        """Return the summary of the run.

        Returns:
            All files, accounted for.
        """
        return read_back(
            final_records(self._app, self._queue.name),
            self._names,
            unlisted=self._tree.unlisted,
            since=self._since,
            seconds=self._seconds,
            tasks=dict(self._app.plugins.get("stats").snapshot()),
        )


def names(drafts: Sequence[Draft[Any]], directory: Path, tree: Tree) -> dict[str, str]:
    """Return the names of files by the ids of their jobs.

    Args:
        drafts: The jobs, in the order of the files.

        directory: What the names are relative to.

        tree: The files.

    Returns:
        Names, escaped for printing.
    """
    return {
        one.item.id: shown(str(path.relative_to(directory)))
        for one, path in zip(drafts, tree.files, strict=True)
    }


def ended(counts: Counts) -> int:
    """Return how many jobs are final.

    Args:
        counts: How many jobs are in each state.

    Returns:
        The sum over the final states.
    """
    return sum(counts[state] for state in FINAL)


def store_now() -> Steps[datetime]:
    """Read the time by the backend's clock.

    Returns:
        The instant.
    """
    now: datetime = yield Call("now")
    return now


def slices(drafts: Sequence[Draft[Any]]) -> list[Sequence[Draft[Any]]]:
    """Cut jobs into parts of `SLICE`.

    Args:
        drafts: The jobs.

    Returns:
        The parts, in order.
    """
    return [drafts[start : start + SLICE] for start in range(0, len(drafts), SLICE)]
