"""The effect of killing workers: which jobs they held, and when those were started again.

All times are by the backend's clock, never by that of a worker.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from statistics import median
from typing import Self

from attrs import asdict, frozen

from stanchion.model.changes import HISTORY
from stanchion.model.history import history_of
from stanchion.model.records import Record
from stanchion_demo.report import Summary


@frozen(kw_only=True)
class Kill:
    """One killed worker."""

    at: datetime
    """When, by the backend's clock: read immediately before."""

    held: Mapping[str, int]
    """The jobs that it held, by their ids, and the numbers of these runs; read after it had ended."""


@frozen(kw_only=True)
class Recovery:
    """How long it took until jobs of killed workers were started again, in seconds from the kill."""

    jobs: int
    """How many jobs were started again."""

    least: float
    """The shortest time."""

    median: float
    """The median."""

    most: float
    """The longest time."""

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Self | None:
        """Make the figures of some times.

        Args:
            seconds: The times.

        Returns:
            The figures; `None` if there are no times.
        """
        if not seconds:
            return None
        times = min(seconds), median(seconds), max(seconds)
        least, middle, most = (round(value, 3) for value in times)
        return cls(jobs=len(seconds), least=least, median=middle, most=most)


@frozen(kw_only=True)
class LedgerSummary:
    """The queue's ledger at the end of the run."""

    moves: int
    """How many moves from state to state it counted since the queue began."""

    balanced: bool
    """Whether for each state moves in minus moves out are the jobs there: none was lost, and none created twice."""


@frozen(kw_only=True)
class KillSummary(Summary):
    """All files of a directory, accounted for although workers were killed."""

    workers: int
    """How many processes there were at any time."""

    pace: float
    """How many seconds longer than it took to read a file its job was held."""

    enqueued: int
    """How many jobs this run created."""

    kills: int
    """How many workers were killed."""

    held: int
    """How many runs these kills ended."""

    run_again: int
    """How many jobs were started more than once."""

    extra_starts: int
    """How many starts there were beyond each job's first."""

    lost: list[str]
    """Files that have no final job, or whose job failed because its workers had died too often."""

    recovery: Recovery | None
    """How long the jobs of killed workers waited; `None` if they held none."""

    ledger: LedgerSummary
    """The balance of the queue's ledger."""

    @property
    def whole(self) -> bool:
        """Whether every file is accounted for, no job was lost too often, and the ledger is balanced."""
        return super().whole and not self.lost and self.ledger.balanced


def with_kills(
    summary: Summary,
    records: Mapping[str, Record],
    kills: Sequence[Kill],
    *,
    workers: int,
    pace: float,
    enqueued: int,
    ledger: LedgerSummary,
) -> KillSummary:
    """Add the effect of the kills to a summary.

    Args:
        summary: The summary of the files.

        records: The final jobs, by their ids.

        kills: The kills.

        workers: How many processes there were at any time.

        pace: How many seconds longer each job was held.

        enqueued: How many jobs this run created.

        ledger: The balance of the queue's ledger.

    Returns:
        The summary of the run.
    """
    again = [record.run - 1 for record in records.values() if record.run > 1]
    given_up = [one.path for one in summary.failures if one.cause == "lost"]
    return KillSummary(
        **asdict(summary, recurse=False),
        workers=workers,
        pace=pace,
        enqueued=enqueued,
        ledger=ledger,
        kills=len(kills),
        held=sum(len(kill.held) for kill in kills),
        run_again=len(again),
        extra_starts=sum(again),
        lost=[*summary.missing, *given_up],
        recovery=Recovery.of(list(waits(kills, records))),
    )


def waits(kills: Iterable[Kill], records: Mapping[str, Record]) -> Iterable[float]:
    """Return how long the jobs of killed workers waited.

    Args:
        kills: The kills.

        records: The final jobs, by their ids.

    Returns:
        Seconds from the kill until the job was started again, for each that was.
    """
    for kill in kills:
        for job_id, run in kill.held.items():
            started = run_started(records[job_id], run + 1) if job_id in records else None
            if started is not None:
                yield (started - kill.at).total_seconds()


def run_started(record: Record, run: int) -> datetime | None:
    """Return when a run of a job started: the last one is in its head, earlier ones are in its history.

    Args:
        record: The job.

        run: The number of the run.

    Returns:
        The instant; `None` if it is not known.
    """
    if record.run == run:
        return record.started_at
    entries = history_of(record, record.lists.get(HISTORY, ()))
    started_ms = next(
        (one.started_ms for _, one in entries if one.run == run and one.started_ms is not None), None
    )
    return None if started_ms is None else datetime.fromtimestamp(started_ms / 1000, UTC)
