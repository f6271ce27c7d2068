"""Accounts: a queue's ledger with its snapshots, for backends that hold them in this process."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from stanchion.model.effects import spent
from stanchion.model.ledger import Books, Ledger, Snapshots, balance
from stanchion.model.records import Head
from stanchion.model.states import Event, State


class Account(msgspec.Struct):
    """What a queue's ledger counts and counted."""

    ledger: Ledger = msgspec.field(default_factory=Ledger)
    snapshots: Snapshots = msgspec.field(default_factory=Snapshots)

    def enter(self, found: Head | None, event: Event, after: Head | None, now: datetime) -> None:
        """Count what an event made of a job.

        Args:
            found: The job before it; `None` if there was none.

            event: What happened.

            after: The job after it; `None` if there is none.

            now: The backend's time.
        """
        state = None if found is None else found.state
        to = None if after is None else after.state
        ms = 0 if found is None else spent(found, to, now)
        self.snapshots.keep(self.ledger.count(state, event, to, now, ms=ms))

    def quarantine(self, counts: Mapping[State, int], now: datetime) -> None:
        """Count the jobs that are missing as quarantined, for backends that notice that when they read their store.

        Args:
            counts: How many jobs can be read in each state.

            now: The backend's time.
        """
        for state, inside in balance(self.ledger.totals).items():
            if inside > counts[state]:
                missing = inside - counts[state]
                self.snapshots.keep(self.ledger.count(state, Event.QUARANTINE, None, now, jobs=missing))

    def read(self, since: datetime | None, now: datetime) -> Books:
        """Return what was counted.

        Args:
            since: With the snapshots since this instant; `None` for the totals alone.

            now: The backend's time.

        Returns:
            The books.
        """
        return Books(
            now=now,
            minute=self.ledger.minute,
            totals=dict(self.ledger.totals),
            snapshots=() if since is None else self.snapshots.read(since),
        )
