"""What a backend answers."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from enum import StrEnum

import msgspec

from stanchion.model.records import Record
from stanchion.model.states import State

Counts = Mapping[State, int]
"""How many jobs of one queue are in each state; every state has its key."""


def size_of(record: Record) -> int:
    """How many bytes a job holds for others: spec, notes and lists. The rest is small."""
    size = len(record.spec) + sum(map(len, record.notes.values()))
    return size + sum(len(entry.data) for entries in record.lists.values() for entry in entries)


class Room:
    """How much an answer may still hold: so many bytes of jobs, and one job whatever its size."""

    def __init__(self, size: int) -> None:
        self._left, self._any = size, False

    def first_of(self, records: Iterable[Record]) -> Iterator[Record]:
        """The first of these jobs that fit; behind one that does not, none fits any more."""
        for record in records:
            if not self.fits(size_of(record)):
                return
            yield record

    def fits(self, size: int) -> bool:
        """Whether a job of so many bytes fits, which is counted then."""
        if self._any and size > self._left:
            self._left = -1
            return False
        self._any, self._left = True, self._left - size
        return True


class Inserted(msgspec.Struct, frozen=True):
    """The answer for one inserted item."""

    created: bool
    """Whether this call made a job; otherwise its id or its unique key was taken."""

    record: Record | None
    """If not created: the job that has the id or holds the unique key. `None` if created, as far as backends know."""


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a claim."""

    records: list[Record]
    """The jobs taken, in the order they shall start."""

    now: datetime
    """The backend's time."""

    more: bool
    """Whether more could have been taken at once."""

    next_due_at: datetime | None
    """When the next waiting job of these queues is due."""


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs whose clock has run out."""

    now: datetime
    """The backend's time."""

    records: list[Record]
    """The jobs, those of running states first, oldest clock first within a state."""

    more: bool = False
    """Whether there may be more."""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a listing."""

    records: list[Record]
    """The jobs."""

    cursor: str | None
    """What to pass for the next page; none: this was the last."""


class Fault(StrEnum):
    """What can be wrong inside a store."""

    UNREADABLE = "unreadable"
    """A record that cannot be read, put aside or still in its place."""

    MISPLACED = "misplaced"
    """A record that stands where its state does not belong, or in no place or several."""

    UNCLAIMED = "unclaimed"
    """A running job without claim or lease, or another one with them."""

    UNIQUE = "unique"
    """A unique key whose holder does not exist or does not claim it, or the reverse."""

    CORRUPT = "corrupt"
    """A part of the store that is not what it should be."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something wrong inside the store."""

    fault: Fault
    """What kind of wrong."""

    where: str
    """The job's id, or the part of the store."""

    detail: str
    """What was found, for a person."""


class CheckPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a check."""

    findings: list[Finding]
    """What is wrong in this part; empty if nothing is."""

    cursor: str | None
    """What to pass to go on; none: everything was looked at."""
