"""What the memory backend keeps of one queue: records, and an index for each state in the order of its clock."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final

from stanchion.model.queues import QueueSettings
from stanchion.model.records import Record
from stanchion.model.states import FINAL, State

Place = tuple[int, int, str]
"""Where a record stands in an index; its id is the last part."""

_NO_CLOCK: Final = 1 << 52
"""Stands behind every clock in milliseconds."""


def place_of(record: Record) -> Place:
    """Return where a record stands among those of its state: by clock, creation and id; queued ones by place.

    Those without a clock come last.
    """
    if record.state is State.QUEUED:
        return (-record.priority, record.place, record.id)
    if record.due_at is None:
        return (_NO_CLOCK, _ms(record.ended_at or record.created_at), record.id)
    return (_ms(record.due_at), _ms(record.created_at), record.id)


def _ms(instant: datetime) -> int:
    return round(instant.timestamp() * 1000)


class Shelf:
    """One queue."""

    def __init__(self) -> None:
        self.settings = QueueSettings()
        self.records: dict[str, Record] = {}
        self.index: dict[State, list[Place]] = {state: [] for state in State}
        self.holders: dict[str, str] = {}
        """The job that holds each unique key, by its digest."""
        self._places = 0

    def tail(self) -> int:
        """The next place."""
        self._places += 1
        return self._places

    def put(self, record: Record) -> None:
        """Keep a record, instead of the one of its id if there is one."""
        self.remove(record.id)
        self.records[record.id] = record
        insort(self.index[record.state], place_of(record))
        if record.unique is not None:
            self.holders[record.unique] = record.id

    def remove(self, job_id: str) -> None:
        """Remove a record if it is there, and free its unique key."""
        old = self.records.pop(job_id, None)
        if old is None:
            return
        index = self.index[old.state]
        del index[bisect_left(index, place_of(old))]
        if old.unique is not None and self.holders.get(old.unique) == old.id:
            del self.holders[old.unique]

    def first(self, state: State, count: int) -> list[Record]:
        """The first records of a state."""
        return [self.records[place[-1]] for place in self.index[state][:count]]

    def after(self, state: State, cursor: str | None, count: int) -> list[Record]:
        """The first records of a state behind a cursor."""
        index = self.index[state]
        start = 0 if cursor is None else bisect_right(index, _parsed(cursor))
        return [self.records[place[-1]] for place in index[start : start + count]]

    def due(self, state: State, now: datetime, count: int) -> Iterator[Record]:
        """The records of a state whose clock has run out, oldest first."""
        for record in self.first(state, count):
            if record.due_at is None or record.due_at > now or state is State.QUEUED:
                return
            yield record

    def next_due_at(self, states: Iterable[State]) -> datetime | None:
        """The first clock of some states."""
        clocks = [one.due_at for state in states for one in self.first(state, 1) if one.due_at is not None]
        return min(clocks, default=None)

    def faults(self) -> Iterator[tuple[str, str]]:
        """What is wrong with it: where, and what; nothing, unless this file has a bug."""
        for state, index in self.index.items():
            for place in index:
                record = self.records.get(place[-1])
                if record is None or record.state is not state or place_of(record) != place:
                    yield place[-1], f"it is listed as {state} where it does not belong"
        for record in self.records.values():
            held = record.state is State.RUNNING
            if held != (record.claim is not None) or held != (record.worker is not None):
                yield record.id, f"it is {record.state} and its claim does not fit"
            if (record.state in FINAL) != (record.ended_at is not None):
                yield record.id, f"it is {record.state} and its end does not fit"
            if record.unique is not None and self.holders.get(record.unique) != record.id:
                yield record.id, "it says it holds a unique key and does not"
        for holder in self.holders.values():
            if holder not in self.records:
                yield holder, "it holds a unique key and does not exist"
        if sum(map(len, self.index.values())) != len(self.records):
            yield "index", "it lists another number of jobs than there are"


def cursor_of(record: Record) -> str:
    """A record's place as text, for the page behind it."""
    return "{} {} {}".format(*place_of(record))


def _parsed(cursor: str) -> Place:
    major, minor, job_id = cursor.split(" ")
    return (int(major), int(minor), job_id)
