"""What goes over the wire: values as arguments of scripts, and replies as values."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import msgspec

from stanchion.contract.backend import topic_of
from stanchion.model.changes import KEEP, NOW, Change, Keep, Place
from stanchion.model.policies import Until
from stanchion.model.records import Entry, Item, Record
from stanchion.model.states import State

Argument = str | bytes
"""What goes over the wire as it is."""

FOREVER: Final = 1 << 52
"""Added to scores that are no clock; see scripts/shared.lua."""

BAND: Final = 1 << 44
"""Places in each priority; see scripts/shared.lua."""

_DIGITS: Final = 17
"""No number of ours has as many digits; see `is_number` in scripts/shared.lua."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_UNTIL: Final[Mapping[bytes | None, Until | None]] = {b"start": "start", b"end": "end"}
_NAMES: Final = {state: state.value for state in State}
_STATES: Final = {state.value.encode(): state for state in State}


def to_ms(instant: datetime) -> int:
    """Milliseconds since 1970; a part of one is cut off."""
    return (instant - _EPOCH) // _MILLISECOND


@lru_cache(4096)  # jobs that came together have their times in common
def from_ms(ms: bytes | str | float) -> datetime:
    """The instant of milliseconds since 1970; a damaged number is the end of time, which harms nothing."""
    try:
        return datetime.fromtimestamp(float(ms) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.max.replace(tzinfo=UTC)


def span_ms(span: timedelta) -> int:
    """A duration in milliseconds; a part of one is cut off."""
    return span // _MILLISECOND


def _clock(clock: Keep | timedelta | datetime | None) -> str:
    if clock is KEEP:
        return "k"
    if clock is None:
        return "n"
    return f"+{span_ms(clock)}" if isinstance(clock, timedelta) else f"={to_ms(clock)}"


def item_arguments(number: int, key: str, item: Item) -> list[Argument]:
    """A job to insert, as insert.lua takes it."""
    fields: list[Argument] = ["t", item.task, "S", item.spec]
    priority = str(item.priority)
    if item.priority:
        fields += ("p", priority)
    if item.unique is not None:
        fields += ("u", item.unique, "e", item.scope or "end")
    if item.tags:
        fields += ("g", msgspec.json.encode(item.tags))
    clock = "" if item.clock is None else _clock(item.clock)
    head: list[Argument] = [str(number), key, _NAMES[item.state], clock, priority, item.unique or ""]
    return [*head, str(len(fields) // 2), *fields]


Plan = tuple[Argument, ...]
"""What many changes have in common, as apply.lua takes it."""


def planned(change: Change) -> tuple[Plan, list[Argument]]:
    """A change, as apply.lua takes it: its plan, and the values of its own."""
    move, head, topic = change.move, change.move.head, topic_of(change)
    unique = head.get("unique", "")
    sets: list[str] = []
    stamps: list[str] = []
    erased: list[str] = []
    values: list[Argument] = []
    for name, value in move.notes.items():
        if value is None:
            erased.append(name)
        elif value is NOW:
            stamps.append(name)
        else:
            sets.append(name)
            values.append(value)
    values += move.append.values()
    plan = (
        _NAMES[change.state],
        "1" if change.if_due else "",
        _NAMES[move.to] if move.to else "",
        _clock(move.clock),
        "t" if head.get("place") is Place.TAIL else "",
        str(head.get("priority", "")),
        "-" if unique is None else unique,
        topic.value if topic else "",
        *(str(len(sets)), *sets),
        *(str(len(stamps)), *stamps),
        *(str(len(erased)), *erased),
        *(str(len(move.append)), *move.append),
    )
    return plan, values


def record(job_id: str, flat: Sequence[bytes], score: bytes) -> Record:
    """A job from the reply of HGETALL and its score."""
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    return _record(job_id, fields, _STATES[fields[b"s"]], float(score))


def claimed(
    job_id: str, reply: Sequence[Any], claim: str, worker: str, started: Mapping[Any, datetime]
) -> Record:
    """A job from the reply of claim.lua; instants are shared, since a batch has only a few."""
    flat = reply[6]
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    fields[b"r"] = reply[2]
    get = fields.get
    return Record(
        id=job_id,
        task=fields[b"t"].decode("utf-8", "replace"),
        state=State.RUNNING,
        claim=claim,
        run=int(reply[2]),
        worker=worker,
        revision=int(get(b"v", 0)),
        due_at=started[reply[5]],
        priority=int(get(b"p", 0)),
        place=int(reply[3]),
        unique=None if get(b"e") == b"start" else _text(get(b"u")),
        scope=_UNTIL.get(get(b"e")),
        tags=_tags(get(b"g")),
        created_at=from_ms(fields[b"a"]),
        started_at=started[reply[4]],
        spec=fields[b"S"],
        **_notes_and_lists(fields),
    )


def _record(job_id: str, fields: Mapping[bytes, bytes], state: State, score: float) -> Record:
    get = fields.get
    queued = state is State.QUEUED
    return Record(
        id=job_id,
        task=fields[b"t"].decode("utf-8", "replace"),
        state=state,
        claim=_text(get(b"c")),
        run=int(get(b"r", 0)),
        worker=_text(get(b"w")),
        revision=int(get(b"v", 0)),
        due_at=None if queued or score >= FOREVER else from_ms(score),
        priority=int(get(b"p", 0)),
        place=int(score) % BAND if queued and abs(score) < FOREVER else int(get(b"o", 0)),
        unique=_text(get(b"u")),
        scope=_UNTIL.get(get(b"e")),
        tags=_tags(get(b"g")),
        created_at=from_ms(fields[b"a"]),
        started_at=_instant(get(b"b")),
        ended_at=_instant(get(b"z")),
        spec=fields[b"S"],
        **_notes_and_lists(fields),
    )


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "replace")


def _instant(value: bytes | None) -> datetime | None:
    return None if value is None else from_ms(value)


def _tags(value: bytes | None) -> tuple[str, ...]:
    if value is None:
        return ()
    try:
        return msgspec.json.decode(value, type=tuple[str, ...])
    except (msgspec.MsgspecError, ValueError):
        return ()


def _notes_and_lists(fields: Mapping[bytes, bytes]) -> dict[str, Any]:
    further = [name for name in fields if len(name) > 1]  # the head's fields are single letters
    if not further:
        return _NOTHING_FURTHER
    notes = {name[2:].decode("utf-8", "replace"): fields[name] for name in further if name.startswith(b"n.")}
    named = [name for name in further if name.startswith(b"l.") and name.count(b".") == 2]
    return {"notes": notes, "lists": _lists(fields, named)}


_NOTHING_FURTHER: Final[dict[str, Any]] = {"notes": {}, "lists": {}}


def _lists(fields: Mapping[bytes, bytes], named: Iterable[bytes]) -> dict[str, tuple[Entry, ...]]:
    numbered: dict[str, list[tuple[int, Entry]]] = {}
    for name in named:
        _, of, number = name.decode("utf-8", "replace").split(".")
        at, _, data = fields[name].partition(b":")
        if number.isascii() and number.isdecimal() and len(number) < _DIGITS:
            numbered.setdefault(of, []).append((int(number), Entry(at=from_ms(at), data=data)))
    return {
        of: tuple(entry for _, entry in sorted(found, key=lambda one: one[0]))
        for of, found in numbered.items()
    }
