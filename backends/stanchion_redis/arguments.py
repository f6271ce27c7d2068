"""Requests as arguments of scripts; the header of each script says what it takes."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final, NamedTuple

from msgspec.json import encode

from stanchion.model.changes import TAIL, UNCHANGED, Change, Move, Unchanged, topic_of
from stanchion.model.effects import CROSSINGS, PLACED, takes_unique
from stanchion.model.ledger import NAMES
from stanchion.model.records import Item
from stanchion.model.selection import Span, Where
from stanchion.model.states import Event, State
from stanchion_redis.wire import ARGUMENTS, FOREVER, INLINE, POLICY, Argument, cut, span_ms, to_ms, to_ms_up

FIELDS: Final = {"queued_at": "q", "started_at": "b", "ended_at": "z", "created_at": "a"}
"""The instants of a head: the names of their fields in a job's hash."""


_LARGEST: Final = INLINE * len(ARGUMENTS)
"""Bytes of the largest arguments that lie in a job's head."""


def _due(due: Unchanged | timedelta | datetime | None) -> str:
    if due is UNCHANGED:
        return "k"
    if due is None:
        return "n"
    return f"+{span_ms(due)}" if isinstance(due, timedelta) else f"={to_ms(due)}"


def queue_argument(items: Sequence[Item]) -> Argument:
    """Return what insert.lua must know of a queue before its first write.

    Args:
        items: The jobs that are created in it.

    Returns:
        How many of them get a place, and what else they need.
    """
    for item in items:
        if item.state is not State.QUEUED or item.unique is not None or len(item.args) > _LARGEST:
            break
    else:
        return str(len(items))
    states = dict.fromkeys(item.state.value for item in items)
    placed = sum(item.state in PLACED for item in items)
    unique = "u" if any(item.unique is not None for item in items) else ""
    large = "A" if any(len(item.args) > _LARGEST for item in items) else ""
    return f"{placed} {','.join(states)} {unique}{large}"


def item_arguments(key: str, item: Item) -> list[Argument]:
    """Return a job to insert, as insert.lua takes it.

    Args:
        key: Its key.

        item: The job.

    Returns:
        The arguments.
    """
    is_usual = item.state is State.QUEUED and not (item.priority or item.tags) and item.unique is None
    if is_usual and not item.policy and len(item.args) <= INLINE:
        return [key, "", "2", "t", item.task, "A", item.args]
    fields: list[Argument] = ["t", item.task]
    has, further = ("", []) if is_usual else _further(item, fields)
    if item.policy:
        fields += cut(item.policy, POLICY)
    if len(item.args) <= INLINE:
        fields += ("A", item.args)
    elif len(item.args) <= _LARGEST:
        fields += cut(item.args, ARGUMENTS)
    else:
        has += "A"
        further.append(item.args)
    if item.state is State.QUEUED and not has:
        return [key, "", str(len(fields) // 2), *fields]
    kind = f"{item.state.value} {'-' if item.due is None else _due(item.due)} {has}"
    return [key, kind, *further, str(len(fields) // 2), *fields]


def _further(item: Item, fields: list[Argument]) -> tuple[str, list[Argument]]:
    """Add the fields of what most jobs do not have; return which of it this one has, and its values for the script."""
    has, further = "", list[Argument]()
    if item.priority:
        has = "p"
        further.append(str(item.priority))
        fields += ("p", further[-1])
    if item.unique is not None:
        takes = takes_unique(item)
        has += "u" if takes else "l"
        further.append(item.unique)
        fields += ("u", item.unique) if takes else ()
        fields += ("e", item.scope or "end")
    if item.tags:
        has += "g"
        further.append(tags_text(item.tags))
        fields += ("g", further[-1])
    if item.state is State.RUNNING:
        fields += ("c", item.claim or "", "w", item.worker or "", "r", "1")
    return has, further


def tags_text(tags: Iterable[str]) -> str:
    """Return tags as they are stored.

    Args:
        tags: The tags.

    Returns:
        A line for each.
    """
    return "\n".join(tags)


class _Effects(NamedTuple):
    """What going from one state to another makes of a head, by the letters of its fields."""

    row: str
    since: str
    stamps: str
    erases: tuple[str, ...]
    forward: str


@cache
def _effects(state: State, event: Event, to: State | None) -> _Effects:
    crossing = CROSSINGS[state, to]
    return _Effects(
        row=NAMES.get((state, event, to), ""),  # no row is one whose guards cannot hold, or stays where it is
        since="" if crossing.since is None else FIELDS[crossing.since],
        stamps=" ".join(FIELDS[name] for name in crossing.stamps),
        erases=tuple(FIELDS[name] for name in crossing.erases if name in FIELDS),
        forward="f" if crossing.only_forward else "",
    )


Plan = tuple[Argument, ...]
"""What many changes have in common, as apply.lua takes it."""


def planned(change: Change) -> tuple[Plan, list[Argument]]:
    """Return a change, as apply.lua takes it.

    Args:
        change: The change.

    Returns:
        Its plan, and the values of its own.
    """
    move, topic = change.move, topic_of(change)
    effects = _effects(change.state, change.event, move.to)
    sets, erased, values = _head_of(move, effects)
    notes, dropped = _notes_of(move, values) if move.notes else ("", "")
    if move.append:
        values += move.append.values()
    plan = (
        change.state,
        _flags(change, effects.forward),
        move.to or "",
        _due(move.due),
        "" if move.priority is UNCHANGED else str(move.priority),
        "" if move.unique is UNCHANGED else _taken(move.unique),
        "" if move.tags is UNCHANGED else f"+{tags_text(move.tags)}" if move.tags else "-",
        topic or "",
        effects.row,
        effects.since,
        str(len(sets) // 2),
        *sets,
        effects.stamps,
        " ".join(erased) if erased else "",
        "E" if isinstance(move.error, str) else "",
        notes,
        dropped,
        " ".join(move.append) if move.append else "",
    )
    return plan, values


def _flags(change: Change, forward: str) -> str:
    flags = forward
    if change.if_due:
        flags += "d"
    if change.move.place is TAIL:
        flags += "t"
    if isinstance(change.move.cancel, str):
        flags += "c"
    return flags


def _notes_of(move: Move, values: list[Argument]) -> tuple[str, str]:
    """Return the names of the notes that a move writes and erases; the values of the former join the others."""
    written, dropped = [], []
    for name, value in move.notes.items():
        if value is None:
            dropped.append(name)
        else:
            written.append(name)
            values.append(value)
    return " ".join(written), " ".join(dropped)


def _taken(unique: str | None) -> str:
    return "-" if unique is None else f"+{unique}"


def _head_of(move: Move, effects: _Effects) -> tuple[list[str], list[str], list[Argument]]:
    """Return the fields of a head that a move sets and erases, and the values that each job has of its own."""
    sets: list[str] = []
    erased = list(effects.erases)
    values: list[Argument] = []
    for counter, value in move.counters.items():
        if value:
            sets += (f"k.{counter}", str(value))
        else:
            erased.append(f"k.{counter}")
    if move.priority is not UNCHANGED:
        _put("p", str(move.priority) if move.priority else None, sets, erased)
    if move.unique is not UNCHANGED:
        _put("u", move.unique, sets, erased)
    if move.tags is not UNCHANGED:
        _put("g", tags_text(move.tags) or None, sets, erased)
    if isinstance(move.error, str):
        values.append(move.error)
    elif move.error is None:
        erased.append("E")
    if isinstance(move.cancel, str):
        values.append(move.cancel)
    elif move.cancel is None:
        erased.append("x")
    return sets, erased, values


def _put(field: str, value: str | None, sets: list[str], erased: list[str]) -> None:
    if value is None:
        erased.append(field)
    else:
        sets += (field, value)


def where_arguments(where: Where | None) -> list[Argument]:
    """Return what the heads of a listing must say, as list.lua takes it.

    Args:
        where: What they must say.

    Returns:
        Nothing if all heads are meant.
    """
    if where is None:
        return []
    texts = ["" if one is None else f"={one}" for one in (where.task, where.worker, where.error)]
    return [*texts, *_ends(where.created), *_ends(where.started), *_ends(where.ended)]


def _ends(span: Span | None) -> tuple[str, str]:
    """Return the ends of a span; those between two milliseconds are as good as the next one."""
    if span is None:
        return "", ""
    since = -FOREVER if span.since is None else to_ms_up(span.since)
    return str(since), str(FOREVER if span.until is None else to_ms_up(span.until))


def settings_arguments(changes: Mapping[str, Any], unset: Iterable[str]) -> list[Argument]:
    """Return changes of settings, as configure.lua takes them.

    Args:
        changes: New values by name.

        unset: Settings that get their default again.

    Returns:
        Times a name and its value as JSON, or nothing for the default.
    """
    return [part for name, value in _patch(changes, unset) for part in (name, value)]


def _patch(changes: Mapping[str, Any], unset: Iterable[str]) -> Iterable[tuple[str, Argument]]:
    for name in unset:
        if name not in changes:
            yield name, ""
    for name, value in changes.items():
        yield name, encode(value)
