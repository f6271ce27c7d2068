"""A plugin that counts, for each task, starts, outcomes and run times: `plugins=["stats"]`.

It counts what its own process did and keeps it in memory. `app.plugins.get("stats").snapshot()` reads it.
"""

import threading
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType

from attrs import evolve, frozen

from stanchion import hookimpl
from stanchion.model.records import Record

__all__ = ["Stats", "TaskStats"]


@frozen(kw_only=True)
class TaskStats:
    """What this process did with the jobs of one task."""

    starts: int = 0
    """How often a job was taken to be run here."""

    completed: int = 0
    """Jobs that completed."""

    failed: int = 0
    """Jobs that failed for good."""

    retrying: int = 0
    """Attempts that failed or timed out and were followed by another."""

    timed_out: int = 0
    """Jobs whose last attempt ran past its limit."""

    lost: int = 0
    """Leases that were found lapsed, whichever process had held them."""

    released: int = 0
    """Jobs that were handed back unfinished."""

    cancelled: int = 0
    """Jobs that were cancelled."""

    runs: int = 0
    """How many runs ended here and were timed."""

    total: timedelta = timedelta(0)
    """How long those took together."""

    longest: timedelta = timedelta(0)
    """How long the longest of them took."""

    @property
    def mean(self) -> timedelta:
        """How long one took on average; zero if none ended."""
        return self.total / self.runs if self.runs else timedelta(0)


class Stats:
    """The plugin; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tasks: dict[str, TaskStats] = {}

    def snapshot(self) -> Mapping[str, TaskStats]:
        """The counts so far, by task; what happens later does not change it."""
        with self._lock:
            return MappingProxyType(dict(self._tasks))

    @hookimpl
    def job_claimed(self, job: Record) -> None:
        """Count a start."""
        self._count(job, "starts")

    @hookimpl
    def job_completed(self, job: Record, elapsed: timedelta) -> None:
        """Count a completed job and its run time."""
        self._count(job, "completed", elapsed)

    @hookimpl
    def job_failed(self, job: Record, elapsed: timedelta) -> None:
        """Count a failed job and its run time."""
        self._count(job, "failed", elapsed)

    @hookimpl
    def job_retrying(self, job: Record, elapsed: timedelta) -> None:
        """Count an attempt that will be followed by another, and its run time."""
        self._count(job, "retrying", elapsed)

    @hookimpl
    def job_timed_out(self, job: Record, elapsed: timedelta) -> None:
        """Count a job that ran past its limit, and its run time."""
        self._count(job, "timed_out", elapsed)

    @hookimpl
    def job_lost(self, job: Record) -> None:
        """Count a lapsed lease."""
        self._count(job, "lost")

    @hookimpl
    def job_released(self, job: Record) -> None:
        """Count a job handed back."""
        self._count(job, "released")

    @hookimpl
    def job_cancelled(self, job: Record) -> None:
        """Count a cancelled job."""
        self._count(job, "cancelled")

    def _count(self, job: Record, what: str, elapsed: timedelta = timedelta(0)) -> None:
        with self._lock:
            stats = self._tasks.get(job.task, TaskStats())
            self._tasks[job.task] = evolve(
                stats,
                runs=stats.runs + bool(elapsed),
                total=stats.total + elapsed,
                longest=max(stats.longest, elapsed),
                **{what: getattr(stats, what) + 1},
            )
