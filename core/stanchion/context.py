"""The job that a handler runs for, as the handler sees it."""

import threading
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

import msgspec

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


Written = tuple[Mapping[str, bytes], Mapping[str, bytes]]
"""What a handler wrote: notes, and entries of lists, as a signal carries them."""

_Parts = tuple[Mapping[str, bytes], Sequence[bytes]]
_NOTHING: Final[_Parts] = ({}, ())


def _as_written(parts: _Parts) -> Written:
    notes, lines = parts
    return notes, {"log": b"\n".join(lines)[-LOGGED:]} if lines else {}


class RunningJob:
    """One run of a job, for its handler and for middleware.

    What the handler writes (progress, data, log) is sent with the keeper's next beat, within a second, or with
    the run's outcome, whichever is first; the last write is never lost while the run holds its lease.
    """

    def __init__(self, record: Record, policy: Policy) -> None:
        self.record = record
        """The job as it was claimed."""
        self.policy = policy
        """The job's own policy."""
        self._stop: StopReason | None = None
        self._stopped: threading.Event | None = None
        self._lock = threading.Lock()
        self._news = self._under_way = _NOTHING
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
        """Why the handler should stop; `None` while it should go on."""
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
        """In a thread: wait until the handler should stop.

        Args:
            timeout: How long at most; a timedelta or seconds.

        Returns:
            `True` if the handler should stop.
        """
        with self._lock:
            self._stopped = self._stopped or threading.Event()
        return self.should_stop or self._stopped.wait(_positive(timeout))

    def progress(self, done: float, message: str = "") -> None:
        """Say how far the job is: from 0 to 1.

        Raises:
            InvalidArgument: It is outside of that, or the message is no text.
        """
        if isinstance(done, bool) or not isinstance(done, int | float) or not 0 <= done <= 1:
            raise InvalidArgument(f"progress is a number from 0 to 1, not {done!r}")
        self._write("progress", msgspec.json.encode(Progress(float(done), text(message, "a message"))))

    def save(self, data: object) -> None:
        """Keep data with the job, for its next attempt to go on from; replaces what was saved before.

        Raises:
            PayloadError: It cannot be stored as JSON.
        """
        self._saved = encode(data, "saved data")
        self._write("saved", self._saved)

    def saved(self, hint: Any = Any) -> Any:
        """What this or an earlier run saved last, restored by a type hint; none if nothing was."""
        stored = self._saved
        return None if stored is None else decode(stored, hint)

    def log(self, line: str) -> None:
        """Add a line to the job's log; the newest 100 are kept.

        Raises:
            InvalidArgument: It is no text.
        """
        entry = text(line, "a line of the log").encode()
        with self._lock:
            notes, lines = self._news
            self._news = (notes, [*lines, entry][-LIST_LENGTH:])

    @property
    def has_news(self) -> bool:
        """For the worker: whether anything was written since it last asked."""
        return self._news is not _NOTHING

    def stop(self, reason: StopReason) -> None:
        """For the worker: ask the handler to stop; the first reason stays."""
        with self._lock:
            self._stop = self._stop or reason
            if self._stopped is not None:
                self._stopped.set()

    def take(self) -> Written:
        """For the worker: what was written since this was last asked for, to be sent with a beat.

        It is kept until `sent` or `put_back` says what came of it: an outcome that overtakes the beat takes it too.
        """
        with self._lock:
            self._merge()
            self._under_way, self._news = self._news, _NOTHING
            return _as_written(self._under_way)

    def take_all(self) -> Written:
        """For the worker: everything of which nobody knows whether it was sent, to go with the run's outcome."""
        with self._lock:
            self._merge()
            written, self._news = self._news, _NOTHING
            return _as_written(written)

    def sent(self) -> None:
        """For the worker: what was taken has arrived."""
        with self._lock:
            self._under_way = _NOTHING

    def put_back(self) -> None:
        """For the worker: what was taken has not arrived; what was written since then goes before it."""
        with self._lock:
            self._merge()

    def _merge(self) -> None:
        (old_notes, old_lines), (notes, lines) = self._under_way, self._news
        if old_notes or old_lines:
            self._news = ({**old_notes, **notes}, [*old_lines, *lines][-LIST_LENGTH:])
            self._under_way = _NOTHING

    def _write(self, note: str, value: bytes) -> None:
        with self._lock:
            notes, lines = self._news
            self._news = ({**notes, note: value}, lines)

    def __repr__(self) -> str:
        return f"<RunningJob {shown(self.id)} run {self.run}, attempt {self.attempt} of {self.policy.retries + 1}>"


def _positive(timeout: float | timedelta) -> float:
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    return max(0.0, seconds)


current: Final[ContextVar[RunningJob | None]] = ContextVar("stanchion_current_job", default=None)


def current_job() -> RunningJob:
    """The job whose handler is running here.

    Raises:
        StanchionError: No handler is.
    """
    job = current.get()
    if job is None:
        raise StanchionError("current_job() is only known inside a handler that a worker runs")
    return job
