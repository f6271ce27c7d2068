"""Columns: what is written of jobs."""

from collections.abc import Callable, Mapping
from itertools import compress
from operator import is_not
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import astuple

from stanchion.model.records import Head, Record
from stanchion.model.states import State
from stanchion_sqlite.rows import as_json, to_ms

Columns = dict[str, Any]
"""Values by column."""

NAMES: Final = {state: state.value for state in State}
"""States as they are bound to statements: the driver takes longer for what is not exactly a `str`, such as an enum's
member, and for `None`."""

_pack: Final = msgspec.msgpack.Encoder().encode


def new_columns(queue: int, key: str, record: Record) -> Columns:
    """Return what is written of a new job.

    Returns:
        The columns that differ from their defaults.
    """
    columns = {
        "queue": queue,
        "key": key,
        "task": record.task,
        "state": NAMES[record.state],
        "created_at": to_ms(record.created_at),
        "priority": record.priority,
        "place": record.place,
        "args": record.args,
    }
    if record.policy:
        columns["policy"] = record.policy
    if record.due_at is not None:
        columns["due_at"] = to_ms(record.due_at)
    if record.unique is not None:
        columns["unique_key"] = record.unique
    if record.scope is not None:
        columns["scope"] = record.scope
    if record.tags:
        columns["tags"] = as_json(record.tags)
    if record.started_at is not None:
        columns["started_at"] = to_ms(record.started_at)
        columns.update(claim=record.claim, worker=record.worker, run=record.run)
    return columns


def changed_columns(before: Head, after: Head) -> Columns:
    """Return what is written of a changed job.

    Returns:
        The columns that changed.
    """
    columns: Columns = {}
    others = compress(_STORED, map(is_not, astuple(before), astuple(after)))
    for field, column, stored in others:
        value = getattr(after, field)
        columns[column] = None if value is None else stored(value)
    if after.cancel is not before.cancel:
        columns["cancel_reason"] = after.cancel and after.cancel.reason
    return columns


def _itself(value: Any) -> Any:
    return value


def _text(values: Any) -> str | None:
    return as_json(values) if values else None


def _packed(values: Mapping[str, Any]) -> bytes | None:
    return _pack(values) if values else None


class _Stored(NamedTuple):
    field: str
    column: str
    stored: Callable[[Any], Any]


_SPECIAL: Final[Mapping[str, tuple[str, Callable[[Any], Any]]]] = {
    "state": ("state", NAMES.__getitem__),
    "created_at": ("created_at", to_ms),
    "queued_at": ("queued_at", to_ms),
    "started_at": ("started_at", to_ms),
    "ended_at": ("ended_at", to_ms),
    "due_at": ("due_at", to_ms),
    "unique": ("unique_key", _itself),
    "tags": ("tags", _text),
    "counters": ("counters", _text),
    "cancel": ("cancel_at", lambda cancel: to_ms(cancel.at)),
    "notes": ("notes", _packed),
    "lists": ("lists", _packed),
}
"""The column of a field, and how it is stored; where that is not simply the field."""

_STORED: Final = [_Stored(name, *_SPECIAL.get(name, (name, _itself))) for name in Record.__struct_fields__]
"""All fields of a head, and then those of a body: name, column, and how it is stored."""
