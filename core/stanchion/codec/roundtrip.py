"""Round trips: whether a value comes back from JSON equal to what it was.

A type hint decides what JSON becomes. Bytes that are read as a `str` are base64, a subclass read as its base has
lost its own fields, two keys that differ may be one in JSON: all of that decodes without an error. So the value
itself is compared. What equal means:

- Both are equal in Python, and have the same JSON.
- Lists and tuples are alike, item by item: JSON has arrays only, so the hint decides, and without one it is a list.
  A named tuple needs its own class as the hint, or `tuple`.
- An integer may come back as an equal float, where the hint is `float`.
- An instance of a subclass of `str`, `int`, `list` or `dict` may come back as the plain value that it equals.
- Datetimes are alike if they are the same instant; an offset comes back, a zone's name does not. The `fold` of a
  datetime without a timezone is not stored.
- Dataclasses, attrs classes and Structs are alike if they are of one class and all their fields are alike.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec


def loss(given: object, back: object, payload: bytes) -> str | None:
    """Return what a round trip through JSON changed.

    Args:
        given: The value that was encoded. It is finite, and not nested too deep for Python's stack.

        back: What was decoded from the payload.

        payload: The value as JSON.

    Returns:
        `None` if both are equal in the sense above; otherwise what differs, and where.
    """
    try:
        if given == back and msgspec.json.encode(back) == payload:
            return None  # in C, and true of nearly every value
    except Exception:  # noqa: BLE001, S110 - a class may do anything when it is compared
        pass
    return _difference(given, back, "$")


def _equal(given: object, back: object) -> bool:
    try:
        return bool(given == back)
    except Exception:  # noqa: BLE001 - a class may do anything when it is compared
        return False


def _difference(given: Any, back: Any, at: str) -> str | None:
    if isinstance(given, Mapping) and isinstance(back, Mapping):
        return _of_entries(given, back, at)
    if _is_array(given, back):
        return _of_items(given, back, at)
    if isinstance(given, datetime) and isinstance(back, datetime):
        alike = _instant(given) == _instant(back)
    elif (names := _fields(given)) is not None:
        if type(given) is type(back):
            return _of_fields(given, back, names, at)
        alike = False
    else:
        alike = _equal(given, back)
    return None if alike else _said(given, back, at)


def _is_array(given: object, back: object) -> bool:
    """Return whether both are arrays to JSON, and no named tuple among them loses its names."""
    if not isinstance(given, list | tuple) or not isinstance(back, list | tuple):
        return False
    return not isinstance(given, tuple) or type(given) is tuple or isinstance(back, type(given) | tuple)


def _instant(value: datetime) -> datetime:
    return value if value.utcoffset() is None else value.astimezone(UTC)


def _fields(value: object) -> Sequence[str] | None:
    """Return the names of the fields of a Struct, an attrs class or a dataclass; `None` for anything else."""
    import dataclasses  # few values are looked into

    kind = type(value)
    if isinstance(value, msgspec.Struct):
        return value.__struct_fields__
    if (attributes := getattr(kind, "__attrs_attrs__", None)) is not None:
        return [one.name for one in attributes]
    return [one.name for one in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else None


def _of_entries(given: Mapping[Any, Any], back: Mapping[Any, Any], at: str) -> str | None:
    for key, value in given.items():
        if key not in back:
            return f"a key that is `{type(key).__name__}` would not arrive as one - at `{at}`"
        if found := _difference(value, back[key], f"{at}[...]"):
            return found
    return None if len(given) == len(back) else f"a key would arrive that was not given - at `{at}`"


def _of_items(given: Any, back: Any, at: str) -> str | None:
    if len(given) != len(back):
        return _said(given, back, at)
    for index, (one, other) in enumerate(zip(given, back, strict=True)):
        if found := _difference(one, other, f"{at}[{index}]"):
            return found
    return None


def _of_fields(given: object, back: object, names: Sequence[str], at: str) -> str | None:
    for name in names:
        if found := _difference(getattr(given, name, None), getattr(back, name, None), f"{at}.{name}"):
            return found
    return None


def _said(given: object, back: object, at: str) -> str:
    before, after = type(given).__name__, type(back).__name__
    if before == after:
        return f"`{before}` would arrive as another value - at `{at}`"
    return f"`{before}` would arrive as `{after}` - at `{at}`"
