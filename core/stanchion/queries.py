"""What a backend answers."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

import msgspec

from stanchion.jobs import Record
from stanchion.states import State

Counts = Mapping[State, int]
"""How many jobs of one queue are in each state; every state has its key."""


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
