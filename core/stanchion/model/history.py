"""What a job's lists hold: why runs failed, and what happened to it."""

from collections.abc import Mapping
from typing import Any

import msgspec


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
        """As JSON."""
        return msgspec.json.encode(self)


class Happening(msgspec.Struct, frozen=True, omit_defaults=True):
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
    """Why, where somebody said so."""

    def encode(self) -> bytes:
        """As JSON."""
        return msgspec.json.encode(self)


def decode_list(record_lists: Mapping[str, Any], name: str, kind: type[Any]) -> list[Any]:
    """The readable entries of one of a record's lists, oldest first, without their times."""
    found = []
    for entry in record_lists.get(name, ()):
        try:
            found.append(msgspec.json.decode(entry.data, type=kind))
        except (msgspec.DecodeError, ValueError):
            continue  # written by a version that knew more; what can be read still helps
    return found
