"""Texts that come from outside: made harmless to show, and fit to be stored."""

import re
from collections.abc import Iterable
from typing import Final

_ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")


def shown(text: str, longest: int | None = None) -> str:
    """Escape every character of a text that is not plainly printable.

    Stored text may come from anywhere. Line breaks could forge a line of the log, control characters and ANSI
    sequences rewrite a terminal, and bidirectional marks show another text than the stored one.

    Args:
        text: Any text.

        longest: How many characters to show at most. The rest is replaced by the number of characters left out.

    Returns:
        The text on one line, unchanged if every character is plainly printable.
    """
    left_out = 0 if longest is None else len(text) - longest
    if left_out > 0:
        return f"{shown(text[:longest])}… ({left_out} more characters)"
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def without_addresses(text: str) -> str:
    """Return a text without the memory addresses that Python shows of objects; they say nothing to a reader.

    Args:
        text: Any text.

    Returns:
        The text: `<object object>` for `<object object at 0x7f…>`.
    """
    return _ADDRESS.sub("", text) if " at 0x" in text else text


def clipped(text: str, size: int) -> str:
    """Return the beginning of a text, fit for every store: lone surrogates are escaped.

    Args:
        text: Any text.

        size: How many bytes of UTF-8 to keep at most.

    Returns:
        The text, or its beginning.
    """
    # By `str` itself: a subclass may do anything.
    return str.encode(text, "utf-8", "backslashreplace")[:size].decode(errors="ignore")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question that offers the nearest known name, to be appended to an error.

    Args:
        name: A name that is not known.

        known: The names that are.

    Returns:
        The question, after a semicolon; an empty string if no known name is near.
    """
    from difflib import get_close_matches  # only who errs pays for it

    near = get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
