"""Payloads: arguments, results, errors and policies as bytes, and back.

Everything is JSON by way of msgspec, never pickle: stored data can name a registered task and its arguments,
and nothing else. What JSON would silently change (NaN, infinities) or a reader could choke on (depth, size) is
refused here, before any I/O.

How a job's arguments and policy are stored is in `stanchion.codec.specs`.
"""

import math
import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from stanchion.codec.roundtrip import loss
from stanchion.errors import PayloadError

LARGEST: Final = 1 << 20
"""Bytes: the largest arguments, result or saved data; a queue is no object store."""

DEEPEST: Final = 64
"""How many lists and objects may be nested."""

_NOT_FINITE: Final = re.compile(rb'null|"nan"|"-?inf"')
"""What msgspec may have written for NaN or an infinity: as a value, or as the key of an object."""


class Unreadable(PayloadError):
    """Stored bytes that this version cannot read."""


def encode(value: object, what: str) -> bytes:
    """Return a value as JSON.

    Args:
        value: What msgspec can encode: JSON's types, dataclasses, attrs classes, datetime, UUID, Decimal, Enum, …

        what: What it is, for the error.

    Returns:
        The JSON.

    Raises:
        PayloadError: It cannot be encoded, is not finite, nested deeper than `DEEPEST`, larger than `LARGEST`, or
            has keys that differ but are one in JSON.
    """
    payload = encode_plain(value, what)
    if msgspec.json.encode(msgspec.json.decode(payload)) != payload and _keys_collide(payload):
        raise PayloadError(f"cannot store {what} as JSON: two keys of a dict become the same string")
    return payload


def encode_plain(value: object, what: str) -> bytes:
    """Return a value as JSON, for `misfit` to look at; `encode` is for values without a hint.

    Args:
        value: What msgspec can encode.

        what: What it is, for the error.

    Returns:
        The JSON.

    Raises:
        PayloadError: It cannot be encoded, is not finite, nested deeper than `DEEPEST` or larger than `LARGEST`.
    """
    try:
        payload = msgspec.json.encode(value)
    except Exception as error:
        raise PayloadError(f"cannot store {what} as JSON: {error or type(error).__name__}") from error
    check(payload, value, what)
    return payload


def _keys_collide(payload: bytes) -> bool:
    import json  # msgspec keeps the last of equal keys; needed only if a payload does not come back the same

    lost: list[int] = []
    json.loads(payload, object_pairs_hook=lambda pairs: lost.append(len(pairs) - len(dict(pairs))))
    return any(lost)


def misfit(payload: bytes, value: object, decoder: msgspec.json.Decoder[Any]) -> str | None:
    """Return why a value would not come back equal.

    Args:
        payload: The value as JSON.

        value: The value.

        decoder: What the payload will be decoded by.

    Returns:
        `None` if it comes back equal, as `stanchion.codec.roundtrip` defines it; otherwise what differs, and where.
    """
    try:
        back = decoder.decode(payload)
    except Exception as error:  # noqa: BLE001 - the types of a hint have code of their own
        return str(error) or type(error).__name__
    return loss(value, back, payload)


def check(payload: bytes, value: object, what: str, part: str = "") -> None:
    """Refuse a payload that is too large, too deep, or lost something on the way to JSON.

    Args:
        payload: The value as JSON.

        value: The value.

        what: What it is, for the error.

        part: What a field of it is, for the error, such as `argument `. Defaults to nothing.

    Raises:
        PayloadError: It is.
    """
    if len(payload) > LARGEST:
        raise PayloadError(f"cannot store {what}: {len(payload)} bytes, the limit is {LARGEST}")
    if payload.count(b"[") + payload.count(b"{") > DEEPEST and _depth(msgspec.json.decode(payload)) > DEEPEST:
        raise PayloadError(f"cannot store {what}: nested deeper than {DEEPEST} levels")
    if _NOT_FINITE.search(payload) and not _finite(msgspec.to_builtins(value)):
        place, number = next(_not_finite(msgspec.to_builtins(value), ""))
        subject = f"{what}: {part}`{place}`" if place else what
        raise PayloadError(f"{subject} is {number}, which JSON cannot represent")


def _depth(value: object) -> int:
    deepest, level = 0, [value]
    while level := [one for one in level if isinstance(one, dict | list)]:
        level = [child for parent in level for child in _children(parent)]
        deepest += 1
    return deepest


def _finite(value: object) -> bool:
    pending = [value]
    while pending:
        one = pending.pop()
        if isinstance(one, float) and not math.isfinite(one):
            return False
        pending.extend(_children(one))
        pending.extend(one if isinstance(one, dict) else ())
    return True


def _not_finite(value: object, place: str) -> Iterator[tuple[str, str]]:
    """Yield where NaN and infinities are in a value, and their names."""
    if isinstance(value, float) and not math.isfinite(value):
        yield place, "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from _not_finite(key, f"{place}.keys()" if place else "keys()")
            yield from _not_finite(one, f"{place}.{key}" if place else str(key))
    else:
        for index, one in enumerate(_children(value)):
            yield from _not_finite(one, f"{place}[{index}]")


def _children(value: object) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, list | tuple | set | frozenset) else []


def decode(payload: bytes, hint: Any = Any) -> Any:
    """Return a stored value, restored by its type hint.

    Args:
        payload: The value as JSON.

        hint: The type hint. Defaults to any type.

    Returns:
        The value.

    Raises:
        Unreadable: It does not fit the hint, or is not JSON; or JSON cannot be restored by this hint.
    """
    try:
        return msgspec.json.decode(payload, type=hint)
    except (msgspec.DecodeError, TypeError, ValueError, RecursionError) as error:
        raise Unreadable(f"cannot read a stored value as {hint}: {error}") from error
