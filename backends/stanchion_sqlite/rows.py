"""Rows of the jobs' table as values, and values as rows."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import msgspec

from stanchion.contract.answers import Fault, Finding
from stanchion.model.records import Cancel, Entry, Head, Record
from stanchion.model.states import FINAL, State

Row = tuple[Any, ...]

HEAD: Final = (
    "id, queue, key, task, state, created_at, queued_at, started_at, ended_at, due_at, priority, place, claim, worker, "
    "run, revision, unique_key, scope, tags, counters, cancel_reason, cancel_at, error, policy"
)
"""The columns of a head, as statements select them and `head_of_row` reads them. Arguments, notes and lists follow."""

WIDTH: Final = HEAD.count(",") + 1
"""How many they are."""
_COLUMNS: Final = HEAD.split(", ")
KEY, STATE, UNIQUE = map(_COLUMNS.index, ("key", "state", "unique_key"))
"""Where these columns are in a row."""

_ARGS, _NOTES, _LISTS = WIDTH, WIDTH + 1, WIDTH + 2
"""Where the columns of a body are, if they were selected."""

QUARANTINED: Final = "unreadable"
"""The state of a row that is quarantined."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_STATES: Final = {state.value: (state, state is State.RUNNING, state in FINAL) for state in State}
"""States by name, and whether jobs in them are held by a claim, and whether they have ended."""
_NOTES_DECODER: Final = msgspec.msgpack.Decoder(dict[str, bytes])
_LISTS_DECODER: Final = msgspec.msgpack.Decoder(dict[str, tuple[Entry, ...]])
_TAGS: Final = msgspec.json.Decoder(tuple[str, ...])
_COUNTERS: Final = msgspec.json.Decoder(dict[str, int])
_json: Final = msgspec.json.Encoder().encode


class Unreadable(Exception):
    """A row of the jobs that is no job: another program has written it, or a version that knows more."""


class Found(msgspec.Struct):
    """A job, and where it is stored."""

    rowid: int
    head: Any
    """A `Head`, or a `Record` if the body was read as well."""
    stored: Any
    """The same as it is stored, until what was made of it is written."""


def to_ms(instant: datetime) -> int:
    """Convert an instant for the database.

    Returns:
        Whole milliseconds since 1970.
    """
    return (instant - _EPOCH) // _MILLISECOND


@lru_cache(4096)  # jobs that came together have their times in common
def from_ms(ms: int) -> datetime:
    """Convert milliseconds since 1970 to an instant.

    Returns:
        The instant, in UTC.
    """
    return _EPOCH + timedelta(0, ms // 1000, ms % 1000 * 1000)


def as_json(value: Any) -> str:
    """Encode a value as JSON.

    Returns:
        The text.
    """
    return _json(value).decode()


def found(queue: str, row: Row) -> Found:
    """Return the job that a row is.

    Args:
        queue: The name of its queue.

        row: The columns `HEAD`, and those of the body that were selected: none, arguments and notes, or all three.

    Returns:
        The job; with its body if that was selected. Arguments that were selected as NULL are left out.

    Raises:
        Unreadable: The row is no job.
    """
    width = len(row)
    try:
        fields = _fields(queue, row)
        if width > WIDTH:
            fields["args"] = _arguments(row[_ARGS])
            if (notes := row[_NOTES]) is not None:
                fields["notes"] = _NOTES_DECODER.decode(notes)
            if width > _LISTS and (lists := row[_LISTS]) is not None:
                fields["lists"] = _LISTS_DECODER.decode(lists)
        head = Head(**fields) if width == WIDTH else Record(**fields)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise Unreadable(f"{queue}:{row[KEY]}", str(error)) from error
    return Found(row[0], head, head)


def _arguments(args: Any) -> bytes:
    if type(args) is bytes:
        return args
    if args is None:
        return b""
    raise TypeError("the arguments are of another type")


def _fields(queue: str, row: Row) -> dict[str, Any]:
    """Return the fields of a head that have not their default."""
    (
        _, _, key, task, state, created_at, queued_at, started_at, ended_at, due_at, priority, place, claim, worker,
        run, revision, unique, scope, tags, counters, cancel_reason, cancel_at, error, policy, *_,
    ) = row  # fmt: skip  # in the order of `HEAD`
    known, held, over = _STATES[state]
    if (held and (claim is None or worker is None)) or (ended_at is not None) is not over:
        raise ValueError("it has not what belongs to its state, or more than that")
    if not (type(run) is type(revision) is type(priority) is type(place) is int and type(policy) is bytes):
        raise TypeError("a number or the policy is of another type")
    if not (type(task) is str and _are_texts(claim, worker, unique, scope, error)):
        raise TypeError("a text is something else, or no UTF-8")
    fields = {
        "id": queue + ":" + key,
        "task": task,
        "state": known,
        "created_at": from_ms(created_at),
        "priority": priority,
        "place": place,
        "claim": claim,
        "worker": worker,
        "run": run,
        "revision": revision,
        "unique": unique,
        "scope": scope,
        "error": error,
        "policy": policy,
    }
    if queued_at is not None:
        fields["queued_at"] = from_ms(queued_at)
    if started_at is not None:
        fields["started_at"] = from_ms(started_at)
    if ended_at is not None:
        fields["ended_at"] = from_ms(ended_at)
    if due_at is not None:
        fields["due_at"] = from_ms(due_at)
    if tags is not None:
        fields["tags"] = _TAGS.decode(tags)
    if counters is not None:
        fields["counters"] = _COUNTERS.decode(counters)
    if cancel_at is not None:
        fields["cancel"] = Cancel(reason=cancel_reason or "", at=from_ms(cancel_at))
    return fields


def _are_texts(*values: Any) -> bool:
    """Return whether each is text or `None`."""
    one, two, three, four, five = values  # spelled out, since this is done for each job that is read
    return (
        (one is None or type(one) is str)
        and (two is None or type(two) is str)
        and (three is None or type(three) is str)
        and (four is None or type(four) is str)
        and (five is None or type(five) is str)
    )


def found_among(queue: str, rows: Iterable[Row]) -> tuple[list[Found], list[Row]]:
    """Separate rows that are jobs from others.

    Args:
        queue: The name of their queue.

        rows: The rows, as `found` takes them.

    Returns:
        The jobs, and the rows that are not jobs.
    """
    jobs, others = [], []
    for row in rows:
        try:
            jobs.append(found(queue, row))
        except Unreadable:
            others.append(row)
    return jobs, others


def unreadable(queue: str, rows: Iterable[Row]) -> Iterator[Finding]:
    """Return what is wrong with rows that are no jobs.

    Args:
        queue: The name of their queue.

        rows: The rows, as `found` takes them.

    Returns:
        A finding for each.
    """
    for row in rows:
        try:
            found(queue, row)
        except Unreadable as error:
            where, why = error.args
            detail = "it is quarantined" if row[STATE] == QUARANTINED else f"it cannot be read: {why}"
            yield Finding(fault=Fault.UNREADABLE, where=where, detail=detail)
