"""Jobs as a test sees them: with their arguments, and with how they differ from the jobs it looks for."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from reprlib import Repr
from typing import Any, Final, TypedDict, TypeVar

import msgspec
from attrs import field, frozen
from attrs.converters import optional

from stanchion.app.jobs import Job
from stanchion.app.lookup import check_state
from stanchion.app.tasks import Definition
from stanchion.codec.specs import decode_args
from stanchion.engine.engine import Engine
from stanchion.errors import InvalidArgument
from stanchion.model.outcomes import aware
from stanchion.model.policies import duration
from stanchion.model.queues import check_queue
from stanchion.model.records import Record
from stanchion.model.states import State
from stanchion.model.values import check_priority

R = TypeVar("R")

SHOWN: Final = 5
"""How many jobs a message lists."""

_short: Final = Repr()
_short.maxstring = _short.maxother = _short.maxlong = 100


class SeenJob(Job[R]):
    """A job as it was when the test read it, with its arguments."""

    def __init__(self, engine: Engine, record: Record, definition: Definition | None) -> None:
        super().__init__(engine, record, definition.signature.returns if definition else Any)
        self._definition = definition

    @property
    def args(self) -> Mapping[str, Any]:
        """Its arguments by the names of the parameters, as its handler gets them, defaults included.

        Raises:
            Unreadable: They do not fit the signature.
        """
        raw = decode_args(self.record.args)
        if self._definition is None:
            found: Mapping[str, Any] = msgspec.json.decode(raw)
            return found
        return self._definition.signature.named(raw)

    @property
    def due_at(self) -> datetime | None:
        """When it may start, if it waits for a time."""
        return self.head.due_at

    @property
    def delay(self) -> timedelta:
        """How long after it was enqueued it may start."""
        return self.head.due_at - self.head.created_at if self.head.due_at else timedelta(0)

    def __str__(self) -> str:
        args = ", ".join(f"{name}={_short.repr(value)}" for name, value in self.args.items())
        time = f" for {self.due_at.isoformat()}" if self.due_at and self.state in WAITING else ""
        return f"{self.task}({args}) in {self.queue}, {self.state}{time}"


NOT_STARTED: Final = frozenset({State.QUEUED, State.SCHEDULED, State.BLOCKED})
"""The states of jobs that are enqueued and were never started."""

WAITING: Final = frozenset({State.SCHEDULED, State.RETRYING, State.BLOCKED})
"""The states in which jobs wait for a time."""


class Filters(TypedDict, total=False):
    """What a test can ask of the jobs that it looks for; what it leaves out can be anything."""

    args: Mapping[str, Any]
    """Arguments by name; others can be anything. For a mapping or an object, a mapping names the parts that matter."""

    queue: str
    """The queue they are in."""

    tags: Collection[str]
    """Tags, all of which they have."""

    priority: int
    """Their priority."""

    delay: float | timedelta
    """How long after they were enqueued they may start; a timedelta or seconds."""

    at: datetime
    """When they may start."""

    state: State | str
    """The state they are in, started or not. Defaults to those that are enqueued and were not started."""


def _delay(value: Any) -> timedelta | None:
    return None if value is None else duration(value, "delay")


def _at(value: Any) -> datetime | None:
    return None if value is None else aware(value, "at")


def _tags(value: Any) -> frozenset[str]:
    if isinstance(value, str):
        raise InvalidArgument(f"tags must be a list, tuple or set of strings, not {value!r}")
    return frozenset(value)


@frozen(kw_only=True)
class Wanted:
    """What a test looks for; what is `None` can be anything."""

    task: str | None
    args: Mapping[str, Any] = {}
    queue: str | None = field(default=None, converter=optional(check_queue))
    tags: frozenset[str] = field(default=frozenset(), converter=_tags)
    priority: int | None = field(default=None, converter=optional(check_priority))
    delay: timedelta | None = field(default=None, converter=_delay)
    at: datetime | None = field(default=None, converter=_at)
    state: State | None = field(default=None, converter=optional(check_state))

    def misses(self, job: SeenJob[Any]) -> list[str]:
        """Return how a job differs from what is wanted.

        Args:
            job: The job.

        Returns:
            The differences, the greatest first; empty if there is none.
        """
        if self.task is not None and job.task != self.task:
            return [f"it is a job of {job.task}", *self._others(job)]
        return [*_missing(self.args, job.args, ""), *self._others(job)]

    def _others(self, job: SeenJob[Any]) -> Iterator[str]:
        if job.state is not self.state if self.state else job.state not in NOT_STARTED:
            yield f"it is {job.state}"
        if self.queue is not None and job.queue != self.queue:
            yield f"its queue is {job.queue}"
        if not self.tags <= set(job.tags):
            yield f"its tags are {', '.join(job.tags) or 'none'}"
        if self.priority is not None and job.priority != self.priority:
            yield f"its priority is {job.priority}"
        if self.delay is not None and job.delay != self.delay:
            yield f"its delay is {job.delay}"
        if self.at is not None and job.due_at != self.at:
            yield f"it may start {'at once' if job.due_at is None else 'at ' + job.due_at.isoformat()}"

    def __str__(self) -> str:
        given = {
            "args": dict(self.args) or None,
            "queue": self.queue,
            "tags": set(self.tags) or None,
            "priority": self.priority,
            "delay": self.delay and str(self.delay),
            "at": self.at and self.at.isoformat(),
        }
        options = ", ".join(f"{name}={value!r}" for name, value in given.items() if value is not None)
        what = f"job of {self.task}" if self.task else "job"
        where = f"in state {self.state}" if self.state else "enqueued"
        return f"{what} {where}{f' with {options}' if options else ''}"


def _missing(wanted: Any, found: Any, where: str) -> Iterator[str]:
    """Return how a value differs from what is wanted: for a mapping or an object, only in the parts that are named."""
    if not isinstance(wanted, Mapping) or wanted == found:
        if wanted != found:
            yield f"{where} is {_short.repr(found)}, not {_short.repr(wanted)}"
        return
    for name, part in wanted.items():
        inner = f"{where}.{name}" if where else str(name)
        try:
            value = found[name] if isinstance(found, Mapping) else getattr(found, name)
        except (KeyError, AttributeError, TypeError):
            yield f"{inner} is missing"
        else:
            yield from _missing(part, value, inner)


def nearest(wanted: Wanted, jobs: Iterable[SeenJob[Any]]) -> str:
    """Describe the jobs that exist, the nearest first, and how each differs from what is wanted.

    Args:
        wanted: What the test looks for.

        jobs: The jobs.

    Returns:
        A line for each job.
    """
    found = [(wanted.misses(job), job) for job in jobs]
    found.sort(key=lambda one: (wanted.task is not None and one[1].task != wanted.task, len(one[0])))
    if not found:
        return "there is no job at all"
    return "\n".join(["found instead, nearest first:", *_listed(found)])


def _listed(found: list[tuple[list[str], SeenJob[Any]]]) -> Iterator[str]:
    for misses, job in found[:SHOWN]:
        yield f"  {job}: {'; '.join(misses)}" if misses else f"  {job}"
    if len(found) > SHOWN:
        yield f"  and {len(found) - SHOWN} more"


def listed(jobs: Iterable[SeenJob[Any]]) -> str:
    """List jobs.

    Args:
        jobs: The jobs.

    Returns:
        A line for each.
    """
    return "\n".join(_listed([([], job) for job in jobs]))
