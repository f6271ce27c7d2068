"""Rows of the tables as values, and values as rows."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import msgspec

from stanchion.contract.answers import Fault, Finding
from stanchion.model.queues import QueueSettings
from stanchion.model.records import Entry, Record
from stanchion.model.states import FINAL, State

Row = tuple[Any, ...]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_STATES: Final = {state.value: (state, state is State.RUNNING, state in FINAL) for state in State}
"""States by name, and whether jobs in them are held by a claim, and whether they have ended."""
_WRITTEN: Final = msgspec.msgpack.Decoder(tuple[dict[str, bytes], dict[str, tuple[Entry, ...]]])
_TAGS: Final = msgspec.json.Decoder(tuple[str, ...])
_SETTINGS: Final = msgspec.json.Decoder(QueueSettings)
_NOTHING: Final[tuple[Any, Any]] = ({}, {})


class Unreadable(Exception):
    """A row of the jobs that is no job: something else has written it."""


class Found(msgspec.Struct):
    """A job, and where it is stored."""

    rowid: int
    record: Record
    place: tuple[int, int]
    """Where it stands among those of its state: `major` and `minor`."""


def to_ms(instant: datetime) -> int:
    """Milliseconds since 1970; a part of one is cut off."""
    return (instant - _EPOCH) // _MILLISECOND


@lru_cache(4096)  # jobs that came together have their times in common
def from_ms(ms: int) -> datetime:
    """The instant of milliseconds since 1970."""
    return _EPOCH + timedelta(0, ms // 1000, ms % 1000 * 1000)


def _ms(instant: datetime | None) -> int | None:
    return None if instant is None else (instant - _EPOCH) // _MILLISECOND


def _instant(ms: int | None) -> datetime | None:
    return None if ms is None else from_ms(ms)


def as_json(value: Any) -> str:
    """A value as JSON text."""
    return msgspec.json.encode(value).decode()


def settings_of(text: str) -> QueueSettings:
    """A queue's settings; the usual ones if somebody damaged them."""
    try:
        return _SETTINGS.decode(text)
    except msgspec.DecodeError:
        return QueueSettings()


def _are_texts(one: Any, two: Any, three: Any, four: Any) -> bool:
    """Whether each is text or `None`; spelled out, since this is done for each job that is read."""
    return (
        (one is None or type(one) is str)
        and (two is None or type(two) is str)
        and (three is None or type(three) is str)
        and (four is None or type(four) is str)
    )


def found(queue: str, row: Row) -> Found:
    """A job of the queue of this name.

    Raises:
        Unreadable: It is none.
    """
    (
        rowid, _, key, task, state, claim, run, worker, revision, due_at, priority, place, unique, scope, tags,
        created_at, started_at, ended_at, spec, written, major, minor,
    ) = row  # fmt: skip  # in the order of the table's columns
    try:
        known, held, over = _STATES[state]
        if (claim is not None) is not held or (ended_at is not None) is not over:
            raise ValueError("it has not what belongs to its state, or more than that")
        if not (type(run) is type(revision) is type(priority) is type(place) is int and type(spec) is bytes):
            raise TypeError("a number or the spec is of another type")
        if not (type(task) is str and _are_texts(claim, worker, unique, scope)):
            raise TypeError("a text is something else, or no UTF-8")
        notes, lists = _WRITTEN.decode(written) if written is not None else _NOTHING
        record = Record(
            id=queue + ":" + key,
            task=task,
            state=known,
            claim=claim,
            run=run,
            worker=worker,
            revision=revision,
            due_at=_instant(due_at),
            priority=priority,
            place=place,
            unique=unique,
            scope=scope,
            tags=_TAGS.decode(tags) if tags is not None else (),
            created_at=from_ms(created_at),
            started_at=_instant(started_at),
            ended_at=_instant(ended_at),
            spec=spec,
            notes=notes,
            lists=lists,
        )
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise Unreadable(f"{queue}:{key}", str(error)) from error
    return Found(rowid, record, (major, minor))


def found_among(queue: str, rows: Iterable[Row]) -> tuple[list[Found], list[int]]:
    """The jobs among rows, and the ids of the rows that are none."""
    jobs, others = [], []
    for row in rows:
        try:
            jobs.append(found(queue, row))
        except Unreadable:
            others.append(row[0])
    return jobs, others


def unreadable(queue: str, rows: Iterable[Row]) -> Iterator[Finding]:
    """What is wrong with rows that are no jobs."""
    for row in rows:
        try:
            found(queue, row)
        except Unreadable as error:
            yield Finding(
                fault=Fault.UNREADABLE, where=error.args[0], detail=f"it cannot be read: {error.args[1]}"
            )


def new_row(queue: int, key: str, record: Record) -> Row:
    """A new job, as insert.sql takes it."""
    return (
        queue,
        key,
        record.task,
        record.state,
        _ms(record.due_at),
        record.priority,
        record.place,
        record.unique,
        record.scope,
        as_json(record.tags) if record.tags else None,
        to_ms(record.created_at),
        record.spec,
    )


def kept_row(job: Found) -> Row:
    """A changed job, as keep.sql takes it."""
    record = job.record
    return (
        record.state,
        record.claim,
        record.worker,
        record.revision,
        _ms(record.due_at),
        record.priority,
        record.place,
        record.unique,
        _ms(record.ended_at),
        msgspec.msgpack.encode((record.notes, record.lists)) if record.notes or record.lists else None,
        job.rowid,
    )
