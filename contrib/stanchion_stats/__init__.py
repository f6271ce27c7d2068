"""A plugin that counts starts, outcomes and run times of each task: `plugins=["stats"]`.

It counts what its own process does and keeps it in memory; `app.plugins.get("stats").snapshot()` reads it. The table
`[plugins.stats]` in the configuration can name the tasks to count: `tasks = ["charge", "render"]`. Counts by queue
need no plugin: `app.stats()`.
"""

import threading
from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Final

from attrs import evolve, frozen

from stanchion import Event, State, Transition, hookimpl

__all__ = ["Stats", "TaskStats"]

_EVENTS: Final = {Event.CLAIM: "starts", Event.LOSE: "lost", Event.RELEASE: "released"}
_STATES: Final = frozenset({State.COMPLETED, State.FAILED, State.RETRYING, State.TIMED_OUT, State.CANCELLED})


@frozen(kw_only=True)
class TaskStats:
    """Counts of one task's jobs in this process."""

    starts: int = 0
    """How often a job was claimed here."""

    completed: int = 0
    """Jobs that completed."""

    failed: int = 0
    """Jobs that failed for good."""

    retrying: int = 0
    """Attempts that failed or timed out and were followed by another."""

    timed_out: int = 0
    """Jobs whose last attempt ran past its time limit."""

    lost: int = 0
    """Runs whose lease had lapsed when this process swept, whichever process held them."""

    released: int = 0
    """Runs that were handed back unfinished."""

    cancelled: int = 0
    """Jobs that were cancelled."""

    runs: int = 0
    """How many runs ended here."""

    total: timedelta = timedelta(0)
    """How long these took in all."""

    longest: timedelta = timedelta(0)
    """How long the longest of them took."""

    @property
    def mean(self) -> timedelta:
        """How long one took on average; zero if none ended."""
        return self.total / self.runs if self.runs else timedelta(0)


class Stats:
    """The plugin; safe to use from any thread.

    Args:
        tasks: The names of the tasks to count. Defaults to all.

    Raises:
        TypeError: It is not a list of names.
    """

    def __init__(self, *, tasks: Collection[str] | None = None) -> None:
        if isinstance(tasks, str) or not all(isinstance(name, str) for name in tasks or ()):
            raise TypeError(f"tasks must be a list of task names, not {tasks!r}")
        self._names = None if tasks is None else frozenset(tasks)
        self._lock = threading.Lock()
        self._tasks: dict[str, TaskStats] = {}

    def snapshot(self) -> Mapping[str, TaskStats]:
        """Return the counts so far.

        Returns:
            Counts by task; later events do not change them.
        """
        with self._lock:
            return MappingProxyType(dict(self._tasks))

    @hookimpl
    def job_changed(self, transition: Transition) -> None:
        """Count what happened to a job, and the time of a run that ended."""
        happened = [_EVENTS[transition.event]] if transition.event in _EVENTS else []
        if transition.is_new_state and transition.to_state in _STATES:
            happened.append(str(transition.to_state))
        if happened:
            self._count(transition.job.task, happened, transition.elapsed)

    def _count(self, task: str, happened: Iterable[str], elapsed: timedelta) -> None:
        if self._names is not None and task not in self._names:
            return
        with self._lock:
            stats = self._tasks.get(task, TaskStats())
            self._tasks[task] = evolve(
                stats,
                runs=stats.runs + bool(elapsed),
                total=stats.total + elapsed,
                longest=max(stats.longest, elapsed),
                **{name: getattr(stats, name) + 1 for name in happened},
            )
