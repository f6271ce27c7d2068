"""What came of killing workers: which jobs they held, and when those were started again.

All times are those that the backend stored, or told; no clock of a worker is asked.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from statistics import median
from typing import Self

from attrs import asdict, frozen

from stanchion.model.history import Happening, decode_list
from stanchion.model.records import Record
from stanchion_demo.report import Summary


@frozen(kw_only=True)
class Kill:
    """One killed worker."""

    at: datetime
    """When, by the backend's clock: read immediately before."""

    held: Mapping[str, int]
    """The jobs that it held, by their ids, and which of their runs that was: read when it was dead."""


@frozen(kw_only=True)
class Recovery:
    """How long it took until jobs of killed workers were started again, in seconds from the kill."""

    jobs: int
    """How many were."""

    least: float
    """The shortest time."""

    median: float
    """The median."""

    most: float
    """The longest time."""

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Self | None:
        """Of these times; none if there are none."""
        if not seconds:
            return None
        times = min(seconds), median(seconds), max(seconds)
        least, middle, most = (round(value, 3) for value in times)
        return cls(jobs=len(seconds), least=least, median=middle, most=most)


@frozen(kw_only=True)
class KillSummary(Summary):
    """All files of a directory, accounted for although workers were killed."""

    workers: int
    """How many processes there were at any time."""

    pace: float
    """How many seconds longer than it took to read a file its job was held."""

    enqueued: int
    """How many jobs this run made."""

    kills: int
    """How many workers were killed."""

    held: int
    """How many runs that ended."""

    run_again: int
    """How many jobs were started more than once."""

    extra_starts: int
    """How many starts that were beyond each job's first."""

    lost: list[str]
    """Files that have no final job, or whose job was given up because its workers had died too often."""

    recovery: Recovery | None
    """How long the jobs of killed workers waited; none if nobody held any."""

    @property
    def whole(self) -> bool:
        """Whether every file is accounted for, and no job was given up."""
        return super().whole and not self.lost


def with_kills(
    summary: Summary,
    records: Mapping[str, Record],
    kills: Sequence[Kill],
    *,
    workers: int,
    pace: float,
    enqueued: int,
) -> KillSummary:
    """Add what came of the kills to a summary.

    Args:
        summary: The summary of the files.

        records: The final jobs, by their ids.

        kills: The kills.

        workers: How many processes there were at any time.

        pace: How many seconds longer each job was held.

        enqueued: How many jobs this run made.
    """
    again = [record.run - 1 for record in records.values() if record.run > 1]
    given_up = [one.path for one in summary.failures if one.cause == "lost"]
    return KillSummary(
        **asdict(summary, recurse=False),
        workers=workers,
        pace=pace,
        enqueued=enqueued,
        kills=len(kills),
        held=sum(len(kill.held) for kill in kills),
        run_again=len(again),
        extra_starts=sum(again),
        lost=[*summary.missing, *given_up],
        recovery=Recovery.of(list(waits(kills, records))),
    )


def waits(kills: Iterable[Kill], records: Mapping[str, Record]) -> Iterable[float]:
    """For each job of each killed worker: the seconds from the kill until it was started again, if it was."""
    for kill in kills:
        for job_id, run in kill.held.items():
            started = run_started(records[job_id], run + 1) if job_id in records else None
            if started is not None:
                yield (started - kill.at).total_seconds()


def run_started(record: Record, run: int) -> datetime | None:
    """When a run of a job started: the last one stands in its head, earlier ones in its history."""
    if record.run == run:
        return record.started_at
    ends: list[Happening] = decode_list(record.lists, "history", Happening)
    started_ms = next((one.started_ms for one in ends if one.run == run and one.started_ms is not None), None)
    return None if started_ms is None else datetime.fromtimestamp(started_ms / 1000, UTC)
