"""Requests: what core asks a backend, one value for each verb. A field that is added has a default."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from stanchion.model.changes import Change
from stanchion.model.records import Item
from stanchion.model.selection import Where
from stanchion.model.states import State


class Insert(msgspec.Struct, frozen=True):
    """Create jobs."""

    items: Sequence[Item]
    """The jobs, in the order in which they are created; at most `Limits.batch`."""


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Take jobs for a worker."""

    queues: Sequence[str]
    """The queues to take from, in this order."""

    limit: int
    """How many jobs at most; at most `Limits.batch`."""

    claim_id: str
    """A new id, or the one of a claim that was not answered."""

    worker: str
    """The worker's name."""

    lease: timedelta
    """How long the jobs are held."""


class Apply(msgspec.Struct, frozen=True):
    """Make changes."""

    changes: Sequence[Change]
    """The changes, in the order in which they are made; at most `Limits.batch`."""


class FindDue(msgspec.Struct, frozen=True):
    """Find jobs that are due."""

    queues: Sequence[str]
    """Where to look."""

    limit: int
    """How many jobs at most; at most `Limits.batch`."""


class Get(msgspec.Struct, frozen=True):
    """Read jobs."""

    ids: Sequence[str]
    """Which jobs; at most `Limits.batch`."""


class List(msgspec.Struct, frozen=True, kw_only=True):
    """Read one page of the heads of a queue's jobs in a state."""

    queue: str
    """The queue."""

    state: State
    """The state."""

    cursor: str | None = None
    """`Page.cursor` of the page before, of the same request; `None` for the first page."""

    tag: str | None = None
    """Only jobs with this tag."""

    where: Where | None = None
    """Only jobs whose head says this. At most `Limits.looks` heads are looked at for a page."""

    newest: bool = False
    """Whether to begin at the other end."""

    limit: int | None = None
    """How many heads at most; defaults to `Limits.batch`, which is the most."""


class Count(msgspec.Struct, frozen=True):
    """Count jobs by state."""

    queues: Sequence[str]
    """The queues."""

    tag: str | None = None
    """Only jobs with this tag."""


class ReadLedger(msgspec.Struct, frozen=True, kw_only=True):
    """Read a queue's ledger."""

    queue: str
    """The queue."""

    since: datetime | None = None
    """With the snapshots since this instant, and the last one before it; `None`: with totals alone."""

    hourly: bool = False
    """Whether the last snapshot of each hour is enough: then `since` is the beginning of an hour."""


class Wait(msgspec.Struct, frozen=True):
    """Wait for work."""

    queues: Sequence[str]
    """The queues."""

    timeout: timedelta
    """How long at most."""


class Configure(msgspec.Struct, frozen=True, kw_only=True):
    """Change some settings of a queue; the others stay as they are."""

    queue: str
    """The queue; it is created if it does not exist."""

    set: Mapping[str, Any] = {}
    """New values, by the name of the field of `stanchion.model.queues.QueueSettings`."""

    unset: Sequence[str] = ()
    """Settings that get their default again."""


class Forget(msgspec.Struct, frozen=True):
    """Remove a queue without jobs."""

    queue: str
    """The queue."""


class Check(msgspec.Struct, frozen=True):
    """Look for damage in one part of a queue's store."""

    queue: str
    """The queue."""

    cursor: str | None = None
    """`CheckPage.cursor` of the part before; `None` for the first."""
