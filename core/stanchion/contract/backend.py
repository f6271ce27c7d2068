"""The contract: what a backend must do. These docstrings are its only copy.

A backend stores records and applies changes that core decided. It never decides what becomes of a job, never
decodes spec, notes or lists, and owns time: every instant it answers or compares is its own clock's, in whole
milliseconds, timezone-aware UTC in Python.

Each verb is atomic per job: every job in a call is changed whole or not at all, whatever fails. Calls may be
repeated after an unknown outcome: `insert`, `claim` and `configure` answer as before, and a repeated change is
refused by its guards, but for one that leaves job and claim as they are: a beat appends its entries again. One
call carries at most `Limits.batch` items, changes, ids or jobs, and at most `Limits.bytes` of payloads if it carries
more than one; core splits longer ones, and backends answer with what fits (`stanchion.contract.answers.Room`).

Errors: `Unavailable` when it is unknown whether the call took effect, `BackendError` when it did not; `Busy` when it
waited for others as long as it may, and did not.

A backend is opened by its entry point in the group `stanchion.backends`, one for each URL scheme:
`open(url, *, namespace, clock=None) -> Backend`. Two namespaces never see each other. It must not do I/O yet.
More power is another Protocol, found by `isinstance`; see the end of this file.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Protocol, runtime_checkable

import msgspec

from stanchion.contract.answers import CheckPage, Claimed, Counts, Due, Inserted, Page
from stanchion.model.changes import Applied, Change, Refused
from stanchion.model.queues import QueueSettings
from stanchion.model.records import Item, Record
from stanchion.model.states import FINAL, State


class Clock(Protocol):
    """Where tests get their time from. In production there is none, and a backend uses its own."""

    def now(self) -> datetime:
        """The instant it is."""
        ...

    def subscribe(self, wake: Callable[[], object]) -> Callable[[], None]:
        """Call `wake` whenever the time was moved; the answer ends that."""
        ...


BYTES: Final = 1 << 20
"""How many bytes of payloads a call carries: a second's worth at 8 Mbit/s, which is a sixth of a lease of 6 s. A single
job may have more than that."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The sizes of a backend."""

    batch: int
    """How many items, changes, ids or jobs one call may carry."""

    bytes: int = BYTES
    """How many bytes of payloads one call may carry, either way; a single item, change or job may have more."""

    local: bool
    """Whether the store lives in this process alone, so that no other process can serve its queues."""


class Backend(Protocol):
    """What every backend does."""

    @property
    def limits(self) -> Limits:
        """Its sizes."""
        ...

    def insert(self, items: Sequence[Item]) -> Sequence[Inserted]:
        """Create jobs, in the order given; the answers are in that order.

        Atomic per item. An item whose id is taken is answered with the job that has it; one whose unique key is
        held in its queue, with the holder. Both leave everything as it was. `created_at` is the backend's now.
        A job created `queued` stands at the tail of its priority. A queue begins to exist with its first job.

        Raises:
            BackendError: Among others, that an id or a unique key is held by a record that cannot be read; the other
                items of the call have been created.
        """
        ...

    def claim(
        self, queues: Sequence[str], *, limit: int, claim_id: str, worker: str, lease: timedelta
    ) -> Claimed:
        """Take up to `limit` jobs for a worker, the queues in the order given, paused ones left out.

        In each queue, jobs that wait for a time (`scheduled`, `retrying`) and are due join the tail first, the
        oldest clock first, at most `Limits.batch` of them; those of one instant by their creation, then their id.
        Then jobs are taken by priority, highest first, and
        by place. Each taken job is `running`, with this claim and worker, `run` one higher, `started_at` now and
        the lease's end as its clock; a unique key whose scope is `start` is freed (`stanchion.model.changes.claimed`).
        Atomic per job, and no job is ever handed to two claims.

        A claim id is used for one claim. Asked again with the same id within the time in which calls are repeated
        (`stanchion.model.changes.remembered`), the answer is the jobs of that claim that are still held by it, and
        nothing new; one that took nothing was none. A record that cannot be read is quarantined, for `check` to
        report, and does not stop the others.
        """
        ...

    def apply(self, changes: Sequence[Change]) -> Sequence[Applied | Refused]:
        """Make changes, in the order given; the answers are in that order.

        Each is atomic: its guards are checked in the order absent, claim, state, due, revision, unique, and the
        first that does not hold is answered with the job as found; nothing of it is changed then. A job that was
        created at another instant than the change names is another job: absent. What an accepted change makes of
        the job is said by `stanchion.model.changes.applied`. Deleting frees the unique key.
        """
        ...

    def due(self, queues: Sequence[str], limit: int) -> Due:
        """Up to `limit` jobs of every state whose clock has run out: running ones first, oldest clock first.

        Those of one instant go by their creation, then their id.
        Changes nothing, but for records that cannot be read, which are quarantined, and quarantined ones that can be
        read again, which a backend may put back. Several callers may be handed the same job: the guard `if_due` makes
        that harmless.
        """
        ...

    def get(self, ids: Sequence[str]) -> Sequence[Record | None]:
        """The jobs of these ids, in that order; none where there is no such job, or it cannot be read."""
        ...

    def list(self, queue: str, state: State, cursor: str | None = None) -> Page:
        """One page of the jobs in a state: by clock, or for `queued` in the order they will be taken.

        A job that stays put appears exactly once over all pages. An unknown queue has one empty page.
        """
        ...

    def count(self, queues: Sequence[str]) -> Mapping[str, Counts]:
        """How many jobs of each queue are in each state; zeros for a queue that does not exist."""
        ...

    def wait(self, queues: Sequence[str], timeout: timedelta) -> bool:
        """Wait until there may be something to claim in one of these queues; whether a wake came.

        Returns at once if a wake came since the caller's last claim: an insert, a change that queues a job, a
        new earliest due time, a resumed queue. A hint only: a lost one costs a poll, and a wake may find nothing.
        A wake may be given to one waiter alone, if a claim that leaves jobs behind wakes the next.
        `close` ends it.
        """
        ...

    def queues(self) -> Mapping[str, QueueSettings]:
        """The queues that exist, and their settings, sorted by name."""
        ...

    def configure(self, queue: str, settings: QueueSettings) -> None:
        """Set a queue's settings, creating it if it does not exist. Takes effect with the next claim."""
        ...

    def forget(self, queue: str) -> bool:
        """Remove a queue, its settings and all that belongs to it; false, and nothing removed, if it has jobs.

        An absent queue is forgotten already: true.
        """
        ...

    def now(self) -> datetime:
        """What time it is, by the backend's clock."""
        ...

    def check(self, queue: str, cursor: str | None = None) -> CheckPage:
        """Look for damage in one part of a queue's store. Changes nothing.

        A queue in use may show findings that are gone a moment later; one at rest shows only true ones.
        """
        ...

    def close(self) -> None:
        """End all waits and give connections back. Closing twice is harmless; using it after raises."""
        ...


class AsyncBackend(Protocol):
    """The same verbs for one asyncio loop; the docstrings of `Backend` hold."""

    @property
    def limits(self) -> Limits: ...  # noqa: D102
    async def insert(self, items: Sequence[Item]) -> Sequence[Inserted]: ...  # noqa: D102
    async def claim(  # noqa: D102
        self, queues: Sequence[str], *, limit: int, claim_id: str, worker: str, lease: timedelta
    ) -> Claimed: ...
    async def apply(self, changes: Sequence[Change]) -> Sequence[Applied | Refused]: ...  # noqa: D102
    async def due(self, queues: Sequence[str], limit: int) -> Due: ...  # noqa: D102
    async def get(self, ids: Sequence[str]) -> Sequence[Record | None]: ...  # noqa: D102
    async def list(self, queue: str, state: State, cursor: str | None = None) -> Page: ...  # noqa: D102
    async def count(self, queues: Sequence[str]) -> Mapping[str, Counts]: ...  # noqa: D102
    async def wait(self, queues: Sequence[str], timeout: timedelta) -> bool: ...  # noqa: D102
    async def queues(self) -> Mapping[str, QueueSettings]: ...  # noqa: D102
    async def configure(self, queue: str, settings: QueueSettings) -> None: ...  # noqa: D102
    async def forget(self, queue: str) -> bool: ...  # noqa: D102
    async def now(self) -> datetime: ...  # noqa: D102
    async def check(self, queue: str, cursor: str | None = None) -> CheckPage: ...  # noqa: D102
    async def close(self) -> None: ...  # noqa: D102


class Topic(StrEnum):
    """What a watch hears of."""

    ENDED = "ended"
    """Jobs that became final or were deleted."""

    TOUCHED = "touched"
    """Running jobs that were changed without their claim, which is how somebody asks to cancel them."""


def topic_of(change: Change) -> Topic | None:
    """Where a change is heard of once it is made; none if nobody listens to such changes."""
    if change.move.to is None or change.move.to in FINAL:
        return Topic.ENDED
    if change.move.to is State.RUNNING and change.claim is None:
        return Topic.TOUCHED
    return None


class Watch(Protocol):
    """Hears of jobs from the moment it was opened."""

    def next(self, timeout: timedelta) -> frozenset[str]:
        """The ids heard of since the last call, waiting for one up to the timeout; a hint, some may be missed."""
        ...

    def close(self) -> None:
        """Stop listening, from any thread; a waiting `next` returns."""
        ...


class AsyncWatch(Protocol):
    """The same for one asyncio loop."""

    async def next(self, timeout: timedelta) -> frozenset[str]: ...  # noqa: D102
    async def close(self) -> None: ...  # noqa: D102


@runtime_checkable
class WatchesJobs(Protocol):
    """Can tell at once when jobs end or are touched; without it, callers poll."""

    def watch(self, queues: Sequence[str], topic: Topic) -> Watch:
        """Listen to what happens in these queues from now on."""
        ...


@runtime_checkable
class Quarantines(Protocol):
    """Can hold records that it cannot read; others never do."""

    def quarantined(self, queues: Sequence[str]) -> Mapping[str, int]:
        """How many records of each queue are quarantined."""
        ...


@runtime_checkable
class HasAsync(Protocol):
    """Has asynchronous verbs of its own; without it, they run inline on the loop."""

    def to_async(self) -> AsyncBackend:
        """A twin on the same store for the running loop; if the backend watches jobs, so does the twin."""
        ...


@runtime_checkable
class HasDeadlines(Protocol):
    """Talks to a store that may not answer."""

    def within(self, deadline: timedelta) -> Backend:
        """A twin on the same store whose calls give up after the deadline; closing it leaves the backend open."""
        ...


@runtime_checkable
class MayWait(Protocol):
    """Has calls that wait while others use the store."""

    def impatient(self) -> Backend:
        """Return the same backend, whose calls raise `Busy` instead of waiting. Closing it leaves the backend open."""
        ...


@runtime_checkable
class JoinsTransactions(Protocol):
    """Keeps jobs in an SQL database, and can insert them inside a transaction of the caller's own."""

    def insert_joined(self, items: Sequence[Item], connection: Any) -> Sequence[Inserted]:
        """`insert`, on a connection of the caller's to the same database.

        The jobs appear if and only if his transaction commits; until then only that connection sees them. One is
        begun if none is open. A call that raises has done nothing, and leaves the transaction as it was.

        Raises:
            InvalidArgument: It is no connection to this database, or it commits each statement by itself.
        """
        ...
