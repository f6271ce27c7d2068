"""Everything Stanchion raises on purpose, as one tree.

A message names the thing, its state and what was wanted of it. Errors of drivers are translated at a backend's
edge and kept as the cause.
"""

from datetime import timedelta

from stanchion.errors.texts import shown


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


class PayloadError(InvalidArgument):
    """Arguments or a result that cannot be stored, or do not fit the task's signature."""


class ConfigError(StanchionError):
    """The configuration, a plugin or a backend named in it cannot be used."""


class UnknownTask(StanchionError, LookupError):
    """No task of this name is registered in this application."""

    def __init__(self, name: str, known: tuple[str, ...] = ()) -> None:
        super().__init__(f"no task is named {name!r}; registered are: {', '.join(sorted(known)) or 'none'}")
        self.name = name


class JobNotFound(StanchionError, LookupError):
    """There is no job of this id: it was never enqueued, or it was deleted or has expired."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"job {job_id} does not exist: it was never enqueued, was deleted, or has expired")
        self.job_id = job_id


class IllegalTransition(StanchionError):
    """The state machine has no such move; nothing was changed."""

    def __init__(self, job_id: str, state: str, event: str, hint: str = "") -> None:
        super().__init__(f"job {job_id} is {state}; {event} is not possible{': ' if hint else ''}{hint}")
        self.job_id = job_id
        self.state = state
        self.event = event
        self.hint = hint


class LeaseLost(StanchionError):
    """This run no longer holds the job: its lease lapsed or it was settled already. Nothing was changed."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"job {job_id} is no longer held by this run's claim; its outcome was not recorded")
        self.job_id = job_id


class UniqueHeld(StanchionError):
    """The job cannot take its unique key again, because another job holds it."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"job {job_id} cannot be retried while another job holds its unique key")
        self.job_id = job_id


class Contended(StanchionError):
    """Others changed the job each of the five times this change was tried; nothing was changed."""

    def __init__(self, job_id: str, event: str) -> None:
        super().__init__(f"job {job_id} was changed by others while {event} was tried five times; try again")
        self.job_id = job_id


class Stopped(StanchionError):
    """The handler was asked to stop; raised inside it by `current_job().check()`. Let it pass through."""

    def __init__(self, job_id: str, reason: str) -> None:
        super().__init__(f"job {job_id} was asked to stop: {reason}")
        self.job_id = job_id
        self.reason = reason


class QueueNotEmpty(StanchionError):
    """A queue that still has jobs cannot be forgotten."""

    def __init__(self, queue: str) -> None:
        super().__init__(f"queue {queue} still has jobs; delete them before forgetting it")
        self.queue = queue


class BackendError(StanchionError):
    """The backend answered, but could not do what was asked; the driver's error is the cause."""


class Unavailable(BackendError):
    """The backend could not be reached or did not answer in time; whether the call took effect is unknown."""


class Busy(Unavailable):
    """Others used the store for as long as the call may wait. Nothing was changed, so it is not repeated at once."""


class Unsupported(StanchionError):
    """The backend lacks a capability (see `stanchion.contract.backend`)."""

    def __init__(self, capability: str, backend: object) -> None:
        super().__init__(f"{type(backend).__name__} does not support {capability}")


class ResultTimeout(StanchionError, TimeoutError):
    """The job did not end within the time given; it goes on."""

    def __init__(self, job_id: str, state: str, timeout: timedelta) -> None:
        super().__init__(
            f"job {job_id} is {state} after waiting {timeout.total_seconds():g} s for its result"
        )
        self.job_id = job_id
        self.state = state


class JobFailed(StanchionError):
    """The job whose result was asked for ended without one: failed, timed out or cancelled."""

    def __init__(self, job_id: str, state: str, detail: str = "") -> None:
        super().__init__(f"job {job_id} is {state}{': ' if detail else ''}{detail}")
        self.job_id = job_id
        self.state = state
