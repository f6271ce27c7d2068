"""What the memory backend keeps of one queue: records, indexes in order, and the ledger."""

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime

from stanchion.model.accounts import Account
from stanchion.model.ordering import Place, is_due, place_at, place_of
from stanchion.model.queues import QueueSettings
from stanchion.model.records import Record
from stanchion.model.states import Event, State


class Shelf:
    """One queue."""

    def __init__(self) -> None:
        self.settings = QueueSettings()
        self.records: dict[str, Record] = {}
        self.index: dict[State, list[Place]] = {state: [] for state in State}
        self.tagged: defaultdict[tuple[State, str], list[Place]] = defaultdict(list)
        """An index for each state and tag."""
        self.holders: dict[str, str] = {}
        """The job that holds each unique key, by its digest."""
        self.account = Account()
        self._places = 0

    def tail(self) -> int:
        """Return the next place.

        Returns:
            A number higher than any before.
        """
        self._places += 1
        return self._places

    def create(self, record: Record, now: datetime) -> None:
        """Keep a new record."""
        self._put(record)
        self.account.enter(None, Event.ENQUEUE, record, now)

    def change(self, found: Record, event: Event, after: Record | None, now: datetime) -> None:
        """Keep what an event made of a record, or remove it."""
        self._remove(found)
        if after is not None:
            self._put(after)
        self.account.enter(found, event, after, now)

    def _put(self, record: Record) -> None:
        self.records[record.id] = record
        for index in self._indexes(record):
            insort(index, place_of(record))
        if record.unique is not None:
            self.holders[record.unique] = record.id

    def _remove(self, found: Record) -> None:
        del self.records[found.id]
        for index in self._indexes(found):
            del index[bisect_left(index, place_of(found))]
        for tag in found.tags:
            if not self.tagged[found.state, tag]:
                del self.tagged[found.state, tag]
        if found.unique is not None and self.holders.get(found.unique) == found.id:
            del self.holders[found.unique]

    def _indexes(self, record: Record) -> list[list[Place]]:
        return [self.index[record.state], *(self.tagged[record.state, tag] for tag in record.tags)]

    def first(self, state: State, count: int) -> list[Record]:
        """Return the first records of a state.

        Returns:
            At most `count` records.
        """
        return [self.records[place[-1]] for place in self.index[state][:count]]

    def page(self, state: State, tag: str | None, cursor: str | None, *, newest: bool) -> Iterator[Record]:
        """Return the records of a state behind a cursor, from either end.

        Returns:
            The records, in the order of the listing.
        """
        index = self.index[state] if tag is None else self.tagged.get((state, tag), [])
        if newest:
            end = len(index) if cursor is None else bisect_left(index, place_at(cursor))
            places = reversed(index[:end])
        else:
            places = iter(index[0 if cursor is None else bisect_right(index, place_at(cursor)) :])
        return (self.records[place[-1]] for place in places)

    def count(self, tag: str | None) -> dict[State, int]:
        """Count the jobs in each state.

        Returns:
            The counts by state; with a tag, those of jobs with this tag.
        """
        if tag is None:
            return {state: len(index) for state, index in self.index.items()}
        return {state: len(self.tagged.get((state, tag), ())) for state in State}

    def due(self, state: State, now: datetime, count: int) -> Iterator[Record]:
        """Yield the records of a state that are due, the longest due first.

        Returns:
            At most `count` records.
        """
        for record in self.first(state, count):
            if state is State.QUEUED or not is_due(record, now):
                return
            yield record

    def next_due_at(self, states: Iterable[State]) -> datetime | None:
        """Return the first deadline of some states.

        Returns:
            The deadline; `None` if no job has one.
        """
        due = [one.due_at for state in states for one in self.first(state, 1) if one.due_at is not None]
        return min(due, default=None)

    def faults(self) -> Iterator[tuple[str, str]]:
        """Find what is wrong with the shelf.

        Returns:
            Where and what of each fault; none unless this file has a bug.
        """
        for state, index in self.index.items():
            for place in index:
                record = self.records.get(place[-1])
                if record is None or record.state is not state or place_of(record) != place:
                    yield place[-1], f"it is listed as {state} where it does not belong"
        for (state, tag), index in self.tagged.items():
            for place in index:
                record = self.records.get(place[-1])
                if record is None or record.state is not state or tag not in record.tags:
                    yield place[-1], f"it is listed as {state} with tag {tag} where it does not belong"
        for record in self.records.values():
            if record.state is State.RUNNING and (record.claim is None or record.worker is None):
                yield record.id, "it is running without a claim or a worker"
            if record.unique is not None and self.holders.get(record.unique) != record.id:
                yield record.id, "it says it holds a unique key and does not"
        for holder in self.holders.values():
            if holder not in self.records:
                yield holder, "it holds a unique key and does not exist"
        if sum(map(len, self.index.values())) != len(self.records):
            yield "index", "it lists another number of jobs than there are"
