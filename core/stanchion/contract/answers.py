"""Answers: what a backend answers, one value for each verb."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from enum import StrEnum

import msgspec

from stanchion.model.ledger import Totals, balance
from stanchion.model.queues import QueueSettings
from stanchion.model.records import Head, Record
from stanchion.model.states import State

Counts = Mapping[State, int]
"""How many jobs of one queue are in each state; every state has its key."""


def size_of(record: Record) -> int:
    """Return how many bytes a claimed job brings: arguments, notes and lists. The rest is small.

    Args:
        record: The job.

    Returns:
        Bytes.
    """
    size = len(record.args) + sum(map(len, record.notes.values()))
    return size + sum(len(entry.data) for entries in record.lists.values() for entry in entries)


class Room:
    """How much an answer may still hold: so many bytes of jobs, and one job whatever its size.

    Args:
        size: How many bytes.
    """

    def __init__(self, size: int) -> None:
        self._left, self._any = size, False

    def first_of(self, records: Iterable[Record]) -> Iterator[Record]:
        """Return the first of some jobs that fit; after one that does not, no more fit.

        Args:
            records: The jobs.

        Returns:
            As many as fit.
        """
        for record in records:
            if not self.fits(size_of(record)):
                return
            yield record

    def fits(self, size: int) -> bool:
        """Return whether a job of so many bytes fits; if so, count it.

        Args:
            size: How many bytes.

        Returns:
            `True` if it fits; `False` for all jobs after the first that does not.
        """
        if self._any and size > self._left:
            self._left = -1
            return False
        self._any, self._left = True, self._left - size
        return True


class Inserted(msgspec.Struct, gc=False, frozen=True):
    """The answer for one inserted item."""

    created: bool
    """Whether this call created a job; otherwise its id or its unique key was taken."""

    head: Head | None
    """If not created: the job that has the id or holds the unique key."""

    now: datetime
    """The backend's time: if created, when."""


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a claim."""

    records: list[Record]
    """The jobs taken, in the order in which they shall start; their lists may be left out."""

    now: datetime
    """The backend's time."""

    ask_again_at: datetime | None
    """When asking again may find jobs though nothing woke the caller: now, if more could have been taken at once, or
    when the next waiting job of these queues is due; `None`: not known to be at any time."""

    @property
    def more(self) -> bool:
        """Whether more could have been taken at once."""
        return self.ask_again_at is not None and self.ask_again_at <= self.now


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs that are due."""

    now: datetime
    """The backend's time."""

    heads: list[Head]
    """The jobs, by state as in `stanchion.model.states.SWEPT`, and within a state the longest due first."""

    more: bool = False
    """Whether there may be more."""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a listing."""

    heads: list[Head]
    """The jobs; there may be fewer than asked for, even zero, and still a next page."""

    cursor: str | None
    """What to pass for the next page; `None`: this was the last."""


class Configured(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a change of settings."""

    before: QueueSettings
    """What they were."""

    after: QueueSettings
    """What they are."""


class Fault(StrEnum):
    """What can be wrong inside a store."""

    UNREADABLE = "unreadable"
    """A record that cannot be read, quarantined or still in its place."""

    MISPLACED = "misplaced"
    """A record in a place that does not belong to its state, or in no place or several."""

    UNCLAIMED = "unclaimed"
    """A running job without claim or lease, or another one with them."""

    UNIQUE = "unique"
    """A unique key whose holder does not exist or does not claim it, or the reverse."""

    CORRUPT = "corrupt"
    """A part of the store that is not what it should be."""

    UNBALANCED = "unbalanced"
    """A state in which the ledger's moves in minus moves out are not the jobs in it."""


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
    """What to pass for the next page; `None`: everything was looked at."""


def unbalanced(queue: str, totals: Totals, counts: Counts) -> list[Finding]:
    """Return where a queue's ledger and its jobs disagree.

    Args:
        queue: The queue's name.

        totals: What its ledger counted.

        counts: How many jobs are in each state, read in the same atomic step.

    Returns:
        One finding for each state in which moves in minus moves out are not the jobs in it.
    """
    return [
        Finding(
            fault=Fault.UNBALANCED,
            where=f"{queue}:{state}",
            detail=f"moves in minus moves out are {inside}, and {counts[state]} jobs are there",
        )
        for state, inside in balance(totals).items()
        if inside != counts[state]
    ]
