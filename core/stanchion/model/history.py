"""What a job's lists hold: why runs failed, and what happened to it."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from stanchion.errors.texts import clipped
from stanchion.model.records import Entry, Head
from stanchion.model.states import Event, State

LONGEST_LINE: Final = 200
"""Bytes of UTF-8 of an error that a head shows."""


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a run failed, as text; an exception is never rebuilt from it."""

    type: str
    """The exception's class, or a reason such as `lost` or `timed_out`."""

    message: str = ""
    """What it said."""

    traceback: str = ""
    """Where it was raised, and what led to it, as Python prints it."""

    run: int = 0
    """Which run it ended."""

    def encode(self) -> bytes:
        """Return it as JSON.

        Returns:
            What `decode_list` reads.
        """
        return msgspec.json.encode(self)

    @property
    def line(self) -> str:
        """Its type and message, in one short line."""
        words = " ".join(f"{self.type}: {self.message}".split() if self.message else self.type.split())
        return clipped(words, LONGEST_LINE)


class HistoryEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One entry of a job's history: a change that moved it, or asked to."""

    event: str
    """What happened."""

    to: str
    """The state it led to."""

    by: str
    """The claim that reported it, or an id of the call that asked for it."""

    run: int = 0
    """The run that had been started last."""

    started_ms: int | None = None
    """For the end of a run: when it started, in milliseconds since 1970."""

    reason: str = ""
    """Why, where a reason was given."""

    completed_by: str = ""
    """For a retry of a job that completed in its first run, which had no entry of its own: the claim of that run."""

    ended_ms: int | None = None
    """For such a retry: when that run ended, in milliseconds since 1970."""

    def encode(self) -> bytes:
        """Return it as JSON.

        Returns:
            What `decode_list` reads.
        """
        return msgspec.json.encode(self)


def decode_list(record_lists: Mapping[str, Any], name: str, kind: type[Any]) -> list[Any]:
    """Return the readable entries of one of a record's lists.

    Args:
        record_lists: The lists.

        name: Which list.

        kind: What its entries are.

    Returns:
        The entries, oldest first, without their times.
    """
    return [value for _, value in _decoded(record_lists.get(name, ()), kind)]


def _decoded(entries: Sequence[Entry], kind: type[Any]) -> Iterator[tuple[datetime, Any]]:
    for entry in entries:
        try:
            yield entry.at, msgspec.json.decode(entry.data, type=kind)
        except (msgspec.DecodeError, ValueError):
            continue  # written by a version that knew more; what can be read still helps


def history_of(head: Head, entries: Sequence[Entry]) -> list[tuple[datetime, HistoryEntry]]:
    """Return what happened to a job.

    A completion at the first start writes no entry, since the head says it all; it is read from there.

    Args:
        head: The job's head.

        entries: Its list `stanchion.model.changes.HISTORY`.

    Returns:
        The readable entries with their times, oldest first.
    """
    found: list[tuple[datetime, HistoryEntry]] = []
    for at, entry in _decoded(entries, HistoryEntry):
        if entry.ended_ms is None:
            found.append((at, entry))
        else:
            ended = datetime.fromtimestamp(entry.ended_ms / 1000, UTC)
            found.append((ended, _completion(entry.completed_by, entry.started_ms)))
            found.append((at, replace(entry, started_ms=None, ended_ms=None, completed_by="")))
    if completed_at_first(head) and head.ended_at is not None:
        started = None if head.started_at is None else round(head.started_at.timestamp() * 1000)
        found.append((head.ended_at, _completion(head.claim or "", started)))
    return found


def completed_at_first(head: Head) -> bool:
    """Return whether a job completed at its first start, which no history entry says.

    Args:
        head: The job's head.

    Returns:
        `True` if its head says so.
    """
    return head.state is State.COMPLETED and head.run == 1


def _completion(claim: str, started_ms: int | None) -> HistoryEntry:
    return HistoryEntry(event=Event.COMPLETE, to=State.COMPLETED, by=claim, run=1, started_ms=started_ms)


def was_made(head: Head, entries: Sequence[Entry], by: str, event: Event) -> datetime | None:
    """Return when a change was made that may be repeated.

    Args:
        head: The job's head, as a refusal shows it.

        entries: Its history, as a refusal shows it.

        by: The claim that reported the change, or the id of the call that asked for it.

        event: Its event.

    Returns:
        The instant; `None` if the job's history does not have it.
    """
    for at, entry in history_of(head, entries):
        if entry.by == by and entry.event == event:
            return at
    return None
