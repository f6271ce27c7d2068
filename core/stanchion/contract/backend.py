"""The contract: what a backend must do. These docstrings are its only copy.

A backend stores records and applies changes that core decided. It never decides the new state of a job, never decodes
policies, arguments, notes or lists, and owns time: every instant it answers or compares is its own clock's, in whole
milliseconds, timezone-aware UTC in Python.

A verb takes one frozen request (`stanchion.contract.requests`) and gives one answer (`stanchion.contract.answers`). A
field that is added to a request has a default with which nothing changes, and core does not rely on a filter of a
listing that a backend may not know: it filters again.

Each verb is atomic per job: every job in a call is changed whole or not at all, whatever fails. Calls may be repeated
after an unknown outcome: `insert` and `claim` answer as before, and a repeated change is refused by its
guards, except one that leaves job and claim as they are: a beat appends its entries again. One call carries at most
`Limits.batch` items, changes, ids or jobs, and at most `Limits.bytes` of payloads if it carries more than one; core
splits longer ones, and `claim` answers with what fits (`stanchion.contract.answers.Room`).

In the same atomic step in which jobs move from state to state, the queue's ledger counts it
(`stanchion.model.ledger.Ledger`): one number for each row and call. An event that leaves the state as it is is not
counted.

Errors: `Unavailable` when it is unknown whether the call took effect, `BackendError` when it did not; `Busy` when it
waited for others as long as it may, and did not.

A backend is opened by its entry point in the group `stanchion.backends`, one for each URL scheme:
`open(url, *, namespace, clock=None) -> Backend`. Two namespaces never see each other. It must not do I/O yet.
More power is another Protocol, found by `isinstance`: see `stanchion.contract.capabilities`.
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Protocol

import msgspec

from stanchion.contract.answers import CheckPage, Claimed, Configured, Counts, Due, Inserted, Page
from stanchion.contract.requests import (
    Apply,
    Check,
    Claim,
    Configure,
    Count,
    FindDue,
    Forget,
    Get,
    Insert,
    List,
    ReadLedger,
    Wait,
)
from stanchion.model.changes import Applied, Refused
from stanchion.model.ledger import Books
from stanchion.model.queues import QueueSettings
from stanchion.model.records import Record


class Clock(Protocol):
    """The source of time in tests. In production there is none, and a backend uses its own."""

    def now(self) -> datetime:
        """Return the present instant.

        Returns:
            An instant with a timezone.
        """
        ...

    def subscribe(self, wake: Callable[[], object]) -> Callable[[], None]:
        """Call `wake` whenever the time was moved.

        Args:
            wake: Is called on the thread that moves the time.

        Returns:
            A function that ends the subscription.
        """
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

    looks: int = 1_000
    """How many heads are looked at for one page of a listing with `List.where`."""

    local: bool
    """Whether the store lives in this process alone, so that no other process can serve its queues."""


class Verbs(Protocol):
    """The verbs that call the store, and do not wait for anything to happen."""

    def insert(self, request: Insert) -> Sequence[Inserted]:
        """Create jobs, in the order given.

        Atomic per item. An item whose id is taken is answered with the job that has it; one whose unique key is
        held in its queue, with the holder. Both leave everything as it was. `created_at` is the backend's now. A job
        created `queued` is placed at the tail of its priority; one created `running` as well, and is held by the
        item's claim, in its first run (`stanchion.model.effects.create_record`). A queue begins to exist with its
        first job.

        Returns:
            An answer for each item, in that order.

        Raises:
            BackendError: Among others, that an id or a unique key is held by a record that cannot be read; the other
                items of the call have been created.
        """
        ...

    def claim(self, request: Claim) -> Claimed:
        """Take up to `limit` jobs for a worker, the queues in the order given; paused queues are skipped.

        In each queue, jobs that wait for a time (`stanchion.model.states.WAITING`) and are due join the tail first,
        the longest due first, at most `Limits.batch` of them; those due at one instant by their creation, then their
        id. Then jobs are taken by priority, highest first, and by place. Each taken job is `running`, with this claim
        and worker, `run` one higher, `started_at` now and due at the lease's end; a unique key whose scope is
        `start` is freed (`stanchion.model.effects.claim_record`). Atomic per job, and no job is ever handed to two
        claims.

        A claim id is used for one claim. Asked again with the same id within the time in which calls are repeated
        (`stanchion.model.changes.remembered`), the answer is the jobs of that claim that are still held by it, and
        nothing new; one that took nothing was none. A record that cannot be read is quarantined, for `check` to
        report, and does not stop the others.

        Returns:
            The jobs with head, arguments and notes, and when to ask again.
        """
        ...

    def apply(self, request: Apply) -> Sequence[Applied | Refused]:
        """Make changes, in the order given.

        Each is atomic: its guards are checked in the order of `stanchion.model.changes.Refusal`, and for the first
        that does not hold the change is refused; nothing of it is written then. A job that was created at another
        instant than the change names is another job: absent. What an accepted change makes of the job is said by
        `stanchion.model.effects.apply_change`. Deleting frees the unique key.

        Returns:
            An answer for each change, in that order; a refusal shows the job's head and history.
        """
        ...

    def due(self, request: FindDue) -> Due:
        """Find up to `limit` jobs of every state that are due, by state in the order of `SWEPT`.

        Within a state the longest due come first; those due at one instant by their creation, then their id. Changes
        nothing, except that records that cannot be read are quarantined, and quarantined ones that can be read again
        may be put back. Several callers may be handed the same job: the guard `if_due` makes that harmless.

        Returns:
            Their heads.
        """
        ...

    def get(self, request: Get) -> Sequence[Record | None]:
        """Read jobs, heads and bodies.

        Returns:
            The jobs, in the order of the ids; `None` where there is no such job, or it cannot be read.
        """
        ...

    def list(self, request: List) -> Page:
        """Read one page of the heads of a queue's jobs in a state: by deadline, or queued ones as they will be taken.

        A job that stays where it is appears exactly once over all pages. An unknown queue has one empty page. `tag`
        and `where` are filters (`stanchion.model.selection.is_selected`); the cost of a page with a tag does not grow
        with the number of other jobs.

        Returns:
            The page; the heads of those that can be read.
        """
        ...

    def count(self, request: Count) -> Mapping[str, Counts]:
        """Count the jobs of each queue by state.

        Returns:
            The counts by queue; zeros for a queue that does not exist.
        """
        ...

    def ledger(self, request: ReadLedger) -> Books:
        """Read what a queue's ledger counted.

        Returns:
            Its totals, and those of its snapshots that are asked for; empty for a queue that does not exist.
        """
        ...

    def queues(self) -> Mapping[str, QueueSettings]:
        """Read the queues that exist, reserved ones as well.

        Returns:
            Their settings, sorted by name.
        """
        ...

    def configure(self, request: Configure) -> Configured:
        """Change some of a queue's settings, creating it if it does not exist; effective with the next claim.

        Two callers that change different settings never undo each other.

        Returns:
            The settings before and after.
        """
        ...

    def forget(self, request: Forget) -> bool:
        """Remove a queue, its settings and all that belongs to it, its ledger as well.

        Returns:
            `True` if it is removed, or did not exist; `False` if it has jobs, and nothing was removed.
        """
        ...

    def check(self, request: Check) -> CheckPage:
        """Look for damage in one part of a queue's store. Changes nothing.

        A queue in use may show findings that are gone a moment later; one at rest shows only true ones. That the
        ledger is balanced (`stanchion.contract.answers.unbalanced`) is read in one atomic step, so it is true always.

        Returns:
            What was found.
        """
        ...


VERBS: Final = (
    "insert",
    "claim",
    "apply",
    "due",
    "get",
    "list",
    "count",
    "ledger",
    "queues",
    "configure",
    "forget",
    "check",
)
"""The names of the methods of `Verbs`."""


class Backend(Verbs, Protocol):
    """What every backend does."""

    @property
    def limits(self) -> Limits:
        """Its sizes."""
        ...

    def wait(self, request: Wait) -> bool:
        """Block until a queue may have work.

        Returns at once if a wake came since the caller's last claim: an insert, a change that queues a job, a new
        earliest due time, a resumed queue. A hint only: a lost one costs a poll, and a wake may find nothing. A wake
        may be given to one waiter alone, if a claim that leaves jobs behind wakes the next. `close` ends it.

        Returns:
            `True` if woken.
        """
        ...

    def now(self) -> datetime:
        """Return the time by the backend's clock.

        Returns:
            An instant in whole milliseconds, in UTC.
        """
        ...

    def close(self) -> None:
        """End all waits and release connections. Closing twice is harmless; using it after raises."""
        ...


class AsyncVerbs(Protocol):
    """The same verbs for one asyncio loop; the docstrings of `Verbs` hold."""

    def insert(self, request: Insert) -> Coroutine[Any, Any, Sequence[Inserted]]: ...  # noqa: D102
    def claim(self, request: Claim) -> Coroutine[Any, Any, Claimed]: ...  # noqa: D102
    def apply(self, request: Apply) -> Coroutine[Any, Any, Sequence[Applied | Refused]]: ...  # noqa: D102
    def due(self, request: FindDue) -> Coroutine[Any, Any, Due]: ...  # noqa: D102
    def get(self, request: Get) -> Coroutine[Any, Any, Sequence[Record | None]]: ...  # noqa: D102
    def list(self, request: List) -> Coroutine[Any, Any, Page]: ...  # noqa: D102
    def count(self, request: Count) -> Coroutine[Any, Any, Mapping[str, Counts]]: ...  # noqa: D102
    def ledger(self, request: ReadLedger) -> Coroutine[Any, Any, Books]: ...  # noqa: D102
    def queues(self) -> Coroutine[Any, Any, Mapping[str, QueueSettings]]: ...  # noqa: D102
    def configure(self, request: Configure) -> Coroutine[Any, Any, Configured]: ...  # noqa: D102
    def forget(self, request: Forget) -> Coroutine[Any, Any, bool]: ...  # noqa: D102
    def check(self, request: Check) -> Coroutine[Any, Any, CheckPage]: ...  # noqa: D102


class AsyncBackend(AsyncVerbs, Protocol):
    """What every async backend does; the docstrings of `Backend` hold."""

    @property
    def limits(self) -> Limits: ...  # noqa: D102
    def wait(self, request: Wait) -> Coroutine[Any, Any, bool]: ...  # noqa: D102
    def now(self) -> Coroutine[Any, Any, datetime]: ...  # noqa: D102
    def close(self) -> Coroutine[Any, Any, None]: ...  # noqa: D102
