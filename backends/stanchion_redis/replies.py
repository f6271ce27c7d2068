"""Replies of scripts as values."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

import msgspec
from msgspec.structs import fields

from stanchion.contract.answers import Counts, Fault, Finding
from stanchion.model.ledger import Snapshot, Tally
from stanchion.model.policies import Until
from stanchion.model.queues import DEFAULTS, QueueSettings
from stanchion.model.records import Cancel, Entry, Head, Record
from stanchion.model.states import State
from stanchion_redis.wire import ARGUMENTS, BAND, FOREVER, POLICY, from_ms, joined

Fields = Mapping[bytes, bytes]
"""The fields of a job's hashes, together."""

_DIGITS: Final = 17
"""No number of ours has as many digits; see `is_number` in scripts/shared/values.lua."""

_DAMAGED: Final = 1 << 30
"""Stands for a counter that cannot be read: whatever happens next is the job's end."""

_UNTIL: Final[Mapping[bytes | None, Until | None]] = {b"start": "start", b"end": "end"}
_STATES: Final = {state.value.encode(): state for state in State}


def head(job_id: str, flat: Sequence[bytes], score: bytes) -> Head:
    """Return the head of a job.

    Args:
        job_id: Its id.

        flat: The fields of its hash, each followed by its value.

        score: Its score in the index of its state.

    Returns:
        The head.
    """
    found = _paired(flat)
    return Head(id=job_id, **_head_of(found, float(score)))


def record(job_id: str, flat: Sequence[bytes], score: bytes) -> Record:
    """Return a job.

    Args:
        job_id: Its id.

        flat: The fields of its hashes, each followed by its value; its arguments among them.

        score: Its score in the index of its state.

    Returns:
        The record.
    """
    found = _paired(flat)
    head_fields = _head_of(found, float(score))
    return Record(
        id=job_id,
        args=joined(found, found[b"A"], _MORE_ARGUMENTS),
        notes=_notes(found),
        lists=_lists(found),
        **head_fields,
    )


def claimed(
    job_id: str, reply: Sequence[Any], claim: str, worker: str, instants: Mapping[Any, datetime | None]
) -> Record:
    """Return a job that was claimed, without its lists.

    Args:
        job_id: Its id.
        reply: What claim.lua says of it.
        claim: The id of the claim.
        worker: The worker.
        instants: The instants of milliseconds; a batch has only a few.

    Returns:
        The record.
    """
    run, place, started_ms, ends_ms = reply[2:6]
    get = (found := _paired(reply[6])).get
    further = not (found.keys() <= _SINGLE)  # the head's own fields are single letters
    return Record(
        id=job_id,
        task=found[b"t"].decode("utf-8", "replace"),
        state=State.RUNNING,
        created_at=from_ms(found[b"a"]),
        queued_at=_instant(get(b"q")),
        started_at=instants[started_ms],
        due_at=instants[ends_ms],
        priority=int(get(b"p", 0)),
        place=place,
        claim=claim,
        worker=worker,
        run=run,
        revision=int(get(b"v", 0)),
        unique=_text(get(b"u")),
        scope=_UNTIL.get(get(b"e")),
        tags=_tags(get(b"g")),
        counters=_counters(found) if further else _NONE,
        cancel=_cancel(get(b"x")),
        error=_text(get(b"E")),
        policy=joined(found, get(b"P", b""), _MORE_POLICY),
        args=joined(found, found[b"A"], _MORE_ARGUMENTS),
        notes=_notes(found) if further else _NONE,
    )


_NONE: Final[Mapping[Any, Any]] = {}
_SINGLE: Final = frozenset(bytes([letter]) for letter in range(256))


def history(flat: Sequence[bytes], name: str) -> tuple[Entry, ...]:
    """Return the entries of the one list among the fields of a refusal.

    Args:
        flat: The fields, each followed by its value.

        name: The list.

    Returns:
        Its entries, oldest first.
    """
    return _lists(_paired(flat)).get(name, ())


def _paired(flat: Sequence[bytes]) -> Fields:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _head_of(found: Fields, score: float) -> dict[str, Any]:
    get, state = found.get, _STATES[found[b"s"]]
    queued = state is State.QUEUED
    return {
        "task": found[b"t"].decode("utf-8", "replace"),
        "state": state,
        "created_at": from_ms(found[b"a"]),
        "queued_at": _instant(get(b"q")),
        "started_at": _instant(get(b"b")),
        "ended_at": _instant(get(b"z")),
        "due_at": None if queued else due_of(score),
        "priority": int(get(b"p", 0)),
        "place": int(score) % BAND if queued and abs(score) < FOREVER else int(get(b"o", 0)),
        "claim": _text(get(b"c")),
        "worker": _text(get(b"w")),
        "run": int(get(b"r", 0)),
        "revision": int(get(b"v", 0)),
        "unique": _text(get(b"u")),
        "scope": _UNTIL.get(get(b"e")),
        "tags": _tags(get(b"g")),
        "counters": _counters(found),
        "cancel": _cancel(get(b"x")),
        "error": _text(get(b"E")),
        "policy": joined(found, get(b"P", b""), _MORE_POLICY),
    }


_MORE_ARGUMENTS: Final = tuple(name.encode() for name in ARGUMENTS[1:])
_MORE_POLICY: Final = tuple(name.encode() for name in POLICY[1:])


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "replace")


def due_of(score: float) -> datetime | None:
    """Return a deadline from a score.

    Args:
        score: The score of a waiting, running or final job.

    Returns:
        The deadline; `None` where there is none.
    """
    return None if score >= FOREVER else from_ms(score)


def _instant(value: bytes | None) -> datetime | None:
    return None if value is None else from_ms(value)


def _tags(value: bytes | None) -> tuple[str, ...]:
    return () if value is None else tuple(value.decode("utf-8", "replace").split("\n"))


def _counters(found: Fields) -> Mapping[str, int]:
    return {
        name[2:].decode("utf-8", "replace"): int(value) if _is_number(value) else _DAMAGED
        for name, value in found.items()
        if name.startswith(b"k.")
    }


def _is_number(value: bytes) -> bool:
    return value.isdigit() and len(value) < _DIGITS


def _cancel(value: bytes | None) -> Cancel | None:
    if value is None:
        return None
    at, _, reason = value.partition(b":")
    return Cancel(reason=reason.decode("utf-8", "replace"), at=from_ms(at))


def _notes(found: Fields) -> Mapping[str, bytes]:
    notes = ((name, value) for name, value in found.items() if name.startswith(b"n."))
    return {name[2:].decode("utf-8", "replace"): value for name, value in notes}


def _lists(found: Fields) -> dict[str, tuple[Entry, ...]]:
    numbered: dict[str, list[tuple[int, Entry]]] = {}
    for name in (name for name in found if name.startswith(b"l.") and name.count(b".") == 2):
        _, of, number = name.decode("utf-8", "replace").split(".")
        at, _, data = found[name].partition(b":")
        if number.isascii() and number.isdecimal() and len(number) < _DIGITS:
            numbered.setdefault(of, []).append((int(number), Entry(at=from_ms(at), data=data)))
    return {
        of: tuple(entry for _, entry in sorted(entries, key=lambda one: one[0]))
        for of, entries in numbered.items()
    }


SETTINGS: Final = tuple(one.name for one in fields(QueueSettings))
"""The names of the settings that this version knows."""

_KINDS: Final[Mapping[str, Any]] = {one.name: one.type for one in fields(QueueSettings)}


def settings(values: Iterable[bytes]) -> QueueSettings:
    """Return settings.

    Args:
        values: Their values as JSON, in the order of `SETTINGS`; empty for the default.

    Returns:
        The settings; one that cannot be read has its default.
    """
    found = zip(SETTINGS, values, strict=False)
    return QueueSettings(**{name: _setting(name, value) for name, value in found})


def _setting(name: str, value: bytes) -> Any:
    try:
        return msgspec.json.decode(value, type=_KINDS[name]) if value else getattr(DEFAULTS, name)
    except (msgspec.MsgspecError, ValueError):
        return getattr(DEFAULTS, name)


_MS: Final = ".ms"
"""Behind a row's name: the field for how long its jobs had been in the state that they left."""


def totals(flat: Sequence[bytes]) -> dict[str, Tally]:
    """Return what a ledger counted.

    Args:
        flat: Its fields, each followed by its number.

    Returns:
        The tallies by row; a number that is damaged counts as zero.
    """
    found = {name.decode("utf-8", "replace"): _count(value) for name, value in _paired(flat).items()}
    return {
        name: Tally(jobs, found.get(name + _MS, 0)) for name, jobs in found.items() if not name.endswith(_MS)
    }


def _count(value: bytes) -> int:
    return int(value) if _is_number(value) else 0


@lru_cache(4096)
def _snapshot(text: bytes) -> Snapshot | None:
    minute, *rows = text.split(b" ")
    if not _is_number(minute):
        return None
    return Snapshot(int(minute), totals([part for row in rows for part in row.partition(b"=")[::2]]))


def snapshots(texts: Iterable[bytes]) -> list[Snapshot]:
    """Return snapshots.

    Args:
        texts: As they are stored, in any order, some more than once.

    Returns:
        Those that can be read, oldest first, each once.
    """
    found = {one.minute: one for text in texts if (one := _snapshot(text)) is not None}
    return [found[minute] for minute in sorted(found)]


def counts(numbers: Sequence[int]) -> Counts:
    """Return how many jobs are in each state.

    Args:
        numbers: The counts, in the order of the states.

    Returns:
        The counts by state.
    """
    return dict(zip(State, numbers, strict=False))


def findings(queue: str, flat: Sequence[bytes]) -> list[Finding]:
    """Return what check.lua found.

    Args:
        queue: The queue.

        flat: Times a fault, a place and words.

    Returns:
        The findings.
    """
    texts = [one.decode("utf-8", "replace") for one in flat]
    return [
        Finding(fault=Fault(fault), where=f"{queue}:{where}", detail=detail)
        for fault, where, detail in zip(texts[::3], texts[1::3], texts[2::3], strict=True)
    ]
