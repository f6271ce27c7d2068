"""Records: what a backend keeps of a job. A head is all that is decided on; a body is what the head describes.

Values of which there are many are made with `gc=False`, here and wherever else it stands: they hold no cycles, so the
garbage collector need not look at them.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from stanchion.errors.texts import shown
from stanchion.model.policies import Until
from stanchion.model.states import State


class Entry(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """One entry of a record's append-only list."""

    at: datetime
    """When it was appended, by the backend's clock."""

    data: bytes
    """What was appended; a backend never decodes it."""


class Cancel(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """A request to cancel a running job."""

    reason: str = ""
    """Why; empty if no reason was given."""

    at: datetime
    """When it was first made, by the backend's clock."""


class Head(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """What is decided on and listed: everything of a job but its arguments, values and lists."""

    id: str
    """Where the job lives: `<queue>:<key>`."""

    task: str
    """The name of the task it runs."""

    state: State
    """Where it is in its life."""

    created_at: datetime
    """When it was inserted. It names the life: an id may be used again."""

    queued_at: datetime | None = None
    """When it last became claimable; `None` if that was when it was created, or never."""

    started_at: datetime | None = None
    """When its current or last run started."""

    ended_at: datetime | None = None
    """When it became final."""

    due_at: datetime | None = None
    """Its state's deadline; see `stanchion.model.states`."""

    priority: int = 0
    """-100 (last) to 100 (first)."""

    place: int = 0
    """Its place among jobs of its priority: lower goes first. Given by the backend when it is queued."""

    claim: str | None = None
    """The id of the claim that holds it while it is running, and afterwards of the one that held it last."""

    worker: str | None = None
    """The worker that holds it while it is running, and afterwards the one that held it last."""

    run: int = 0
    """How often it was started; the number of its current or last run."""

    revision: int = 0
    """How many changes were made to it; claims, and what a run writes while it goes on, do not count."""

    unique: str | None = None
    """The digest of the unique key it holds now, if any."""

    scope: Until | None = None
    """Until when it holds its unique key."""

    tags: tuple[str, ...] = ()
    """What it can be found by."""

    counters: Mapping[str, int] = {}
    """How often something happened to it: `attempts`, `lost`, `released`, `snoozed`, …; zeros are left out."""

    cancel: Cancel | None = None
    """The request to cancel it, if one was made while it was running."""

    error: str | None = None
    """Why its last failed run failed, in one short line."""

    policy: bytes = b""
    """Its policy; bytes to a backend. See `stanchion.codec.specs`."""

    @property
    def queue(self) -> str:
        """The queue it lives in."""
        return self.id.partition(":")[0]

    def count(self, counter: str) -> int:
        """Return a counter's value.

        Args:
            counter: Its name.

        Returns:
            The value; zero if it was never counted.
        """
        return self.counters.get(counter, 0)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {shown(self.id)} {self.state}, run {self.run}>"


class Record(Head, frozen=True, kw_only=True):
    """A job as a backend keeps it, as last read: its head and its body, which is bytes to a backend."""

    args: bytes
    """Its arguments, written once at insert; see `stanchion.codec.specs`."""

    notes: Mapping[str, bytes] = {}
    """Named values: `result`, `saved`, `progress`; each present only once written."""

    lists: Mapping[str, tuple[Entry, ...]] = {}
    """Named append-only lists: `history`, `errors`, `log`; oldest entry first, bounded."""

    def __repr__(self) -> str:
        return super().__repr__()


class Item(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """A job to insert."""

    id: str
    """Where it shall live: `<queue>:<key>`."""

    task: str
    """The name of its task."""

    state: State
    """One of `stanchion.model.states.FIRST`."""

    due: datetime | timedelta | None = None
    """Its state's deadline: an instant, or a timedelta from the backend's now. Of a running one, its lease."""

    priority: int = 0
    """-100 (last) to 100 (first)."""

    unique: str | None = None
    """The digest of the unique key it takes."""

    scope: Until | None = None
    """Until when it holds its unique key."""

    tags: tuple[str, ...] = ()
    """What it can be found by."""

    claim: str | None = None
    """Of a job that is inserted running: the claim that holds it."""

    worker: str | None = None
    """Of a job that is inserted running: the worker that holds it."""

    policy: bytes = b""
    """Its policy."""

    args: bytes
    """Its arguments."""


def head_of(record: Head) -> Head:
    """Return the head of a record.

    Args:
        record: A record, or a head already.

    Returns:
        The same without arguments, notes and lists.
    """
    if type(record) is Head:
        return record
    return Head(**{name: getattr(record, name) for name in Head.__struct_fields__})
