"""How scripts are put together from parts: each has what it uses, and makes it as late as it can.

A script runs from its first line with each call, and to make a function costs a tenth of a microsecond, to make a table
a quarter. So what is only used by a function that few calls need (its comment begins with `Seldom:`) stands inside it.
"""

import re
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import Final

import msgspec

_NAMES: Final = re.compile(r"^local (?:function )?(\w+(?:, \w+)*)", re.MULTILINE)
_HEADER: Final = re.compile(r"^local function .*$", re.MULTILINE)
_SILENT: Final = re.compile(r'--.*$|"[^"\n]*"', re.MULTILINE)
"""Comments and texts: no name in them is one."""


class Kind(Enum):
    """What a part is."""

    DEFINITION = "definition"
    """A function or a constant: it stands where it is used."""

    STATE = "state"
    """A variable that functions share: it stands outside all of them, if it is used."""

    LINES = "lines"
    """Lines that are executed."""


class Part(msgspec.Struct, frozen=True):
    """A part of a script."""

    kind: Kind
    text: str
    names: frozenset[str]
    """What it defines."""

    words: frozenset[str]
    """All names in it."""

    @classmethod
    def constant(cls, name: str, value: str) -> "Part":
        """Make a part of a constant.

        Args:
            name: Its name.

            value: Its value, as it is written in Lua.

        Returns:
            The part.
        """
        text = f"local {name} = {value}"
        return cls(Kind.DEFINITION, text, frozenset({name}), frozenset())

    @property
    def is_seldom(self) -> bool:
        """Whether most calls do without it."""
        return self.text.startswith("-- Seldom: ")


def parts_of(text: str, *, is_shared: bool) -> Iterator[Part]:
    """Return the parts of a file: its functions, and what else stands between blank lines.

    Args:
        text: The file.

        is_shared: Whether it only defines what scripts may use.

    Returns:
        Its parts, in their order.
    """
    for block in re.split(r"\n\n+(?=\S)", text.strip()):
        code = _SILENT.sub("", block)
        names = frozenset(name for found in _NAMES.findall(code) for name in found.split(", "))
        other = Kind.STATE if is_shared else Kind.LINES
        kind = Kind.DEFINITION if code.lstrip().startswith("local function") else other
        yield Part(kind, block, names, frozenset(re.findall(r"\w+", code)))


def assembled(parts: Sequence[Part]) -> str:
    """Return a script of those parts that it uses.

    Args:
        parts: All that there are; each uses only what stands before it.

    Returns:
        The script.
    """
    lines = {number for number, part in enumerate(parts) if part.kind is Kind.LINES}
    wanted = frozenset(word for number in lines for word in parts[number].words)
    everything = _used(parts, wanted, with_seldom=True)
    state = {number for number in everything if parts[number].kind is Kind.STATE}
    outer = lines | state | _used(parts, wanted)
    return "\n\n".join(_text(parts, number, outer) for number in sorted(outer))


def _used(parts: Sequence[Part], words: AbstractSet[str], *, with_seldom: bool = False) -> set[int]:
    """Return the numbers of the parts that some words use, and of those that these use in turn."""
    chosen: set[int] = set()
    wanted = set(words)
    for number in range(len(parts) - 1, -1, -1):
        part = parts[number]
        if part.names & wanted and part.kind is not Kind.LINES:
            chosen.add(number)
            wanted |= part.words if with_seldom or not part.is_seldom else set()
    return chosen


def _text(parts: Sequence[Part], number: int, outer: AbstractSet[int]) -> str:
    """Return a part; a seldom one with what it alone uses inside."""
    part = parts[number]
    inner = _used(parts[:number], part.words) - outer if part.is_seldom else set()
    if not inner:
        return part.text
    begin = _HEADER.search(part.text)
    assert begin is not None, part.text
    inside = [_text(parts, one, outer | inner) for one in sorted(inner)]
    return "\n".join([part.text[: begin.end()], *inside, part.text[begin.end() + 1 :]])
