"""Tasks: registered functions, the options of their jobs, and the binding of arguments to their signatures."""

import copy
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Final, Self

import msgspec
from attrs import evolve, field, fields, frozen

from stanchion.errors import ConfigError, InvalidArgument, PayloadError
from stanchion.jobs import Item, check_key, check_priority, new_key
from stanchion.outcomes import Outcome, aware
from stanchion.payloads import Unreadable, check, encode_plain, encode_policy, encode_spec, misfit
from stanchion.queues import check_name
from stanchion.retries import Backoff, Exponential, Fixed, Policy, Until, duration
from stanchion.states import State

_DEFAULT: Final = Policy()
_MILLISECOND: Final = timedelta(milliseconds=1)


def _number(value: Any, name: str) -> int:
    if type(value) is not int or not 0 <= value <= 1000:
        raise InvalidArgument(f"{name} is an integer from 0 to 1000, not {value!r}")
    return value


def _retries(value: Any) -> int:
    return _number(value, "retries")


def _max_lost(value: Any) -> int:
    return _number(value, "max_lost")


def _queue(value: Any) -> str:
    return check_name(value)


def _key(value: Any) -> str | None:
    return None if value is None else check_key(value)


def _delay(value: Any) -> timedelta:
    return duration(value, "delay")


def _at(value: Any) -> datetime | None:
    return None if value is None else aware(value, "at")


def _backoff(value: Any) -> Backoff:
    if not isinstance(value, Fixed | Exponential):
        raise InvalidArgument(f"backoff is Fixed(…) or Exponential(…), not {value!r}")
    return value


def _timeout(value: Any) -> timedelta:
    return duration(value, "timeout", least=_MILLISECOND)


def _keep(value: Any) -> timedelta | None:
    return None if value is None else duration(value, "keep")


def _keep_failed(value: Any) -> timedelta | None:
    return None if value is None else duration(value, "keep_failed")


def _until(value: Any) -> Until:
    if value not in ("start", "end"):
        raise InvalidArgument(f"unique_until is 'start' or 'end', not {value!r}")
    until: Until = value
    return until


def _unique(value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or not value):
        raise InvalidArgument(f"unique is a text, not {value!r}")
    return value


def _tags(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple | set | frozenset) or not all(map(_is_tag, value)):
        raise InvalidArgument(
            f"tags are a set or list of texts of 1 to 256 printable characters, not {value!r}"
        )
    return tuple(sorted(set(value)))


def _is_tag(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 256 and value.isprintable()


@frozen(kw_only=True)
class Options:
    """How the jobs of a task are enqueued and run: `@app.task(…)` sets them, `task.using(…)` changes some."""

    queue: str = field(default="default", converter=_queue)
    """Where the job goes."""

    priority: int = field(default=0, converter=check_priority)
    """-100 (last) to 100 (first)."""

    key: str | None = field(default=None, converter=_key)
    """The job's own key: enqueuing twice with the same one makes one job. Random unless given."""

    delay: timedelta = field(default=timedelta(0), converter=_delay)
    """How long to wait before it may start; a timedelta or seconds."""

    at: datetime | None = field(default=None, converter=_at)
    """When it may start; an instant with a timezone. Goes before `delay`."""

    unique: str | None = field(default=None, converter=_unique)
    """Any text: while a job of the queue holds it, enqueuing answers with that job instead."""

    unique_until: Until = field(default="end", converter=_until)
    """Until when the job holds it: `start` or `end`."""

    tags: tuple[str, ...] = field(default=(), converter=_tags)
    """What the job can be found by."""

    retries: int = field(default=_DEFAULT.retries, converter=_retries)
    """How many attempts may follow the first."""

    max_lost: int = field(default=_DEFAULT.max_lost, converter=_max_lost)
    """How often it may lose its worker and run again."""

    backoff: Backoff = field(default=_DEFAULT.backoff, converter=_backoff)
    """How long to wait before the next attempt."""

    timeout: timedelta = field(default=_DEFAULT.timeout, converter=_timeout)
    """How long one run may take; a timedelta or seconds."""

    keep: timedelta | None = field(default=_DEFAULT.keep, converter=_keep)
    """How long it is kept once completed or cancelled; a timedelta, seconds, or none for ever."""

    keep_failed: timedelta | None = field(default=_DEFAULT.keep_failed, converter=_keep_failed)
    """How long it is kept once failed or timed out; a timedelta, seconds, or none for ever."""

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """Options from keywords.

        Raises:
            InvalidArgument: There is no such option, or its value cannot be used.
        """
        return cls(**_known(options))

    def but(self, options: Mapping[str, Any]) -> Self:
        """These options with some changed.

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

    def item(self, task: str, args: bytes) -> Item:
        """The job to insert for a task and its encoded arguments."""
        later = self.at or self.delay
        return Item(
            id=f"{self.queue}:{self.key or new_key()}",
            task=task,
            state=State.SCHEDULED if later else State.QUEUED,
            clock=later or None,
            priority=self.priority,
            unique=self.digest,
            scope=self.unique_until if self.unique else None,
            tags=self.tags,
            spec=encode_spec(args, self.policy),
        )


def _known(options: Mapping[str, Any]) -> Mapping[str, Any]:
    names = [attribute.name for attribute in fields(Options)]
    unknown = [name for name in options if name not in names]
    if unknown:
        raise InvalidArgument(f"no option is named {unknown[0]!r}; there are: {', '.join(names)}")
    return options


class Signature:
    """How a handler's arguments become JSON and back: one object, a field for each parameter.

    The work is done by a msgspec struct made after the signature: it binds, checks and converts in C.
    """

    def __init__(self, task: str, handler: Callable[..., Any]) -> None:
        self._task = task
        try:
            self._signature = inspect.signature(handler)
            hints = typing.get_type_hints(handler, include_extras=True)
            parameters = list(self._signature.parameters.values())
            self._plain = all(one.kind is one.POSITIONAL_OR_KEYWORD for one in parameters)
            self._struct = msgspec.defstruct(
                "Arguments",
                [_field(one, hints) for one in parameters],
                forbid_unknown_fields=True,
                kw_only=not self._plain,
            )
            self._decoder = msgspec.json.Decoder(self._struct)
            self.returns = _result_hint(hints.get("return", Any))
            self._results = msgspec.json.Decoder(self.returns)
        except (TypeError, ValueError, NameError, RuntimeError) as error:
            raise ConfigError(f"task {task} cannot be registered: its signature: {error}") from error
        self._kinds = [(one.name, one.kind) for one in parameters]
        self._may_be_none = misfit(b"null", None, self._results) is None

    def encode(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """Bind arguments as a call would, and encode them.

        Raises:
            PayloadError: They do not fit the signature or its type hints, or cannot be stored as JSON.
        """
        what = f"the arguments of task {self._task}"
        try:
            bound = self._struct(*args, **kwargs) if self._plain else self._bind(args, kwargs)
            payload = msgspec.json.encode(bound)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise PayloadError(f"{what}: {error or type(error).__name__}") from error
        check(payload, bound, what)
        if why := misfit(payload, bound, self._decoder):
            raise PayloadError(f"{what} do not fit its signature {self._signature}: {why}")
        return payload

    def encode_result(self, value: object) -> bytes:
        """Encode what the handler returned.

        Raises:
            PayloadError: It cannot be stored as JSON, or does not come back equal by the return type. Another
                attempt would do the same work for the same result, so the job has failed for good.
        """
        if value is None and self._may_be_none:
            return b"null"
        what = f"the result of task {self._task}"
        if inspect.isawaitable(value):
            _close(value)
            raise PayloadError(
                f"{what} is a {type(value).__name__} that nobody awaited: make the handler async"
            )
        payload = encode_plain(value, what)
        if why := misfit(payload, value, self._results):
            hint = "without a return type" if self.returns is Any else f"of the return type {self.returns}"
            raise PayloadError(f"{what} does not come back by JSON {hint}: {why}")
        return payload

    def decode(self, payload: bytes | msgspec.Raw) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Stored arguments, restored by the type hints, as they are passed to the handler.

        Raises:
            Unreadable: They do not fit the signature.
        """
        bound = self._restored(payload)
        if self._plain:
            return msgspec.structs.astuple(bound), {}
        return self._unbind(bound)

    def named(self, payload: bytes | msgspec.Raw) -> dict[str, Any]:
        """Stored arguments, restored by the type hints, by the names of their parameters.

        Raises:
            Unreadable: They do not fit the signature.
        """
        return msgspec.structs.asdict(self._restored(payload))

    @property
    def names(self) -> list[str]:
        """The names of the parameters."""
        return [name for name, _ in self._kinds]

    def _restored(self, payload: bytes | msgspec.Raw) -> msgspec.Struct:
        try:
            return self._decoder.decode(payload)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise Unreadable(
                f"stored arguments do not fit task {self._task}{self._signature}: {error}"
            ) from error

    def __str__(self) -> str:
        return f"{self._task}{self._signature}"

    def _bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> msgspec.Struct:
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return self._struct(**bound.arguments)

    def _unbind(self, bound: msgspec.Struct) -> tuple[tuple[Any, ...], dict[str, Any]]:
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for name, kind in self._kinds:
            value = getattr(bound, name)
            if kind is inspect.Parameter.VAR_POSITIONAL:
                args.extend(value)
            elif kind is inspect.Parameter.VAR_KEYWORD:
                kwargs.update(value)
            elif kind is inspect.Parameter.KEYWORD_ONLY:
                kwargs[name] = value
            else:
                args.append(value)
        return tuple(args), kwargs


def _field(one: inspect.Parameter, hints: Mapping[str, Any]) -> tuple[str, Any, Any]:
    hint = hints.get(one.name, Any)
    if one.kind is one.VAR_POSITIONAL:
        return one.name, tuple[hint, ...], ()  # type: ignore[valid-type]  # a hint known at run time only
    if one.kind is one.VAR_KEYWORD:
        return one.name, dict[str, hint], msgspec.field(default_factory=dict)  # type: ignore[valid-type]  # as above
    if one.default is one.empty:
        return one.name, hint, msgspec.NODEFAULT
    default = one.default
    _check_default(one.name, default, hint)
    if isinstance(default, str | int | float | bytes | None):
        return one.name, hint, default
    return one.name, hint, msgspec.field(default_factory=lambda: copy.copy(default))


def _check_default(name: str, default: object, hint: Any) -> None:
    """Refuse a default that could not be stored and come back: it is stored with every job that relies on it."""
    what = f"the default of {name}"
    try:
        why = misfit(encode_plain(default, what), default, msgspec.json.Decoder(hint))
    except PayloadError as error:
        raise TypeError(str(error)) from error
    if why:
        raise TypeError(f"{what}: {why}")


def _close(value: object) -> None:
    """End a coroutine that will not be awaited, so that Python does not warn of it."""
    if inspect.iscoroutine(value):
        value.close()


def _result_hint(hint: Any) -> Any:
    """What a result is restored by: outcomes among what a handler may return are never stored."""
    outcomes = typing.get_args(Outcome)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        stored = [one for one in typing.get_args(hint) if one not in outcomes]
        return typing.Union[tuple(stored)] if stored else None  # noqa: UP007 - members known at run time only
    return Any if hint in (*outcomes, typing.NoReturn, typing.Never) else hint


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

        Raises:
            ConfigError: It yields instead of returning, or its signature cannot be used.
            InvalidArgument: The name or an option cannot be used.
        """
        name = getattr(handler, "__name__", "") if name is None else name
        if not isinstance(name, str) or not 0 < len(name) <= 256 or not name.isprintable():
            raise InvalidArgument(f"a task is named by 1 to 256 printable characters, not {name!r}")
        if inspect.isgeneratorfunction(handler) or inspect.isasyncgenfunction(handler):
            raise ConfigError(f"task {name} cannot be registered: a handler returns, it does not yield")
        return cls(
            name=name,
            handler=handler,
            options=Options.of(options),
            signature=Signature(name, handler),
            is_async=inspect.iscoroutinefunction(handler),
        )
