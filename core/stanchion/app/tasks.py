"""Tasks: registered functions, and the options of their jobs."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Final, Self

import msgspec
from attrs import evolve, field, fields, frozen
from msgspec.structs import replace

from stanchion.app import callables
from stanchion.app.signatures import Signature
from stanchion.app.tags import Compute, check_call, computed, given_or_computed
from stanchion.codec.specs import encode_args, encode_policy, name_call
from stanchion.errors import InvalidArgument
from stanchion.errors.texts import did_you_mean
from stanchion.model.ids import check_key, new_key
from stanchion.model.outcomes import aware
from stanchion.model.policies import Backoff, Exponential, Fixed, Policy, Until, duration
from stanchion.model.queues import check_queue
from stanchion.model.records import Item
from stanchion.model.states import State
from stanchion.model.values import check_priority

_DEFAULT: Final = Policy()
_MILLISECOND: Final = timedelta(milliseconds=1)


def _number(value: Any, name: str) -> int:
    if type(value) is not int or not 0 <= value <= 1000:
        raise InvalidArgument(f"{name} must be an integer from 0 to 1000, not {value!r}")
    return value


def _retries(value: Any) -> int:
    return _number(value, "retries")


def _max_lost(value: Any) -> int:
    return _number(value, "max_lost")


def _queue(value: Any) -> str:
    return check_queue(value)


def _key(value: Any) -> str | None:
    return None if value is None else check_key(value)


def _delay(value: Any) -> timedelta:
    return duration(value, "delay")


def _at(value: Any) -> datetime | None:
    return None if value is None else aware(value, "at")


def _backoff(value: Any) -> Backoff:
    if not isinstance(value, Fixed | Exponential):
        raise InvalidArgument(f"backoff must be Fixed(…) or Exponential(…), not {value!r}")
    return value


def _timeout(value: Any) -> timedelta:
    return duration(value, "timeout", least=_MILLISECOND)


def _keep(value: Any) -> timedelta | None:
    return None if value is None else duration(value, "keep")


def _keep_failed(value: Any) -> timedelta | None:
    return None if value is None else duration(value, "keep_failed")


def _until(value: Any) -> Until:
    if value not in ("start", "end"):
        raise InvalidArgument(f"unique_until must be 'start' or 'end', not {value!r}")
    until: Until = value
    return until


def _unique(value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or not value):
        raise InvalidArgument(f"unique must be a non-empty string, not {value!r}")
    return value


@frozen(kw_only=True)
class Options:
    """How the jobs of a task are enqueued and run: `@app.task(…)` sets them, `task.using(…)` changes some."""

    queue: str = field(default="default", converter=_queue)
    """Where the job goes."""

    priority: int = field(default=0, converter=check_priority)
    """-100 (last) to 100 (first)."""

    key: str | None = field(default=None, converter=_key)
    """The job's own key: enqueuing twice with the same one makes one job. Defaults to a random one."""

    delay: timedelta = field(default=timedelta(0), converter=_delay)
    """How long to wait before it may start; a timedelta or seconds."""

    at: datetime | None = field(default=None, converter=_at)
    """When it may start; an instant with a timezone. Takes precedence over `delay`."""

    unique: str | None = field(default=None, converter=_unique)
    """Any non-empty string: while a job of the queue holds it, enqueuing returns that job instead."""

    unique_until: Until = field(default="end", converter=_until)
    """Until when the job holds it: `start` or `end`."""

    tags: tuple[str, ...] | Compute = field(default=(), converter=given_or_computed)
    """What the job can be found by: strings, or a function that returns them, called with the arguments by name."""

    retries: int = field(default=_DEFAULT.retries, converter=_retries)
    """How many attempts may follow the first."""

    max_lost: int = field(default=_DEFAULT.max_lost, converter=_max_lost)
    """How often it may lose its worker and run again."""

    backoff: Backoff = field(default=_DEFAULT.backoff, converter=_backoff)
    """How long to wait before the next attempt."""

    timeout: timedelta = field(default=_DEFAULT.timeout, converter=_timeout)
    """How long one run may take; a timedelta or seconds."""

    keep: timedelta | None = field(default=_DEFAULT.keep, converter=_keep)
    """How long it is kept once completed or cancelled; a timedelta, seconds, or `None`: forever."""

    keep_failed: timedelta | None = field(default=_DEFAULT.keep_failed, converter=_keep_failed)
    """How long it is kept once failed or timed out; a timedelta, seconds, or `None`: forever."""

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """Return options from keywords.

        Args:
            options: The keywords.

        Returns:
            The options; those that are not given have their defaults.

        Raises:
            InvalidArgument: There is no such option, or its value cannot be used.
        """
        return cls(**_known(options))

    def but(self, options: Mapping[str, Any]) -> Self:
        """Return these options with some changed.

        Args:
            options: Their new values.

        Returns:
            The changed options.

        Raises:
            InvalidArgument: There is no such option, or its value cannot be used.
        """
        return evolve(self, **_known(options))

    @cached_property
    def policy(self) -> bytes:
        """The policy of jobs with these options, encoded."""
        return encode_policy(
            Policy(
                retries=self.retries,
                max_lost=self.max_lost,
                backoff=self.backoff,
                timeout=self.timeout,
                keep=self.keep,
                keep_failed=self.keep_failed,
                unique=self.digest,
                unique_until=self.unique_until,
            )
        )

    @cached_property
    def digest(self) -> str | None:
        """The digest of the unique key: 128 bits of BLAKE2b, in hexadecimal."""
        if self.unique is None:
            return None
        from hashlib import blake2b  # only jobs with a unique key pay for it

        return blake2b(self.unique.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    def item(
        self, task: str, args: bytes, token: str | None = None, *, tags: tuple[str, ...] | None = None
    ) -> Item:
        """Return the job to insert.

        Args:
            task: The name of its task.

            args: Its encoded arguments.

            token: Its key; with a key among these options, the id of the call that enqueues it. Defaults to a random
                one.

            tags: What was computed from its arguments. Defaults to the tags among these options.

        Returns:
            The job.
        """
        if tags is None:
            tags = () if callable(self.tags) else self.tags
        later = self.at or self.delay
        token = token or new_key()
        return Item(
            id=f"{self.queue}:{self.key or token}",
            task=task,
            state=State.SCHEDULED if later else State.QUEUED,
            due=later or None,
            priority=self.priority,
            unique=self.digest,
            scope=self.unique_until if self.unique else None,
            tags=tags,
            policy=name_call(self.policy, None if self.key is None else token),
            args=encode_args(args),
        )


def _known(options: Mapping[str, Any]) -> Mapping[str, Any]:
    names = [attribute.name for attribute in fields(Options)]
    unknown = [name for name in options if name not in names]
    if unknown:
        raise InvalidArgument(
            f"unknown option {unknown[0]!r}; expected one of {', '.join(names)}{did_you_mean(unknown[0], names)}"
        )
    return options


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """A registered task: what a worker needs to run its jobs."""

    name: str
    """What its jobs name it by."""

    handler: Callable[..., Any]
    """The function."""

    options: Options
    """The options of its jobs."""

    signature: Signature
    """How its arguments are bound."""

    is_async: bool
    """Whether the handler is a coroutine function and runs on the loop, otherwise in a thread."""

    @classmethod
    def of(cls, handler: Callable[..., Any], name: str | None, options: Mapping[str, Any]) -> Self:
        """Define a task for a function.

        Args:
            handler: The function.

            name: The name that was given; `None`: the function's own.

            options: The options of its jobs.

        Returns:
            The definition.

        Raises:
            ConfigError: It cannot be called as a function, yields, hides that it is async, or its signature cannot
                be used; or a function among the options cannot be called with its arguments.
            InvalidArgument: The name or an option cannot be used.
        """
        callables.check(handler)
        name = callables.name_of(handler, name)
        defined = cls(
            name=name,
            handler=handler,
            options=Options.of(options),
            signature=Signature(name, handler, [one.name for one in fields(Options)]),
            is_async=callables.is_async(handler),
        )
        return defined._checked()

    def using(self, options: Mapping[str, Any]) -> Self:
        """Return the same task with some options changed.

        Args:
            options: Their new values.

        Returns:
            Another definition.

        Raises:
            ConfigError: A function among the options cannot be called with the arguments of the task.
            InvalidArgument: There is no such option, or its value cannot be used.
        """
        changed = replace(self, options=self.options.but(options))
        return changed._checked() if "tags" in options else changed

    def _checked(self) -> Self:
        if callable(self.options.tags):
            check_call(self.name, self.options.tags, self.signature.names)
        return self

    def tags_of(self, args: bytes) -> tuple[str, ...]:
        """Return the tags of a job.

        Args:
            args: Its encoded arguments.

        Returns:
            Those among the options, or what is computed from the arguments.

        Raises:
            InvalidArgument: They cannot be computed.
        """
        tags = self.options.tags
        return computed(self.name, tags, self.signature.named(args)) if callable(tags) else tags
