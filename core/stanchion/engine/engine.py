"""The engine: the one place where a backend is called. It decides, applies, and then tells the hooks.

Everything is an operation (see `stanchion.engine.operations`), so that it serves sync and async callers alike.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from os import urandom
from typing import Any, Final, cast

import msgspec
from msgspec.structs import replace

from stanchion.codec.payloads import policy_of
from stanchion.contract.answers import Claimed, Counts, Due, Inserted, Page
from stanchion.contract.backend import Backend, HasAsync, HasDeadlines, JoinsTransactions
from stanchion.engine.batching import batches, change_size, item_size
from stanchion.engine.operations import ONCE, PATIENT, Call, Pauses, Steps, T, adrive, drive
from stanchion.engine.waiting import ended, found
from stanchion.errors import (
    BackendError,
    Contended,
    JobNotFound,
    LeaseLost,
    QueueNotEmpty,
    UniqueHeld,
    Unsupported,
)
from stanchion.model.changes import Applied, Change, Refusal, Refused
from stanchion.model.decisions import Asked, Beaten, Deleted, Ended, Signal, decide, swept
from stanchion.model.history import Happening, decode_list
from stanchion.model.ids import new_key
from stanchion.model.policies import Policy
from stanchion.model.queues import QueueSettings
from stanchion.model.records import Item, Record
from stanchion.model.states import Event, State
from stanchion.plugins.manager import Plugins

TRIES: Final = 5
"""How often a change is decided anew when others changed the job meanwhile."""

SWEEP_ROUNDS: Final = 50
"""How many batches one sweep takes at most, so that it ends although others make jobs due all the time."""

_TOLD: Final[Mapping[Event, str]] = {
    Event.LOSE: "job_lost",
    Event.RELEASE: "job_released",
    Event.EXPIRE: "job_expired",
}
_TOLD_OF_END: Final[Mapping[State | None, str]] = {
    State.COMPLETED: "job_completed",
    State.FAILED: "job_failed",
    State.RETRYING: "job_retrying",
    State.TIMED_OUT: "job_timed_out",
    State.CANCELLED: "job_cancelled",
}
_TIMED: Final = frozenset({"job_completed", "job_failed", "job_retrying", "job_timed_out"})
_ZERO: Final = timedelta(0)

_ROLLED: Final = frozenset({Event.FAIL, Event.TIME_OUT, Event.LOSE})
"""The events after which a job may wait for a random time; a random number costs as much as a decision."""


Changed = Callable[[Record, Change, timedelta], None]
"""Is called for a change that was made: with the job before it, the change, and how long the run took."""


def _roll() -> float:
    """A random number in [0, 1)."""
    return int.from_bytes(urandom(6), "big") / (1 << 48)


class Report(msgspec.Struct, frozen=True):
    """What a worker says of one of its runs."""

    record: Record
    """The job as claimed."""

    signal: Ended | Beaten
    """What happened to it."""

    policy: Policy
    """The job's policy."""

    elapsed: timedelta = _ZERO
    """How long the run took, by the worker's monotonic clock."""


class _OutOfReach:
    """Stands in for a backend that must not be called."""

    def __init__(self, why: str) -> None:
        self._why = why

    def __getattr__(self, verb: str) -> Any:
        raise BackendError(self._why)


class Engine:
    """Runs operations on one backend, for one application."""

    def __init__(
        self,
        backend: Backend,
        plugins: Plugins,
        *,
        roll: Callable[[], float] = _roll,
        pauses: Pauses = PATIENT,
    ) -> None:
        self.backend = backend
        self.plugins = plugins
        self._roll = roll
        self._pauses = pauses
        self._twins: dict[Any, Any] = {}

    def run(self, steps: Steps[T]) -> T:
        """Run an operation here and now."""
        return drive(steps, self.backend, self._pauses)

    async def arun(self, steps: Steps[T]) -> T:
        """Run an operation on the running loop."""
        return await adrive(steps, self.twin(), self._pauses)

    def twin(self) -> Any:
        """The async backend of the running loop: the backend's own, or an adapter that calls it inline."""
        import asyncio

        loop = asyncio.get_running_loop()
        twin = self._twins.get(loop)
        if twin is None:
            from stanchion.engine.async_adapter import Inline

            # A loop that is closed can close nothing any more: its connections end with the last reference.
            self._twins = {other: kept for other, kept in list(self._twins.items()) if not other.is_closed()}
            twin = self.backend.to_async() if isinstance(self.backend, HasAsync) else Inline(self.backend)
            self._twins[loop] = twin
        return twin

    async def release_twin(self) -> None:
        """Close the async backend of the running loop, if it has connections of its own."""
        import asyncio

        twin = self._twins.pop(asyncio.get_running_loop(), None)
        if twin is not None and isinstance(self.backend, HasAsync):
            await twin.close()

    @contextmanager
    def set_aside(self, why: str) -> Iterator[None]:
        """Keep every call from the backend for a while, even those of handles and workers made before.

        They raise `BackendError`, which says why.
        """
        backend, twins = self.backend, self._twins
        self.backend, self._twins = cast("Backend", _OutOfReach(why)), {}
        try:
            yield
        finally:
            self.backend, self._twins = backend, twins

    def within(self, deadline: timedelta) -> "Engine":
        """An engine on the same store that tries each call once and up to a deadline, on connections of its own."""
        backend = self.backend.within(deadline) if isinstance(self.backend, HasDeadlines) else self.backend
        return Engine(backend, self.plugins, roll=self._roll, pauses=ONCE)

    def insert(self, items: Iterable[Item], connection: Any = None) -> Steps[list[Inserted]]:
        """Create jobs, in batches.

        Args:
            items: The jobs.

            connection: Inside the transaction of this connection. Then no hook is told, since nobody knows yet
                whether there will be such jobs.

        Raises:
            Unsupported: There is a connection, and the backend joins no transactions.
        """
        if connection is not None:
            return (yield from self._insert_joined(items, connection))
        answers: list[Inserted] = []
        for batch in batches(items, self.backend.limits, item_size):
            got = list(map(_recognised, batch, (yield Call("insert", (batch,)))))
            answers += got
            if self.plugins.listening("job_enqueued"):
                for item, answer in zip(batch, got, strict=True):
                    if answer.created:
                        self.plugins.tell("job_enqueued", job=item)
        return answers

    def _insert_joined(self, items: Iterable[Item], connection: Any) -> Steps[list[Inserted]]:
        if not isinstance(self.backend, JoinsTransactions):
            raise Unsupported("joining transactions", self.backend)
        answers: list[Inserted] = []
        for batch in batches(items, self.backend.limits, item_size):
            answers += map(_recognised, batch, (yield Call("insert_joined", (batch, connection))))
        return answers

    def claim(
        self, queues: Sequence[str], limit: int, worker: str, lease: timedelta, claim_id: str | None = None
    ) -> Steps[Claimed]:
        """Take jobs for a worker; asked again with the same claim id, the answer is the same ones."""
        limit = max(0, min(limit, self.backend.limits.batch))
        request = {"limit": limit, "claim_id": claim_id or new_key(), "worker": worker, "lease": lease}
        claimed: Claimed = yield Call("claim", (queues,), request)
        if self.plugins.listening("job_claimed"):
            for record in claimed.records:
                self.plugins.tell("job_claimed", job=record, worker=worker)
        return claimed

    def report(
        self, reports: Sequence[Report], *, changed: Changed | None = None
    ) -> Steps[list[Applied | LeaseLost | Contended]]:
        """Record what a worker says of its runs; for each, that it was, or why not.

        Args:
            reports: What it says.

            changed: Called for each change that was made.

        `LeaseLost`: the run no longer holds its job. `Contended`: others changed the job each time, so nothing is
        recorded yet; report it again. A report that is refused, but stands in the job's history, was recorded by
        an earlier try of it.
        """
        answers: dict[int, Applied | LeaseLost | Contended] = {}
        pending = dict(enumerate(reports))
        for _ in range(TRIES):
            changes = [self._decide(one.record, one.signal, one.policy) for one in pending.values()]
            got = yield from self._apply(changes)
            again: dict[int, Report] = {}
            for (index, one), change, answer in zip(pending.items(), changes, got, strict=True):
                if isinstance(answer, Applied):
                    answers[index] = answer
                    self._tell(one.record, change, one.elapsed, changed)
                elif answer.why is Refusal.REVISION and answer.record is not None:
                    again[index] = replace(one, record=answer.record)
                elif answer.record is not None and (at := _stands(answer.record, one)):
                    answers[index] = Applied(at, answer.record.revision)
                    self._tell(one.record, change, one.elapsed, changed)
                else:
                    answers[index] = LeaseLost(one.record.id)
            pending = again
            if not pending:
                break
        for index, one in pending.items():
            answers[index] = Contended(one.record.id, one.signal.event)
        return [answers[index] for index in range(len(reports))]

    def ask(self, job_id: str, signal: Asked, *, created_at: datetime | None = None) -> Steps[Record | None]:
        """Change a job from outside.

        Args:
            job_id: Which job.

            signal: What is asked for.

            created_at: When the job that is meant was created; defaults to whichever has the id now.

        Returns:
            The job afterwards; `None` if it was deleted.

        Raises:
            JobNotFound: There is no such job, or no more: another one may have its id by now.
            IllegalTransition: Its state does not allow it.
            UniqueHeld: Another job holds its unique key.
            Contended: Others changed it each time.
        """
        by = new_key()
        record = yield from self.get(job_id)
        if created_at not in (None, record.created_at):
            raise JobNotFound(job_id)
        for _ in range(TRIES):
            change = self._decide(record, signal, policy_of(record.spec), by)
            (answer,) = yield from self._apply([change])
            if isinstance(answer, Applied):
                self._tell(record, change, _ZERO)
                return (yield from self._after(job_id, change))
            if answer.why is Refusal.UNIQUE:
                raise UniqueHeld(job_id)
            if answer.record is None:
                if isinstance(signal, Deleted):
                    return None
                raise JobNotFound(job_id)
            record = answer.record
            if _happened(record, by, change.event):
                self._tell(record, change, _ZERO)
                return record
        raise Contended(job_id, signal.event)

    def sweep(
        self, queues: Sequence[str], rounds: int = SWEEP_ROUNDS, *, changed: Changed | None = None
    ) -> Steps[int]:
        """Move the jobs whose clock has run out.

        Args:
            queues: Where to look.

            rounds: How many batches to move at most.

            changed: Called for each change that was made.

        Returns:
            How many were moved.
        """
        moved = 0
        for _ in range(rounds):
            count, more = yield from self.sweep_once(queues, changed=changed)
            moved += count
            if not more:
                break
        return moved

    def sweep_once(self, queues: Sequence[str], *, changed: Changed | None = None) -> Steps[tuple[int, bool]]:
        """Move the jobs of one answer, which is bounded by their number and by their bytes.

        Args:
            queues: Where to look.

            changed: Called for each change that was made.

        Returns:
            How many were moved, and whether there may be more.
        """
        limit, by = self.backend.limits.batch, new_key()
        due: Due = yield Call("due", (queues, limit))
        records = due.records
        changes = [self._decide(record, swept(record), policy_of(record.spec), by) for record in records]
        answers = yield from self._apply(changes)
        done = [
            (record, change)
            for record, change, answer in zip(records, changes, answers, strict=True)
            if isinstance(answer, Applied)
            or (answer.record is not None and _happened(answer.record, by, change.event))
        ]
        for record, change in done:
            self._tell(record, change, _ZERO, changed)
        return len(done), bool(done) and (due.more or len(records) >= limit)

    def get(self, job_id: str) -> Steps[Record]:
        """A job.

        Raises:
            JobNotFound: There is no such job.
        """
        return found(job_id)

    def page(self, queue: str, state: State, cursor: str | None) -> Steps[Page]:
        """One page of the jobs of a queue in a state."""
        found: Page = yield Call("list", (queue, state, cursor))
        return found

    def queues(self) -> Steps[Mapping[str, QueueSettings]]:
        """The queues that exist, and their settings."""
        found: Mapping[str, QueueSettings] = yield Call("queues")
        return found

    def configure(self, queue: str, **settings: Any) -> Steps[None]:
        """Change some settings of a queue."""
        known = yield from self.queues()
        yield Call("configure", (queue, replace(known.get(queue, QueueSettings()), **settings)))

    def counts(self, queue: str) -> Steps[Counts]:
        """How many jobs of a queue are in each state."""
        counts: Mapping[str, Counts] = yield Call("count", ([queue],))
        return counts[queue]

    def forget(self, queue: str) -> Steps[None]:
        """Remove an empty queue.

        Raises:
            QueueNotEmpty: It has jobs.
        """
        if not (yield Call("forget", (queue,))):
            raise QueueNotEmpty(queue)

    def ended(self, job_id: str, timeout: timedelta | None) -> Steps[Record]:
        """Wait until a job is final; see `stanchion.engine.waiting`."""
        return ended(self.backend, job_id, timeout)

    def _decide(self, record: Record, signal: Signal, policy: Policy, by: str = "") -> Change:
        roll = self._roll() if signal.event in _ROLLED else 0.0
        return decide(record, signal, roll=roll, policy=policy, by=by)

    def _apply(self, changes: Sequence[Change]) -> Steps[list[Applied | Refused]]:
        answers: list[Applied | Refused] = []
        for batch in batches(changes, self.backend.limits, change_size):
            answers += yield Call("apply", (batch,))
        return answers

    def _after(self, job_id: str, change: Change) -> Steps[Record | None]:
        if change.move.to is None:
            return None
        (record,) = yield Call("get", ([job_id],))
        found: Record | None = record
        return found

    def _tell(
        self, record: Record, change: Change, elapsed: timedelta, changed: Changed | None = None
    ) -> None:
        if changed is not None:
            changed(record, change, elapsed)
        hooks = [_TOLD[change.event]] if change.event in _TOLD else []
        if change.move.to in _TOLD_OF_END and change.move.to is not change.state:
            hooks.append(_TOLD_OF_END[change.move.to])
        for hook in hooks:
            if self.plugins.listening(hook):
                timed = {"elapsed": elapsed} if hook in _TIMED else {}
                self.plugins.tell(hook, job=record, **timed)


def _recognised(item: Item, answer: Inserted) -> Inserted:
    """Return the answer to an insert that may have been repeated: what it finds may be its own first time.

    A key made by us names one call. Beside a key of the caller's, the spec says which call wrote it.
    """
    there = answer.record
    own = there is not None and there.id == item.id and there.spec == item.spec
    return Inserted(True, there) if own else answer


def _stands(record: Record, report: Report) -> datetime | None:
    """When this report was recorded, if the job's history says that it was."""
    return _happened(record, report.record.claim or "", report.signal.event)


def _happened(record: Record, by: str, event: Event) -> datetime | None:
    """When this claim or call did this to a job, if the job's history says so."""
    for entry in record.lists.get("history", ()):
        for one in decode_list({"history": [entry]}, "history", Happening):
            if one.by == by and one.event == event:
                return entry.at
    return None
