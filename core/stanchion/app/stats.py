"""Statistics of queues: what their ledgers counted, under the names that people use."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from stanchion.contract.answers import Counts, Page
from stanchion.contract.requests import List
from stanchion.engine.engine import Engine
from stanchion.engine.operations import Call, Steps
from stanchion.errors import InvalidArgument
from stanchion.model.ledger import HOURS, Tally, Totals, buckets, difference, row_of, totals_at
from stanchion.model.policies import duration
from stanchion.model.states import Event, Row, State

MOST: Final = 48
"""How many intervals are shown at most by default."""

_MINUTE: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)
_STEPS: Final = (_MINUTE, 5 * _MINUTE, 15 * _MINUTE, _HOUR, 6 * _HOUR, 24 * _HOUR)


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """What happened in a queue in a span of time."""

    since: datetime
    """Its beginning."""

    until: datetime
    """Its end."""

    enqueued: int = 0
    """Jobs that were created."""

    started: int = 0
    """Runs that began."""

    completed: int = 0
    """Jobs that completed."""

    failed: int = 0
    """Jobs that failed and are not retried."""

    timed_out: int = 0
    """Jobs whose last attempt ran past its time limit."""

    cancelled: int = 0
    """Jobs that were cancelled."""

    retrying: int = 0
    """Runs after which another attempt was planned."""

    lost: int = 0
    """Runs whose lease lapsed."""

    deleted: int = 0
    """Records that were deleted, by a caller or because their retention expired."""

    waited: timedelta | None = None
    """How long jobs that were started had been queued, on average; `None` if none was started."""

    ran: timedelta | None = None
    """How long runs that ended had taken, on average; `None` if none ended."""

    def rate(self, count: str) -> float:
        """Return how many of something happened a second.

        Args:
            count: The name of one of the counts, such as `completed`.

        Returns:
            Jobs a second; zero for an empty span.
        """
        seconds = (self.until - self.since).total_seconds()
        found: int = getattr(self, count)
        return found / seconds if seconds > 0 else 0.0


class QueueStats(msgspec.Struct, frozen=True, kw_only=True):
    """Statistics of a queue."""

    queue: str
    """Its name."""

    total: Interval
    """What happened in the whole span."""

    intervals: Sequence[Interval]
    """What happened in each part of it, oldest first."""

    now: Counts
    """How many jobs are in each state."""

    latency: timedelta
    """For how long the job that is taken next has been queued; zero if none is queued."""


def _to(state: State) -> Callable[[Row], bool]:
    return lambda row: row[2] is state is not row[0]


def _by(*events: Event) -> Callable[[Row], bool]:
    return lambda row: row[1] in events


_COUNTS: Final[Mapping[str, Callable[[Row], bool]]] = {
    "enqueued": _by(Event.ENQUEUE),
    "started": lambda row: (
        row[1] is Event.CLAIM or (row[:2] == (None, Event.ENQUEUE) and row[2] is State.RUNNING)
    ),
    "completed": _to(State.COMPLETED),
    "failed": _to(State.FAILED),
    "timed_out": _to(State.TIMED_OUT),
    "cancelled": _to(State.CANCELLED),
    "retrying": _to(State.RETRYING),
    "lost": _by(Event.LOSE),
    "deleted": _by(Event.DELETE, Event.EXPIRE),
}
"""Which rows of the ledger each count sums up."""


def interval(since: datetime, until: datetime, totals: Totals) -> Interval:
    """Return what a ledger counted in a span of time, under the names that people use.

    Args:
        since: The beginning of the span.

        until: Its end.

        totals: What was counted in it.

    Returns:
        The counts.
    """
    rows = [(row, tally) for name, tally in totals.items() if (row := row_of(name)) is not None]
    counts = {name: sum(tally.jobs for row, tally in rows if is_one(row)) for name, is_one in _COUNTS.items()}
    return Interval(
        since=since,
        until=until,
        waited=_mean(tally for row, tally in rows if row[1] is Event.CLAIM),
        ran=_mean(tally for row, tally in rows if row[0] is State.RUNNING and row[1] is not Event.QUARANTINE),
        **counts,
    )


def _mean(tallies: Iterable[Tally]) -> timedelta | None:
    found = list(tallies)
    jobs = sum(tally.jobs for tally in found)
    return timedelta(milliseconds=sum(tally.ms for tally in found) / jobs) if jobs else None


def span_of(value: object) -> timedelta:
    """Return how far back statistics go.

    Args:
        value: A timedelta, or seconds.

    Returns:
        The span, at least a minute.

    Raises:
        InvalidArgument: It cannot be used, or is longer than ledgers are kept.
    """
    span = duration(value, "since", least=_MINUTE)  # type: ignore[arg-type]  # it checks
    if span > HOURS:
        raise InvalidArgument(
            f"since must be at most {HOURS.days} days, for which ledgers are kept, not {span}"
        )
    return span


def step_of(span: timedelta, value: object = None) -> timedelta:
    """Return how long each interval of a span is.

    Args:
        span: The whole span.

        value: What the caller asks for: a timedelta or seconds; `None` for no more than `MOST` intervals.

    Returns:
        Whole minutes; whole hours for more than two days.

    Raises:
        InvalidArgument: It cannot be used.
    """
    if value is None:
        return next((step for step in _STEPS if span <= MOST * step), _STEPS[-1])
    step = duration(value, "step", least=_MINUTE)  # type: ignore[arg-type]  # it checks
    if step % _MINUTE:
        raise InvalidArgument(f"step must be whole minutes, not {step}")
    return step


def read_stats(engine: Engine, queue: str, span: timedelta, step: timedelta) -> Steps[QueueStats]:
    """Read the statistics of a queue.

    Args:
        engine: Where.

        queue: The queue.

        span: How far back.

        step: How long each interval is; by whole hours, they begin with the hour in which the span does.

    Returns:
        The statistics, up to now.
    """
    now: datetime = yield Call("now")
    since = now - span
    since -= timedelta(
        minutes=since.minute if step >= _HOUR else 0, seconds=since.second, microseconds=since.microsecond
    )
    books = yield from engine.ledger(queue, since, hourly=step >= _HOUR)
    counts = yield from engine.counts(queue)
    first: Page = yield from engine.page(List(queue=queue, state=State.QUEUED, limit=1))
    waiting = [head.queued_at or head.created_at for head in first.heads]
    spent = difference(books.totals, totals_at(books, since))
    return QueueStats(
        queue=queue,
        total=interval(since, books.now, spent),
        intervals=[
            interval(one.since, one.until, one.totals) for one in buckets(books, since, books.now, step)
        ],
        now=counts,
        latency=max((books.now - at for at in waiting), default=timedelta(0)),
    )


def read_all(engine: Engine, span: timedelta, step: timedelta) -> Steps[dict[str, QueueStats]]:
    """Read the statistics of all queues.

    Args:
        engine: Where.

        span: How far back.

        step: How long each interval is.

    Returns:
        The statistics by queue, sorted by name.
    """
    found = {}
    for queue in (yield from engine.queues()):
        found[queue] = yield from read_stats(engine, queue, span, step)
    return found
