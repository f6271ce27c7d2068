"""Tracebacks: an exception as Python prints it, with its causes, notes and members, within bounds.

A handler's exception may do anything: raise when asked for its text, be its own cause, hold a million others. So
Python is given stand-ins to print: exceptions of the same names, with texts that were asked for once, in safety.

What is left out when there is too much: of a stack the outer frames, of a chain the causes that lie furthest back,
of a group the members at its end. What is still too long is cut at its beginning, a group at its end.
"""

import traceback
from collections.abc import Callable, Iterator
from functools import lru_cache
from types import TracebackType
from typing import Any, Final

from stanchion.errors.texts import clipped

_EXCEPTIONS: Final = 32
"""How many exceptions are shown together."""

_CHAIN: Final = 16
"""How many causes of an exception are shown."""

_CHAIN_OF_MEMBER: Final = 3
"""How many causes of a member of a group are shown."""

_MEMBERS: Final = 15
"""How many members of a group are shown; as many as Python prints."""

_DEEPEST: Final = 10
"""How deep groups are shown in groups; as deep as Python prints."""

_FRAMES: Final = 200
"""How many frames are shown, shared out among the exceptions."""

_FEWEST_FRAMES: Final = 8
"""How many frames each exception may show at least: where it was raised, and how it came there."""

_TEXT: Final = 1 << 10
"""Bytes shown of each exception's text, and of its notes together; the whole message is kept beside the traceback."""

_LEFT_OUT: Final = "... (cut)\n"

Strip = Callable[[TracebackType | None], TracebackType | None]


def printed(error: BaseException, size: int, strip: Strip) -> str:
    """Return an exception as Python prints it. Never raises.

    Args:
        error: The exception.

        size: How many bytes of UTF-8 the text may have.

        strip: Takes frames off a traceback that say nothing to a reader.

    Returns:
        The text, cut where it was too long.
    """
    try:
        stand_ins = _StandIns(strip)
        first = stand_ins.chain(error)
        whole = "".join(
            traceback.TracebackException.from_exception(first, limit=-stand_ins.frames_each).format()
        )
    except BaseException as broken:  # noqa: BLE001 - see the top of the file
        whole = f"<its traceback cannot be had: {name_of(broken)}>\n"
    return _bounded(whole, size, from_end=not _is_group(error))


def text_of(error: object) -> str:
    """Return the text of an exception or any other object. Never raises.

    Args:
        error: The object.

    Returns:
        Its text; if asking for it raised, a remark that names what was raised.
    """
    try:
        return str(error)
    except BaseException as broken:  # noqa: BLE001 - see the top of the file
        return f"<its text cannot be had: {name_of(broken)}>"


def name_of(error: BaseException) -> str:
    """Return the name of an exception's class.

    Args:
        error: The exception.

    Returns:
        Its qualified name; `Exception` if that cannot be read.
    """
    name = _read(type(error), "__qualname__")
    return name if isinstance(name, str) else "Exception"


def _bounded(whole: str, size: int, *, from_end: bool) -> str:
    data = whole.encode("utf-8", "backslashreplace")
    if len(data) <= size:
        return data.decode()
    room = size - len(_LEFT_OUT)
    if from_end:
        return _LEFT_OUT + data[-room:].decode(errors="ignore").partition("\n")[2]
    return data[:room].decode(errors="ignore").rpartition("\n")[0] + "\n" + _LEFT_OUT


class _StandIns:
    """Makes the stand-ins for one exception and all that it brings along."""

    def __init__(self, strip: Strip) -> None:
        self._strip = strip
        self._left = _EXCEPTIONS
        self._seen: set[int] = set()

    @property
    def frames_each(self) -> int:
        """How many frames each exception may show."""
        return max(_FEWEST_FRAMES, _FRAMES // max(1, _EXCEPTIONS - self._left))

    def chain(self, error: BaseException, depth: int = 0) -> BaseException:
        """Return the stand-in for an exception, with those for its causes after it."""
        first = last = self._one(error, depth)
        for origin, is_cause in _origins(error, _CHAIN_OF_MEMBER if depth else _CHAIN):
            if id(origin) in self._seen or self._left <= 0:
                break
            stand_in = self._one(origin, depth)
            last.__context__ = stand_in
            if is_cause:
                last.__cause__ = stand_in
            last = stand_in
        return first

    def _one(self, error: BaseException, depth: int) -> BaseException:
        self._seen.add(id(error))
        self._left -= 1
        members, more = self._members(error, depth)
        module = _read(type(error), "__module__")
        kind = _kind(
            module if isinstance(module, str) else "builtins", name_of(error), is_group=bool(members)
        )
        text = clipped(text_of(error), _TEXT)
        stand_in: BaseException = kind(text, members) if members else kind(text)
        stand_in.__traceback__ = self._strip(_own(error, "__traceback__", BaseException))
        for note in _notes(error):
            stand_in.add_note(note)
        if more:
            stand_in.add_note(f"and {more} more exceptions")
        return stand_in

    def _members(self, error: BaseException, depth: int) -> tuple[list[BaseException], int]:
        """Return stand-ins for the first members of a group, and how many are left out."""
        if not _is_group(error) or depth >= _DEEPEST:
            return [], 0
        members = _own(error, "exceptions", BaseExceptionGroup)
        found = [self.chain(member, depth + 1) for member in members[:_MEMBERS] if self._left > 0]
        return found, len(members) - len(found)


def _origins(error: BaseException, most: int) -> Iterator[tuple[BaseException, bool]]:
    """Yield what led to an exception, nearest first, as Python would print it; and whether each is a `__cause__`."""
    for _ in range(most):
        cause = _own(error, "__cause__", BaseException)
        context = (
            None
            if _own(error, "__suppress_context__", BaseException)
            else _own(error, "__context__", BaseException)
        )
        origin = context if cause is None else cause
        if origin is None:
            return
        yield origin, cause is not None
        error = origin


def _notes(error: BaseException) -> Iterator[str]:
    notes = _read(error, "__notes__")
    left = _TEXT
    for note in notes[:_MEMBERS] if isinstance(notes, list | tuple) else []:
        if left > 0:
            text = clipped(note if isinstance(note, str) else "<a note that is no text>", left)
            left -= len(text.encode())
            yield text


def _is_group(error: BaseException) -> bool:
    return issubclass(type(error), BaseExceptionGroup)


def _own(error: BaseException, name: str, kind: type[BaseException]) -> Any:
    """Return an attribute as Python itself set it, whatever a subclass says."""
    return vars(kind)[name].__get__(error)


def _read(thing: object, name: str) -> object:
    try:
        return getattr(thing, name, None)
    except BaseException:  # noqa: BLE001 - see the top of the file
        return None


@lru_cache(maxsize=256)
def _kind(module: str, name: str, *, is_group: bool) -> Any:
    """Return a class of exceptions that prints under another's name, and whose text is its first argument."""
    bases = (BaseExceptionGroup,) if is_group else (Exception,)
    return type(
        "StandIn", bases, {"__module__": module, "__qualname__": name, "__str__": lambda self: self.args[0]}
    )
