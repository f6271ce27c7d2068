"""The handle of a job: what `enqueue` returns, and what an application asks and tells a job by."""

from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from stanchion.codec.payloads import decode, policy_of
from stanchion.context import Progress
from stanchion.engine.engine import Engine
from stanchion.engine.operations import Steps
from stanchion.errors import InvalidArgument, JobFailed
from stanchion.errors.texts import shown
from stanchion.model.decisions import Asked, CancelAsked, Deleted, RetryAsked, Updated
from stanchion.model.history import Failure, Happening, decode_list
from stanchion.model.outcomes import aware
from stanchion.model.policies import duration
from stanchion.model.records import Item, Record
from stanchion.model.states import State
from stanchion.model.values import check_priority, text

R = TypeVar("R")


class Job(Generic[R]):
    """A job, as it was last read; `refresh` reads it again.

    Methods that ask the backend have async twins with the prefix `a`.
    """

    def __init__(
        self, engine: Engine, record: Record | Item, returns: Any = Any, *, created: bool = False
    ) -> None:
        self._engine = engine
        self._record = record
        self._returns = returns
        self.created = created
        """Whether this call to `enqueue` created the job; otherwise it existed, by its id or its unique key."""

    @property
    def id(self) -> str:
        """Where the job lives: `<queue>:<key>`."""
        return self._record.id

    @property
    def queue(self) -> str:
        """Its queue."""
        return self.id.partition(":")[0]

    @property
    def task(self) -> str:
        """The name of its task."""
        return self._record.task

    @property
    def state(self) -> State:
        """Where it was in its life when it was last read."""
        return self._record.state

    @property
    def priority(self) -> int:
        """-100 (last) to 100 (first)."""
        return self._record.priority

    @property
    def tags(self) -> tuple[str, ...]:
        """What it can be found by."""
        return self._record.tags

    @property
    def record(self) -> Record | None:
        """All that was last read of it; none if it was only enqueued."""
        return self._record if isinstance(self._record, Record) else None

    @property
    def attempts(self) -> int:
        """How many attempts have ended."""
        return self._record.count("attempts") if isinstance(self._record, Record) else 0

    @property
    def progress(self) -> Progress | None:
        """How far its handler said it is."""
        stored = self._note("progress")
        return None if stored is None else decode(stored, Progress)

    @property
    def errors(self) -> list[Failure]:
        """Why its runs failed, oldest first; the newest 100."""
        return decode_list(self._record.lists, "errors", Failure) if isinstance(self._record, Record) else []

    @property
    def history(self) -> list[Happening]:
        """What happened to it, oldest first; the newest 100. Claims show in the runs they began."""
        return (
            decode_list(self._record.lists, "history", Happening) if isinstance(self._record, Record) else []
        )

    @property
    def log(self) -> list[str]:
        """What its handler logged, oldest first."""
        entries = self._record.lists.get("log", ()) if isinstance(self._record, Record) else ()
        return [line for entry in entries for line in entry.data.decode("utf-8", "replace").split("\n")]

    def refresh(self) -> "Job[R]":
        """Read it again.

        Raises:
            JobNotFound: It was deleted or has expired.
        """
        return self._read(self._engine.run(self._engine.get(self.id)))

    async def arefresh(self) -> "Job[R]":
        """`refresh`, async."""
        return self._read(await self._engine.arun(self._engine.get(self.id)))

    def result(self, timeout: float | timedelta | None = None) -> R:
        """Wait for the job's result.

        Args:
            timeout: How long at most; a timedelta or seconds. None waits for ever.

        Raises:
            JobFailed: It failed, timed out or was cancelled.
            JobNotFound: It was deleted or has expired.
            ResultTimeout: It is not final after the timeout.
        """
        return self._result(self._engine.run(self._ended(timeout)))

    async def aresult(self, timeout: float | timedelta | None = None) -> R:
        """`result`, async."""
        return self._result(await self._engine.arun(self._ended(timeout)))

    def cancel(self, reason: str = "") -> "Job[R]":
        """Cancel it. If it is running, its handler is asked to stop, and whatever it does but complete ends it.

        Raises:
            InvalidArgument: The reason is no text.
            IllegalTransition: It is final.
            JobNotFound: It was deleted or has expired.
        """
        return self._ask(CancelAsked(reason=text(reason, "a reason")))

    async def acancel(self, reason: str = "") -> "Job[R]":
        """`cancel`, async."""
        return await self._aask(CancelAsked(reason=text(reason, "a reason")))

    def retry(self, *, force: bool = False) -> "Job[R]":
        """Run it again, or now if it waits for a time; its attempts count from one, its history is kept.

        Args:
            force: Run it again even if it completed; its result is erased.

        Raises:
            IllegalTransition: It is queued or running, or completed and not forced.
            UniqueHeld: Another job holds its unique key now.
            JobNotFound: It was deleted or has expired.
        """
        return self._ask(RetryAsked(force=force))

    async def aretry(self, *, force: bool = False) -> "Job[R]":
        """`retry`, async."""
        return await self._aask(RetryAsked(force=force))

    def update(
        self,
        *,
        priority: int | None = None,
        delay: float | timedelta | None = None,
        at: datetime | None = None,
    ) -> "Job[R]":
        """Change a job that has not started: its priority, or when it may start (`at` goes before `delay`).

        Raises:
            InvalidArgument: Nothing is to be changed, or a value cannot be used.
            IllegalTransition: It has started.
            JobNotFound: It was deleted or has expired.
        """
        return self._ask(_updated(priority, delay, at))

    async def aupdate(
        self,
        *,
        priority: int | None = None,
        delay: float | timedelta | None = None,
        at: datetime | None = None,
    ) -> "Job[R]":
        """`update`, async."""
        return await self._aask(_updated(priority, delay, at))

    def delete(self) -> None:
        """Delete its record, whatever state it is in but running.

        Raises:
            IllegalTransition: It is running; cancel it first.
            JobNotFound: It is gone already.
        """
        self._engine.run(self._asking(Deleted()))

    async def adelete(self) -> None:
        """`delete`, async."""
        await self._engine.arun(self._asking(Deleted()))

    def _ask(self, signal: Asked) -> "Job[R]":
        return self._read(self._engine.run(self._asking(signal)))

    async def _aask(self, signal: Asked) -> "Job[R]":
        return self._read(await self._engine.arun(self._asking(signal)))

    def _asking(self, signal: Asked) -> Steps[Record | None]:
        """Ask it of the job that this handle has read, not of another one that has its id by now."""
        known = self.record
        return self._engine.ask(self.id, signal, created_at=known.created_at if known else None)

    def _read(self, record: Record | None) -> "Job[R]":
        if record is not None:
            self._record = record
        return self

    def _ended(self, timeout: float | timedelta | None) -> Steps[Record]:
        return self._engine.ended(self.id, None if timeout is None else duration(timeout, "timeout"))

    def _result(self, record: Record) -> R:
        self._read(record)
        if record.state is not State.COMPLETED:
            errors = self.errors
            detail = f"{errors[-1].type}: {errors[-1].message}".rstrip(": ") if errors else ""
            raise JobFailed(record.id, record.state, detail)
        result: R = decode(record.notes.get("result", b"null"), self._returns)
        return result

    def _note(self, name: str) -> bytes | None:
        return self._record.notes.get(name) if isinstance(self._record, Record) else None

    def __repr__(self) -> str:
        if not isinstance(self._record, Record):
            return f"<Job {shown(self.id)} {self.state}>"
        attempts, of = self.attempts, policy_of(self._record.spec).retries + 1
        number = min(attempts + (self.state is State.RUNNING), of)
        return f"<Job {shown(self.id)} {self.state}, attempt {number} of {of}>"


def _updated(priority: int | None, delay: float | timedelta | None, at: datetime | None) -> Updated:
    if priority is None and delay is None and at is None:
        raise InvalidArgument("update changes a priority, a delay or an instant; none was given")
    start = aware(at, "at") if at is not None else None if delay is None else duration(delay, "delay")
    return Updated(priority=None if priority is None else check_priority(priority), start=start)
