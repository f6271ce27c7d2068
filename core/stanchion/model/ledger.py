"""The ledger: how often each way from state to state was taken in a queue. Pure functions and values.

For each state, moves in minus moves out are the jobs in it now: the conservation law of a queue. A ledger counts in
the same atomic step as the move. Its totals run forever; as a minute ends, they are kept as a snapshot, for
`MINUTES`, and the last one of each hour for `HOURS`. So what was counted between two instants is the difference of two
snapshots, and one counting costs one number.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from stanchion.model.states import ROWS, Event, Row, State

MINUTES: Final = timedelta(days=2)
"""How long the snapshot of each minute is kept."""

HOURS: Final = timedelta(days=90)
"""How long the last snapshot of each hour is kept."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE: Final = timedelta(minutes=1)
_ABSENT: Final = "-"


class Tally(msgspec.Struct, frozen=True, array_like=True):
    """How often a row was taken."""

    jobs: int = 0
    """How many jobs took it."""

    ms: int = 0
    """For how many milliseconds, in all, these jobs had been queued or running when they left that state."""


Totals = Mapping[str, Tally]
"""The tallies of the rows that were taken, by the row's name."""


class Snapshot(msgspec.Struct, frozen=True):
    """The totals of a queue after the last counting of a minute."""

    minute: int
    """Minutes since 1970."""

    totals: Totals
    """What had been counted until then."""


class Books(msgspec.Struct, frozen=True, kw_only=True):
    """A queue's ledger, as a backend answers it."""

    now: datetime
    """The backend's time."""

    minute: int = 0
    """The minute of the last counting, since 1970."""

    totals: Totals
    """What was ever counted."""

    snapshots: Sequence[Snapshot] = ()
    """Earlier totals, oldest first."""


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """What was counted in a span of time."""

    since: datetime
    """Its beginning; belongs to it."""

    until: datetime
    """Its end; belongs to the next one."""

    totals: Totals
    """What was counted in it."""


def _name(row: Row) -> str:
    state, event, to = row
    return f"{state or _ABSENT}.{event}.{to or _ABSENT}"


NAMES: Final[Mapping[Row, str]] = {row: _name(row) for row in sorted(ROWS, key=_name)}
"""The names of all rows, by which tallies are kept: state, event and new state, such as `queued.claim.running`; `-`
stands for absence."""

_BY_NAME: Final[Mapping[str, Row]] = {name: row for row, name in NAMES.items()}


def minute_of(now: datetime) -> int:
    """Return the minute of an instant.

    Args:
        now: The instant.

    Returns:
        Whole minutes since 1970.
    """
    return (now - _EPOCH) // _MINUTE


class Ledger(msgspec.Struct):
    """What a queue's ledger counts now."""

    totals: dict[str, Tally] = {}
    minute: int = 0
    """The minute of the last counting."""

    def count(
        self,
        state: State | None,
        event: Event,
        to: State | None,
        now: datetime,
        *,
        jobs: int = 1,
        ms: int = 0,
    ) -> Snapshot | None:
        """Count jobs that take a row. What stays in its state is not counted.

        Args:
            state: The state they leave; `None` if they are created.

            event: What happened to them.

            to: The state they go to; `None` if they are deleted.

            now: The backend's time.

            jobs: How many.

            ms: How long they had been in the state that they leave; see `stanchion.model.effects.spent`.

        Returns:
            A snapshot to be kept, if a new minute began.
        """
        if state is to:
            return None
        closed = self._turn(minute_of(now))
        name = NAMES[state, event, to]
        before = self.totals.get(name)
        self.totals[name] = Tally(jobs, ms) if before is None else Tally(before.jobs + jobs, before.ms + ms)
        return closed

    def _turn(self, minute: int) -> Snapshot | None:
        if minute <= self.minute:
            return None
        closed = Snapshot(self.minute, dict(self.totals)) if self.totals else None
        self.minute = minute
        return closed


class Snapshots(msgspec.Struct):
    """Kept snapshots, for backends that hold them in this process."""

    kept: list[Snapshot] = []

    def keep(self, snapshot: Snapshot | None) -> None:
        """Keep a snapshot, and drop those that were kept for long enough.

        Args:
            snapshot: A later one than those kept; `None` does nothing.
        """
        if snapshot is None:
            return
        self.kept.append(snapshot)
        self.kept = thinned(self.kept, snapshot.minute)

    def read(self, since: datetime | None) -> list[Snapshot]:
        """Return the snapshots from which what was counted since an instant can be computed.

        Args:
            since: The instant; `None` for all.

        Returns:
            Those since then and the last one before it, oldest first.
        """
        if since is None:
            return list(self.kept)
        first = bisect_left(self.kept, minute_of(since), key=lambda one: one.minute)
        return self.kept[max(0, first - 1) :]


def thinned(snapshots: Sequence[Snapshot], minute: int) -> list[Snapshot]:
    """Return those of some snapshots that are kept at a minute.

    Args:
        snapshots: Snapshots, oldest first.

        minute: Minutes since 1970.

    Returns:
        Those of the last `MINUTES`, the last of each hour of the last `HOURS`, and the last one before: what a queue
        counted that was idle for longer is the difference to that.
    """
    oldest_minute, oldest = minute - MINUTES // _MINUTE, minute - HOURS // _MINUTE
    by_hour = {one.minute // 60: one for one in snapshots if one.minute > oldest}
    before = [one for one in snapshots if one.minute <= oldest][-1:]
    kept = [one for one in snapshots if one.minute > oldest_minute or by_hour.get(one.minute // 60) is one]
    return before + kept


def balance(totals: Totals) -> dict[State, int]:
    """Return how many jobs are in each state, by what was counted.

    Args:
        totals: What was ever counted.

    Returns:
        Moves in minus moves out, for every state.
    """
    inside = dict.fromkeys(State, 0)
    for name, tally in totals.items():
        if name in _BY_NAME:
            state, _, to = _BY_NAME[name]
            if state is not None:
                inside[state] -= tally.jobs
            if to is not None:
                inside[to] += tally.jobs
    return inside


def row_of(name: str) -> Row | None:
    """Return the row of a name.

    Args:
        name: One of `NAMES`.

    Returns:
        The row; `None` if there is no such row: a later version may know more.
    """
    return _BY_NAME.get(name)


def buckets(books: Books, since: datetime, until: datetime, step: timedelta) -> list[Bucket]:
    """Return what was counted in spans of time.

    Args:
        books: A queue's ledger, with snapshots since the beginning.

        since: The beginning of the first one; of a whole minute.

        until: The end of the last one, at the latest.

        step: How long each is: whole minutes, or whole hours where that is longer ago than `MINUTES`.

    Returns:
        One bucket for each step, oldest first, empty ones as well; the last one may be shorter.
    """
    found: list[Bucket] = []
    before = totals_at(books, since)
    while since < until:
        end = min(since + step, until)
        after = totals_at(books, end)
        found.append(Bucket(since=since, until=end, totals=difference(after, before)))
        since, before = end, after
    return found


def totals_at(books: Books, at: datetime) -> Totals:
    """Return what had been counted before an instant.

    Args:
        books: A queue's ledger.

        at: The instant; of a whole minute, or the present.

    Returns:
        The totals of the last snapshot before it; the present ones if nothing was counted since then.
    """
    if minute_of(at) > books.minute or at >= books.now:
        return books.totals
    later = bisect_left(books.snapshots, minute_of(at), key=lambda one: one.minute)
    return books.snapshots[later - 1].totals if later else {}


def difference(after: Totals, before: Totals) -> Totals:
    """Return what was counted between two totals.

    Args:
        after: The later ones.

        before: The earlier ones.

    Returns:
        The rows that were taken in between.
    """
    found = {}
    for name, tally in after.items():
        was = before.get(name, Tally())
        if tally != was:
            found[name] = Tally(tally.jobs - was.jobs, tally.ms - was.ms)
    return found
