"""Operations written once for sync and async callers.

An operation is a generator: it yields each `Call` it needs made and is sent the answer. A few lines drive it over
a `Backend`, a few others over an `AsyncBackend` (the idea is psycopg's `generators.py`).
"""

import time
from collections.abc import Generator, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from stanchion.errors import Busy, Unavailable

T = TypeVar("T")


class Call(NamedTuple):
    """One call of a verb."""

    verb: str
    """The method's name."""

    args: tuple[Any, ...] = ()
    """Its positional arguments."""

    of: Any = None
    """The object to call it on; `None`: the backend."""


class Pause(NamedTuple):
    """Do nothing for a while."""

    seconds: float
    """How long."""


Steps = Generator[Call | Pause, Any, T]
"""An operation that ends in a T."""

Pauses = Sequence[float | None]
"""Seconds to wait before a call whose outcome is unknown is repeated; `None` ends it. `Busy` is not repeated: the call
has waited already."""

PATIENT: Final[Pauses] = (0.05, 0.25, 1.0, None)
"""A cut connection or a quick restart of the store is ridden out: every verb may be repeated."""

ONCE: Final[Pauses] = (None,)
"""For callers that try again by themselves."""


def drive(steps: "Steps[T]", backend: Any, pauses: Pauses = PATIENT) -> T:
    """Run an operation on a backend.

    Args:
        steps: The operation.

        backend: The backend.

        pauses: How a call whose outcome is unknown is repeated. Defaults to `PATIENT`.

    Returns:
        What the operation answers.

    Raises:
        Unavailable: The backend did not answer, nor when it was called again.
    """
    reply: Any = None
    error: BaseException | None = None
    try:
        while True:
            step = steps.send(reply) if error is None else steps.throw(error)
            error = None
            try:
                reply = _make(step, backend, pauses)
            except BaseException as raised:  # noqa: BLE001  # the operation's own cleaning up may need more calls
                error = raised
    except StopIteration as end:
        result: T = end.value
        return result


def _make(call: Call | Pause, backend: Any, pauses: Pauses) -> Any:
    if isinstance(call, Pause):
        return time.sleep(call.seconds)
    verb = getattr(call.of or backend, call.verb)
    for pause in pauses:
        try:
            return verb(*call.args)
        except Unavailable as error:
            if pause is None or isinstance(error, Busy):
                raise
            time.sleep(pause)
    raise AssertionError("the last pause is none")


async def adrive(steps: "Steps[T]", backend: Any, pauses: Pauses = PATIENT) -> T:
    """Run an operation on an async backend.

    Args:
        steps: The operation.

        backend: The async backend.

        pauses: How a call whose outcome is unknown is repeated. Defaults to `PATIENT`.

    Returns:
        What the operation answers.

    Raises:
        Unavailable: The backend did not answer, nor when it was called again.
    """
    reply: Any = None
    error: BaseException | None = None
    try:
        while True:
            step = steps.send(reply) if error is None else steps.throw(error)
            error = None
            try:
                reply = await _amake(step, backend, pauses)
            except BaseException as raised:  # noqa: BLE001  # the operation's own cleaning up may need more calls
                error = raised
    except StopIteration as end:
        result: T = end.value
        return result


async def _amake(call: Call | Pause, backend: Any, pauses: Pauses) -> Any:
    if isinstance(call, Pause):
        return await _sleep(call.seconds)
    verb = getattr(call.of or backend, call.verb)
    for pause in pauses:
        try:
            return await verb(*call.args)
        except Unavailable as error:
            if pause is None or isinstance(error, Busy):
                raise
            await _sleep(pause)
    raise AssertionError("the last pause is none")


async def _sleep(seconds: float) -> None:
    import asyncio  # only programs that use it pay for it

    await asyncio.sleep(seconds)
