"""What goes over the wire in both directions: instants, spans, and the numbers that scores are made of."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

Argument = str | bytes
"""What goes over the wire as it is."""

FOREVER: Final = 1 << 52
"""Added to scores that are no deadline: above every instant, and still exact as a score."""

BAND: Final = 1 << 44
"""Places in each priority."""

INLINE: Final = 64
"""Bytes of the largest note that lies in a job's head: the longest value with which a server still packs a small hash
(`hash-max-listpack-value`)."""

ARGUMENTS: Final = ("A", "1", "2", "3")
"""The fields of a head that hold arguments, as many bytes in each; larger ones lie in a key of their own.

With arguments of 98 bytes a waiting job takes 410 bytes; with a key of their own it would be 520, in one field 670."""

POLICY: Final = ("P", "4", "5", "6")
"""The fields of a head that hold its policy, as many bytes in each; what is left is in the last one."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


def to_ms(instant: datetime) -> int:
    """Return an instant as it is stored.

    Args:
        instant: The instant.

    Returns:
        Milliseconds since 1970; a part of one is cut off.
    """
    return (instant - _EPOCH) // _MILLISECOND


def to_ms_up(instant: datetime) -> int:
    """Return an instant as a bound.

    Args:
        instant: The instant.

    Returns:
        The first whole millisecond since 1970 that is not before it.
    """
    return -((_EPOCH - instant) // _MILLISECOND)


@lru_cache(4096)  # jobs that came together have their times in common
def from_ms(ms: bytes | str | float) -> datetime:
    """Return an instant from how it is stored.

    Args:
        ms: Milliseconds since 1970.

    Returns:
        The instant; of a damaged number the end of time, which harms nothing.
    """
    try:
        return datetime.fromtimestamp(float(ms) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.max.replace(tzinfo=UTC)


def instant_of(ms: int) -> datetime:
    """Return an instant that a script answered.

    Args:
        ms: Milliseconds since 1970.

    Returns:
        The instant.
    """
    return _EPOCH + ms * _MILLISECOND


def span_ms(span: timedelta) -> int:
    """Return a duration as it is sent.

    Args:
        span: The duration.

    Returns:
        Milliseconds; a part of one is cut off.
    """
    return span // _MILLISECOND


def to_minutes(span: timedelta) -> int:
    """Return a duration in minutes.

    Args:
        span: The duration.

    Returns:
        Whole minutes.
    """
    return span // timedelta(minutes=1)


def cut(value: bytes, names: Sequence[str]) -> list[Argument]:
    """Cut a value into pieces of `INLINE` bytes.

    Args:
        value: The value.

        names: The fields that hold the pieces; the last one holds what is left.

    Returns:
        Each name that is needed, followed by its piece.
    """
    pieces: list[Argument] = []
    start, size = 0, len(value)
    for name in names[:-1]:
        pieces += (name, value[start : start + INLINE])
        start += INLINE
        if start >= size:
            return pieces
    return [*pieces, names[-1], value[start:]]


def joined(found: Mapping[bytes, bytes], first: bytes, further: Sequence[bytes]) -> bytes:
    """Join the pieces of a value.

    Args:
        found: The fields of a job.

        first: The first piece.

        further: The names of the other ones.

    Returns:
        The value.
    """
    if len(first) == INLINE:
        for name in further:
            first += found.get(name, b"")
    return first
