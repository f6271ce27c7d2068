"""Views: what a handle shows of a job that was read."""

from datetime import datetime
from typing import Any, Final, Generic, Self, TypeVar

from stanchion.codec.payloads import decode
from stanchion.codec.specs import policy_of
from stanchion.context import Progress
from stanchion.engine.engine import Engine
from stanchion.errors.texts import shown
from stanchion.model.changes import HISTORY
from stanchion.model.effects import create_record
from stanchion.model.history import Failure, HistoryEntry, decode_list, history_of
from stanchion.model.records import Head, Item, Record
from stanchion.model.states import State

R = TypeVar("R")

Created = tuple[Item, datetime]
"""What was inserted, and when it was created."""

_ANYWHERE: Final = int
"""Gives the place of a job that was not read: zero."""


class JobView(Generic[R]):
    """What is in a job's head, as it was last read."""

    def __init__(
        self, engine: Engine, head: Head | Created, returns: Any = Any, *, is_new: bool = False
    ) -> None:
        self._engine = engine
        self._head = head
        self._returns = returns
        self.is_new = is_new
        """Whether this call to `enqueue` created the job; otherwise it existed, by its id or its unique key."""

    @property
    def head(self) -> Head:
        """What was last read of it, with or without its body."""
        if isinstance(self._head, tuple):  # most handles of new jobs are never looked at
            item, now = self._head
            self._head = create_record(item, now=now, tail=_ANYWHERE)
        return self._head

    @property
    def id(self) -> str:
        """Where the job lives: `<queue>:<key>`."""
        return self.head.id

    @property
    def queue(self) -> str:
        """Its queue."""
        return self.head.queue

    @property
    def task(self) -> str:
        """The name of its task."""
        return self.head.task

    @property
    def state(self) -> State:
        """Where it was in its life when it was last read."""
        return self.head.state

    @property
    def priority(self) -> int:
        """-100 (last) to 100 (first)."""
        return self.head.priority

    @property
    def tags(self) -> tuple[str, ...]:
        """What it can be found by."""
        return self.head.tags

    @property
    def attempts(self) -> int:
        """How many attempts have ended."""
        return self.head.count("attempts")

    def _read(self, head: Head | None) -> Self:
        if head is not None:
            self._head = head
        return self

    def __repr__(self) -> str:
        attempts, of = self.attempts, policy_of(self.head.policy).retries + 1
        number = min(attempts + (self.state is State.RUNNING), of)
        return f"<Job {shown(self.id)} {self.state}, attempt {number} of {of}>"


class BodyView(JobView[R]):
    """What is in a job's body.

    A listing and an `enqueue` that found the job there read its head alone; the body is then read by the first look.
    """

    @property
    def record(self) -> Record:
        """All that was last read of it, with its body.

        Raises:
            JobNotFound: Its body is read now, and it was deleted or has expired.
        """
        head = self.head
        if not isinstance(head, Record):
            self._head = head = self._engine.call(self._engine.get(self.id))
        return head

    @property
    def progress(self) -> Progress | None:
        """How far its handler said it is."""
        stored = self.record.notes.get("progress")
        return None if stored is None else decode(stored, Progress)

    @property
    def errors(self) -> list[Failure]:
        """Why its runs failed, oldest first; the newest 100."""
        return decode_list(self.record.lists, "errors", Failure)

    @property
    def history(self) -> list[HistoryEntry]:
        """What happened to it, oldest first; the newest 100. Claims show in the runs they began."""
        return [entry for _, entry in history_of(self.record, self.record.lists.get(HISTORY, ()))]

    @property
    def log(self) -> list[str]:
        """What its handler logged, oldest first."""
        entries = self.record.lists.get("log", ())
        return [line for entry in entries for line in entry.data.decode("utf-8", "replace").split("\n")]
