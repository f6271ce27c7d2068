"""Signatures: how a call's arguments and a handler's result become JSON and come back equal."""

import copy
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from stanchion.app import callables
from stanchion.codec.payloads import Unreadable, check, encode_plain, misfit
from stanchion.errors import ConfigError, PayloadError
from stanchion.model.outcomes import Outcome


class Signature:
    """How a handler's arguments become JSON and back: one object, a field for each parameter.

    The work is done by a msgspec struct made after the signature: it binds, checks and converts in C.

    Args:
        task: The name of the task.

        handler: The handler.

        options: The names of the options that a caller may have meant by an argument that the handler does not take.

    Raises:
        ConfigError: Its type hints or defaults cannot be used.
    """

    def __init__(self, task: str, handler: Callable[..., Any], options: Iterable[str] = ()) -> None:
        self._task, self._options = task, tuple(options)
        self._arguments, self._result = f"the arguments of task {task}", f"the result of task {task}"
        try:
            self._signature = inspect.signature(handler)
            hints = typing.get_type_hints(callables.hinted(handler), include_extras=True)
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
        except Exception as error:
            raise ConfigError(f"cannot register task {task}: its signature: {error}") from error
        self._kinds = [(one.name, one.kind) for one in parameters]
        self._may_be_none = misfit(b"null", None, self._results) is None

    def encode(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """Bind arguments as a call would, and encode them.

        Args:
            args: Positional arguments.

            kwargs: Arguments by name.

        Returns:
            A JSON object.

        Raises:
            PayloadError: They do not fit the signature or its type hints, or cannot be stored as JSON.
        """
        try:
            bound = self._struct(*args, **kwargs) if self._plain else self._bind(args, kwargs)
        except TypeError as error:
            raise PayloadError(
                f"{self._arguments} do not fit its signature {self._signature}: {error}{self._hint(kwargs)}"
            ) from error
        return self._encoded(bound)

    def changed(self, payload: bytes, changes: Mapping[str, Any]) -> bytes:
        """Encode stored arguments with some of them changed.

        Args:
            payload: The stored arguments.

            changes: New values, by the names of the parameters.

        Returns:
            A JSON object.

        Raises:
            PayloadError: The signature has no such parameter, or they do not fit its type hints or cannot be stored.
        """
        try:
            bound = self._struct(**{**self.named(payload), **changes})
        except TypeError as error:
            raise PayloadError(
                f"{self._arguments} do not fit its signature {self._signature}: {error}{self._hint(changes)}"
            ) from error
        return self._encoded(bound)

    def _encoded(self, bound: msgspec.Struct) -> bytes:
        what = self._arguments
        try:
            payload = msgspec.json.encode(bound)
        except Exception as error:
            raise PayloadError(f"cannot store {what} as JSON: {error or type(error).__name__}") from error
        check(payload, bound, what, "argument ")
        if why := misfit(payload, bound, self._decoder):
            raise PayloadError(f"{what} do not fit its signature {self._signature}: {why}")
        return payload

    def encode_result(self, value: object) -> bytes:
        """Encode what the handler returned.

        Args:
            value: The result.

        Returns:
            The result as JSON.

        Raises:
            PayloadError: It cannot be stored as JSON, or does not come back equal by the return type. Another attempt
                would do the same work for the same result, so the job is not retried.
        """
        if value is None and self._may_be_none:
            return b"null"
        what = self._result
        try:
            payload = encode_plain(value, what)
        except PayloadError as error:
            if not inspect.isawaitable(value):
                raise
            _close(value)
            kind = type(value).__name__
            raise PayloadError(f"{what} is a {kind} that was not awaited: make the handler async") from error
        if why := misfit(payload, value, self._results):
            shape = (
                "plain JSON, and has no return type"
                if self.returns is Any
                else f"its return type {self.returns}"
            )
            raise PayloadError(f"{what} does not fit {shape}: {why}")
        return payload

    def decode(self, payload: bytes | msgspec.Raw) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Restore stored arguments by the type hints, for a call of the handler.

        Args:
            payload: The stored arguments.

        Returns:
            Positional arguments, and arguments by name.

        Raises:
            Unreadable: They do not fit the signature.
        """
        bound = self._restored(payload)
        if self._plain:
            return msgspec.structs.astuple(bound), {}
        return self._unbind(bound)

    def named(self, payload: bytes | msgspec.Raw) -> dict[str, Any]:
        """Restore stored arguments by the type hints.

        Args:
            payload: The stored arguments.

        Returns:
            The arguments by the names of their parameters.

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
                f"cannot read the stored arguments of task {self._task}{self._signature}: {error}"
            ) from error

    def __str__(self) -> str:
        return f"{self._task}{self._signature}"

    def _hint(self, kwargs: Mapping[str, Any]) -> str:
        """Return what to do about an option that is among the arguments."""
        options = [name for name in self._options if name in kwargs and name not in self.names]
        return (
            f"; {options[0]} is an option: {self._task}.using({options[0]}=…).enqueue(…)" if options else ""
        )

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
    """Return what a result is restored by: outcomes among what a handler may return are never stored."""
    outcomes = typing.get_args(Outcome)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        stored = [one for one in typing.get_args(hint) if one not in outcomes]
        return typing.Union[tuple(stored)] if stored else None  # noqa: UP007 - members known at run time only
    return Any if hint in (*outcomes, typing.NoReturn, typing.Never) else hint
