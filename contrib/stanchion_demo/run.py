"""One run of the demo: a worker and its jobs on one loop, until every job is final or somebody stops it."""

import asyncio
import signal
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Any, Final

from stanchion.app.application import Draft, Queue, Stanchion, Task
from stanchion.contract.answers import Counts
from stanchion.engine.operations import Call, Steps
from stanchion.errors.texts import shown
from stanchion.model.states import FINAL
from stanchion.worker import Worker
from stanchion_demo.report import Summary, final_records, read_back
from stanchion_demo.tasks import Tree, draft

INTERVAL: Final = 0.1
"""Seconds between two looks at the counts: often enough for a smooth bar."""

SLICE: Final = 500
"""How many jobs are enqueued between two looks at the counts."""

Show = Callable[[Counts, str], None]
"""Shows how many of the demo's jobs are in each state, and a remark if there is one."""


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
        """How the files are read."""
        return f"{self._app.config.concurrency} at a time"

    @property
    def hint(self) -> str:
        """What to do after a stop."""
        if self._app.engine.backend.limits.local:
            kept = "with --backend sqlite:///jobs.db the next run goes on from here"
            return f"in memory they end with this process; {kept}"
        return "run the same command again, and it goes on from here"

    def work(self, show: Show) -> bool:
        """Work until every job is final, or SIGINT or SIGTERM stops it; whether every job is.

        Raises:
            Unavailable: The backend does not answer.
        """
        started = monotonic()
        try:
            return asyncio.run(self._work(show))
        finally:
            self._seconds = monotonic() - started

    async def _work(self, show: Show) -> bool:
        self._since = await self._app.engine.arun(
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
        """Enqueue the jobs, and wait until all are final: also those that a killed run still holds."""
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
        """After a stop, immediately before the process exits: hand back every job; how many are final."""
        self._worker.abandon()
        return ended(self._queue.count())

    def summary(self) -> Summary:
        """What the run came to."""
        return read_back(
            final_records(self._app, self._queue.name),
            self._names,
            unlisted=self._tree.unlisted,
            since=self._since,
            seconds=self._seconds,
            tasks=dict(self._app.plugins.get("stats").snapshot()),
        )


def names(drafts: Sequence[Draft[Any]], directory: Path, tree: Tree) -> dict[str, str]:
    """What the files of these jobs are called, by the ids of the jobs."""
    return {
        one.item.id: shown(str(path.relative_to(directory)))
        for one, path in zip(drafts, tree.files, strict=True)
    }


def ended(counts: Counts) -> int:
    """How many jobs are final."""
    return sum(counts[state] for state in FINAL)


def store_now() -> Steps[datetime]:
    """The time by the backend's clock."""
    now: datetime = yield Call("now")
    return now


def slices(drafts: Sequence[Draft[Any]]) -> list[Sequence[Draft[Any]]]:
    """The jobs, as many at a time as are enqueued between two looks at the counts."""
    return [drafts[start : start + SLICE] for start in range(0, len(drafts), SLICE)]
