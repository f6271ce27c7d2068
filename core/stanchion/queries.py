"""What a backend answers."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from attrs import frozen

from stanchion.jobs import Record
from stanchion.states import State

Counts = Mapping[State, int]
"""How many jobs of one queue are in each state; every state has its key."""


@frozen
class Inserted:
    """The answer for one inserted item."""

    created: bool
    """Whether a job was made; otherwise its id or its unique key was taken."""

    record: Record | None
    """If not created: the job that has the id or holds the unique key."""


@frozen(kw_only=True)
class Claimed:
    """The answer to a claim."""

    records: list[Record]
    """The jobs taken, in the order they shall start."""

    now: datetime
    """The backend's time."""

    more: bool
    """Whether more could have been taken at once."""

    next_due_at: datetime | None
    """When the next waiting job of these queues is due."""


@frozen(kw_only=True)
class Due:
    """Jobs whose clock has run out."""

    now: datetime
    """The backend's time."""

    records: list[Record]
    """The jobs, those of running states first, oldest clock first within a state."""


@frozen(kw_only=True)
class Page:
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


@frozen(kw_only=True)
class Finding:
    """Something wrong inside the store."""

    fault: Fault
    """What kind of wrong."""

    where: str
    """The job's id, or the part of the store."""

    detail: str
    """What was found, for a person."""


@frozen(kw_only=True)
class CheckPage:
    """One page of a check."""

    findings: list[Finding]
    """What is wrong in this part; empty if nothing is."""

    cursor: str | None
    """What to pass to go on; none: everything was looked at."""
