"""The job that a handler runs for, as the handler sees it."""

import threading
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

import msgspec
from attrs import frozen

from stanchion.codec.payloads import decode, encode
from stanchion.errors import InvalidArgument, StanchionError, Stopped
from stanchion.errors.texts import shown
from stanchion.model.changes import LIST_LENGTH
from stanchion.model.policies import Policy
from stanchion.model.records import Record
from stanchion.model.values import text

LOGGED: Final = 16 << 10
"""Bytes of log sent at a time: the newest lines. With a hundred entries kept, a job's log stays below 2 MiB."""


class StopReason(StrEnum):
    """Why a handler should stop."""

    CANCEL = "cancel"
    """A cancel was requested for the job."""

    TIMEOUT = "timeout"
    """The run went past its time limit."""

    LEASE = "lease"
    """The lease is lost, or will be before it can be renewed."""

    SHUTDOWN = "shutdown"
    """The worker shuts down."""


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a job is."""

    done: float
    """From 0 to 1."""

    message: str = ""
    """What it is doing."""


@frozen
class Returned:
    """The handler returned."""

    value: Any
    """What it returned: a result, or an outcome such as `Retry(60)`."""


@frozen
class Raised:
    """The handler raised, or middleware inside of the one that asks."""

    error: BaseException
    """What was raised. A handler that is stopped on a loop ends by `CancelledError`; `stop_reason` says why."""


Written = tuple[Mapping[str, bytes], Mapping[str, bytes]]
"""What a handler wrote: notes, and entries of lists, as a signal carries them."""

_Parts = tuple[Mapping[str, bytes], Sequence[bytes]]
_NOTHING: Final[_Parts] = ({}, ())


def _as_written(parts: _Parts) -> Written:
    notes, lines = parts
    return notes, {"log": b"\n".join(lines)[-LOGGED:]} if lines else {}


class Unsent:
    """What the handler of a run wrote, until its worker knows that it arrived; for workers.

    Handlers write on their threads, and the keeper sends on its own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._news = self._under_way = _NOTHING

    def note(self, name: str, value: bytes) -> None:
        """Write a note; it replaces the one of the same name.

        Args:
            name: Its name.

            value: Its value, encoded.
        """
        with self._lock:
            notes, lines = self._news
            self._news = ({**notes, name: value}, lines)

    def line(self, entry: bytes) -> None:
        """Add a line to the log.

        Args:
            entry: The line, encoded.
        """
        with self._lock:
            notes, lines = self._news
            self._news = (notes, [*lines, entry][-LIST_LENGTH:])

    @property
    def has_news(self) -> bool:
        """Whether anything was written since this was last taken."""
        return self._news is not _NOTHING

    def take(self) -> Written:
        """Return what was written since the last call, to be sent with a beat.

        It is kept until `sent` or `put_back` is called: an outcome that overtakes the beat takes it too.

        Returns:
            Notes, and entries of lists.
        """
        with self._lock:
            self._merge()
            self._under_way, self._news = self._news, _NOTHING
            return _as_written(self._under_way)

    def take_all(self) -> Written:
        """Return everything that may not have arrived, to go with the run's outcome.

        Returns:
            Notes, and entries of lists.
        """
        with self._lock:
            self._merge()
            written, self._news = self._news, _NOTHING
            return _as_written(written)

    def sent(self) -> None:
        """Forget what was taken: it has arrived."""
        with self._lock:
            self._under_way = _NOTHING

    def put_back(self) -> None:
        """Keep what was taken: it has not arrived. What was written since then takes precedence."""
        with self._lock:
            self._merge()

    def _merge(self) -> None:
        (old_notes, old_lines), (notes, lines) = self._under_way, self._news
        if old_notes or old_lines:
            self._news = ({**old_notes, **notes}, [*old_lines, *lines][-LIST_LENGTH:])
            self._under_way = _NOTHING


class RunningJob:
    """One run of a job, for its handler and for middleware.

    What the handler writes (progress, data, log) is sent with the keeper's next beat, within a second, or with
    the run's outcome, whichever is first; the last write is never lost while the run holds its lease.
    """

    def __init__(self, record: Record, policy: Policy, *, is_async: bool = False) -> None:
        self.record = record
        """The job as it was claimed."""
        self.policy = policy
        """The job's own policy."""
        self.is_async = is_async
        """Whether its handler runs on a loop, so that middleware around it may be async."""
        self.outcome: Returned | Raised | None = None
        """For middleware that is being left: how the handler ended; `None` before."""
        self._stop: StopReason | None = None
        self._stopped: threading.Event | None = None
        self.unsent = Unsent()
        """For the worker: what the handler wrote."""
        self._lock = threading.Lock()
        self._saved = record.notes.get("saved")

    @property
    def id(self) -> str:
        """The job's id."""
        return self.record.id

    @property
    def task(self) -> str:
        """The name of its task."""
        return self.record.task

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1; losing a worker uses up none."""
        return self.record.count("attempts") + 1

    @property
    def run(self) -> int:
        """Which start of the job this is, from 1."""
        return self.record.run

    @property
    def should_stop(self) -> bool:
        """Whether the handler should stop; `stop_reason` says why.

        A handler that stops half-way must not return: what it returns completes the job. Call `check` instead.
        """
        return self._stop is not None

    @property
    def stop_reason(self) -> StopReason | None:
        """Why the handler should stop; `None` while it should continue."""
        return self._stop

    def check(self) -> None:
        """Leave the handler here if it should stop; call it where stopping is safe.

        The job is then cancelled, handed back or retried, as the reason asks for; it does not complete.

        Raises:
            Stopped: It should; let it pass through.
        """
        if self._stop is not None:
            raise Stopped(self.id, self._stop)

    def wait_stop(self, timeout: float | timedelta) -> bool:
        """Wait, in a thread, until the handler should stop.

        Args:
            timeout: How long to wait at most; a timedelta or seconds.

        Returns:
            `True` if the handler should stop.
        """
        with self._lock:
            self._stopped = self._stopped or threading.Event()
        return self.should_stop or self._stopped.wait(_positive(timeout))

    def progress(self, done: float, message: str = "") -> None:
        """Report how far the job is.

        Args:
            done: A number from 0 to 1.

            message: What it is doing. Defaults to nothing.

        Raises:
            InvalidArgument: The number is outside of that, or the message is not a string.
        """
        if isinstance(done, bool) or not isinstance(done, int | float) or not 0 <= done <= 1:
            raise InvalidArgument(f"progress must be a number from 0 to 1, not {done!r}")
        self.unsent.note("progress", msgspec.json.encode(Progress(float(done), text(message, "message"))))

    def save(self, data: object) -> None:
        """Save data with the job, for its next attempt to continue from.

        Args:
            data: What can be stored as JSON; it replaces what was saved before.

        Raises:
            PayloadError: It cannot be stored as JSON.
        """
        self._saved = encode(data, "saved data")
        self.unsent.note("saved", self._saved)

    def saved(self, hint: Any = Any) -> Any:
        """Return what this or an earlier run saved last.

        Args:
            hint: A type hint, by which it is restored. Defaults to JSON's types.

        Returns:
            The data; `None` if nothing was saved.

        Raises:
            PayloadError: The data does not fit the hint.
        """
        stored = self._saved
        return None if stored is None else decode(stored, hint)

    def log(self, line: str) -> None:
        """Add a line to the job's log; the newest 100 are kept.

        Args:
            line: The line.

        Raises:
            InvalidArgument: It is not a string.
        """
        self.unsent.line(text(line, "line").encode())

    def stop(self, reason: StopReason) -> None:
        """Ask the handler to stop; for the worker. The first reason stays.

        Args:
            reason: Why.
        """
        with self._lock:
            self._stop = self._stop or reason
            if self._stopped is not None:
                self._stopped.set()

    def __repr__(self) -> str:
        return f"<RunningJob {shown(self.id)} run {self.run}, attempt {self.attempt} of {self.policy.retries + 1}>"


def _positive(timeout: float | timedelta) -> float:
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    return max(0.0, seconds)


current: Final[ContextVar[RunningJob | None]] = ContextVar("stanchion_current_job", default=None)


def current_job() -> RunningJob:
    """Return the job whose handler is running here.

    Returns:
        The job.

    Raises:
        StanchionError: It is called outside of a handler.
    """
    job = current.get()
    if job is None:
        raise StanchionError("current_job() can only be called inside a handler")
    return job
