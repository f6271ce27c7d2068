"""Records: what a backend keeps of a job; and the ids that say where a job lives."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from stanchion.errors.texts import shown
from stanchion.model.policies import Until
from stanchion.model.states import State


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a record's append-only list."""

    at: datetime
    """When it was appended, by the backend's clock."""

    data: bytes
    """What was appended; a backend never decodes it."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A job as a backend keeps it, as last read.

    The head is all that a backend reads. Spec, notes and lists are bytes to it.
    """

    id: str
    """Where the job lives: `<queue>:<key>`."""

    task: str
    """The name of the task it runs."""

    state: State
    """Where it is in its life."""

    claim: str | None = None
    """While running: the id of the claim that holds it, the fencing token."""

    run: int = 0
    """How often it was started; the number of its current or last run."""

    worker: str | None = None
    """While running: the worker that holds it."""

    revision: int = 0
    """How many changes were made to it without a claim."""

    due_at: datetime | None = None
    """Its state's one clock; see `stanchion.model.states`."""

    priority: int = 0
    """-100 (last) to 100 (first)."""

    place: int = 0
    """Its place among jobs of its priority: lower goes first. Given by the backend when it is queued."""

    unique: str | None = None
    """The digest of the unique key it holds now, if any."""

    scope: Until | None = None
    """Until when it holds its unique key."""

    tags: tuple[str, ...] = ()
    """What it can be found by."""

    created_at: datetime
    """When it was inserted."""

    started_at: datetime | None = None
    """When its current or last run started."""

    ended_at: datetime | None = None
    """When it became final."""

    spec: bytes
    """Arguments and policy, written once at insert; see `stanchion.codec.payloads`."""

    notes: Mapping[str, bytes] = {}
    """Named values, each present only once written."""

    lists: Mapping[str, tuple[Entry, ...]] = {}
    """Named append-only lists, oldest entry first, bounded."""

    @property
    def queue(self) -> str:
        """The queue it lives in."""
        return self.id.partition(":")[0]

    @property
    def cancel_requested(self) -> bool:
        """Whether somebody asked to cancel it while it was running."""
        return "cancel" in self.notes

    def count(self, note: str) -> int:
        """A counter among the notes. One that cannot be read counts as used up, so that the job can end."""
        digits = self.notes.get(note, b"0")
        return int(digits) if digits.isdigit() and len(digits) < 10 else 1_000_000_000

    def __repr__(self) -> str:
        return f"<Record {shown(self.id)} {self.state}, run {self.run}>"


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """A job to insert."""

    id: str
    """Where it shall live: `<queue>:<key>`."""

    task: str
    """The name of its task."""

    state: State
    """One of `stanchion.model.states.FIRST`."""

    clock: datetime | timedelta | None = None
    """Its state's clock: an instant, or a timedelta from the backend's now."""

    priority: int = 0
    """-100 (last) to 100 (first)."""

    unique: str | None = None
    """The digest of the unique key it takes."""

    scope: Until | None = None
    """Until when it holds its unique key."""

    tags: tuple[str, ...] = ()
    """What it can be found by."""

    spec: bytes
    """Arguments and policy."""
