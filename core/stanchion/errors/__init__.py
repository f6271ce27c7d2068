"""Everything Stanchion raises on purpose, as one tree.

A message says what failed, the value, what would be right, and what to do. Errors of drivers are translated at a
backend's edge and kept as the cause.
"""

from datetime import timedelta
from typing import Final

from stanchion.errors.texts import did_you_mean, shown, without_addresses


def _restored(
    kind: type["StanchionError"], args: tuple[object, ...], state: dict[str, object]
) -> "StanchionError":
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class StanchionError(Exception):
    """The root: catch this to catch everything Stanchion raises on purpose. All of them can be pickled.

    Messages may quote what is stored; their text is escaped, so that it is one line of printable characters.
    """

    def __str__(self) -> str:
        return shown(super().__str__())

    def __reduce__(self) -> tuple[object, ...]:
        return _restored, (type(self), self.args, self.__dict__)


class InvalidArgument(StanchionError, ValueError):
    """A name, number, time or option that cannot be used; raised before any I/O."""

    def __str__(self) -> str:
        return without_addresses(super().__str__())


class PayloadError(InvalidArgument):
    """Arguments or a result that cannot be stored, or do not fit the task's signature."""


class ConfigError(StanchionError):
    """The configuration, a plugin or a backend named in it cannot be used."""

    def __str__(self) -> str:
        return without_addresses(super().__str__())


class UnknownTask(StanchionError, LookupError):
    """No task of this name is registered in this application."""

    def __init__(self, name: str, known: tuple[str, ...] = ()) -> None:
        listed = ", ".join(sorted(known)) or "none"
        super().__init__(f"unknown task {name!r}; registered tasks: {listed}{did_you_mean(name, known)}")
        self.name = name


class JobNotFound(StanchionError, LookupError):
    """There is no job of this id: it was never enqueued, or it was deleted or has expired."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"job {job_id} does not exist: it was never enqueued, was deleted, or has expired")
        self.job_id = job_id


class IllegalTransition(StanchionError):
    """The state machine has no such move; nothing was changed."""

    def __init__(self, job_id: str, state: str, event: str, hint: str = "") -> None:
        verb = event.replace("_", " ")
        super().__init__(f"cannot {verb} job {job_id}: it is {state}{'; ' if hint else ''}{hint}")
        self.job_id = job_id
        self.state = state
        self.event = event
        self.hint = hint


class LeaseLost(StanchionError):
    """This run no longer holds the job: its lease lapsed or it was settled already. Nothing was changed."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"cannot record the outcome of job {job_id}: this run no longer holds its lease")
        self.job_id = job_id


class UniqueHeld(StanchionError):
    """The job cannot take its unique key again, because another job holds it."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"cannot retry job {job_id}: another job holds its unique key")
        self.job_id = job_id


class Contended(StanchionError):
    """Others changed the job each time this change was tried; nothing was changed."""

    def __init__(self, job_id: str, event: str, conflicts: int) -> None:
        super().__init__(f"gave up after {conflicts} conflicting updates to job {job_id}; try again")
        self.job_id = job_id
        self.event = event


class Stopped(StanchionError):
    """The handler was asked to stop; raised inside it by `current_job().check()`. Let it pass through."""

    def __init__(self, job_id: str, reason: str) -> None:
        super().__init__(f"job {job_id} was asked to stop: {reason}")
        self.job_id = job_id
        self.reason = reason


class QueueNotEmpty(StanchionError):
    """A queue that still has jobs cannot be forgotten."""

    def __init__(self, queue: str) -> None:
        super().__init__(f"cannot forget queue {queue}: it still has jobs; delete them first")
        self.queue = queue


class BackendError(StanchionError):
    """The backend answered, but could not do what was asked; the driver's error is the cause."""


class Unavailable(BackendError):
    """The backend could not be reached or did not answer in time; whether the call took effect is unknown."""


class Busy(Unavailable):
    """The store was in use for as long as the call may wait. Nothing was changed, so it is not repeated at once."""


class Unsupported(StanchionError):
    """The backend lacks a capability (see `stanchion.contract.capabilities`)."""

    def __init__(self, capability: str, backend: object) -> None:
        super().__init__(f"{type(backend).__name__} does not support {capability}")


class ResultTimeout(StanchionError, TimeoutError):
    """The job did not finish within the timeout; it continues."""

    def __init__(self, job_id: str, state: str, timeout: timedelta) -> None:
        super().__init__(f"job {job_id} did not finish within {timeout.total_seconds():g} s (it is {state})")
        self.job_id = job_id
        self.state = state


_ENDED: Final = {"timed_out": "timed out", "cancelled": "was cancelled", "failed": "failed"}


class JobFailed(StanchionError):
    """The job whose result was asked for ended without one: failed, timed out or cancelled."""

    def __init__(self, job_id: str, state: str, detail: str = "") -> None:
        ended = _ENDED.get(state, f"is {state}")
        super().__init__(f"job {job_id} {ended}{': ' if detail else ''}{detail}")
        self.job_id = job_id
        self.state = state
