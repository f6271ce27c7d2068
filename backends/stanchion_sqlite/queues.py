"""Queues: their rows, and what a transaction makes of them."""

import sqlite3
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import msgspec

from stanchion.model.ledger import Ledger, Snapshot, Tally, Totals
from stanchion.model.queues import DEFAULTS, QueueSettings
from stanchion.model.records import Head
from stanchion.model.states import WAITING, Event, State
from stanchion.model.states import Row as Way
from stanchion_sqlite.rows import Row, as_json, from_ms
from stanchion_sqlite.statements import statement

_SETTINGS: Final = msgspec.json.Decoder(QueueSettings)
_RAW: Final = msgspec.json.Decoder(dict[str, Any])
_TOTALS: Final = msgspec.json.Decoder(dict[str, Tally])


class QueueRow(msgspec.Struct):
    """A queue, as a transaction knows it."""

    id: int
    name: str
    settings_text: str
    places: int
    """The last place that was given."""
    wakes: int
    """How often there came something to claim."""
    minute: int
    """Of the last counting of the ledger."""
    totals: str
    changed: bool = False
    woken: bool = False
    """Whether there came something to claim in this transaction."""
    first_due: datetime | None = None
    """The earliest deadline of the jobs that came to wait for a time in this transaction."""
    moves: dict[Way, list[int]] = {}
    """What this transaction counts: jobs and milliseconds by row of the state machine."""

    @property
    def settings(self) -> QueueSettings:
        """Its settings."""
        return settings_of(self.settings_text)

    def tail(self) -> int:
        """Return the next place.

        Returns:
            A number higher than any before in this queue.
        """
        self.places, self.changed = self.places + 1, True
        return self.places

    def wake(self) -> None:
        """Note that there may be something to claim."""
        self.wakes += 1
        self.changed = self.woken = True

    def arrived(self, head: Head) -> None:
        """Note that a job came to its state."""
        if head.state is State.QUEUED:
            self.wake()
        elif head.state in WAITING and head.due_at is not None:
            self.first_due = min(head.due_at, self.first_due or head.due_at)

    def count(
        self, state: State | None, event: Event, to: State | None, ms: int = 0, *, jobs: int = 1
    ) -> None:
        """Count jobs that take a row of the state machine; see `stanchion.model.ledger.Ledger.count`."""
        tally = self.moves.setdefault((state, event, to), [0, 0])
        tally[0] += jobs
        tally[1] += ms

    def close(self, now: datetime) -> Snapshot | None:
        """Enter what was counted into the ledger.

        Args:
            now: The instant of the transaction.

        Returns:
            A snapshot to be kept, if a new minute began.
        """
        if not self.moves:
            return None
        ledger, closed = Ledger(dict(totals_of(self.totals)), self.minute), None
        for (state, event, to), (jobs, ms) in self.moves.items():
            closed = ledger.count(state, event, to, now, jobs=jobs, ms=ms) or closed
        self.minute, self.totals = ledger.minute, as_json(ledger.totals)
        self.changed = True
        return closed


def queues_of(cursor: sqlite3.Cursor, namespace: str, names: Iterable[str]) -> dict[str, QueueRow]:
    """Return those of the queues of these names that exist.

    Returns:
        The queues by name, in this order.
    """
    rows = (cursor.execute(statement("queue"), (namespace, name)).fetchone() for name in names)
    return {row[1]: QueueRow(*row) for row in rows if row is not None}


def settings_of(text: Any) -> QueueSettings:
    """Read a queue's settings.

    Returns:
        The settings; the defaults if the text is damaged.
    """
    try:
        return _SETTINGS.decode(text)
    except (msgspec.DecodeError, TypeError):
        return DEFAULTS


def settings_text(before: Any, after: QueueSettings) -> str:
    """Return settings as they are stored.

    Args:
        before: What was stored until now; what only a newer version knows of it is kept.

        after: The settings.

    Returns:
        JSON.
    """
    try:
        known_to_others = _RAW.decode(before)
    except (msgspec.DecodeError, TypeError):
        known_to_others = {}
    return as_json({**known_to_others, **msgspec.to_builtins(after)})


def totals_of(text: Any) -> Totals:
    """Read what a ledger counted.

    Returns:
        The totals; nothing if the text is damaged, which `check` reports.
    """
    try:
        return _TOTALS.decode(text)
    except (msgspec.DecodeError, TypeError):
        return {}


def wakes_of(cursor: sqlite3.Cursor, namespace: str, names: Iterable[str]) -> list[Row]:
    """Return how often work came to each of the queues that exist.

    Returns:
        The number of each queue, and its count of wakes.
    """
    rows = (cursor.execute(statement("wakes"), (namespace, name)).fetchone() for name in names)
    return [row for row in rows if row is not None]


def next_due(cursor: sqlite3.Cursor, queue: QueueRow) -> datetime | None:
    """Return the first deadline of the jobs of a queue that wait for a time.

    Returns:
        The deadline; `None` if no job waits for a time.
    """
    (ms,) = cursor.execute(statement("next_due"), (queue.id, queue.id)).fetchone()
    return None if ms is None else from_ms(ms)
