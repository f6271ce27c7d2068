"""Planted bugs: memory backends each broken in one way, most of them as real queues once were.

Each is caught by the claim named beside it, and by others. Their `check` finds nothing, as it may in a backend
that is new, so that the claims have to see each bug through the contract.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, ClassVar, Final, TypeVar

from msgspec.structs import replace

from stanchion.contract.answers import CheckPage, Claimed
from stanchion.contract.requests import Check, Claim
from stanchion.model.accounts import Account
from stanchion.model.changes import Applied, Change, Refused
from stanchion.model.effects import promote_record, spent
from stanchion.model.ids import split_id
from stanchion.model.ledger import NAMES
from stanchion.model.records import Head, Record
from stanchion.model.states import Event, State
from stanchion_memory import MemoryBackend
from stanchion_memory.store import Shelf
from stanchion_memory.watching import Notices

V = TypeVar("V", bound="type[Unbroken]")

PLANTED: Final[dict[str, "type[Unbroken]"]] = {}
"""The broken backends, by name; the first line of each one's docstring says its bug."""


def planted(claim: str) -> Callable[[V], V]:
    """Plant a bug that this claim must catch."""

    def plant(variant: V) -> V:
        variant.claim_that_catches = claim
        PLANTED[variant.__name__] = variant
        return variant

    return plant


class Entering(Account):
    """Enters each move by way of its shelf, where a bug can be planted."""

    shelf: "LenientShelf | None" = None

    def enter(self, found: Head | None, event: Event, after: Head | None, now: datetime) -> None:
        assert self.shelf is not None
        to = after and after.state
        ms = 0 if found is None else spent(found, to, now)
        self.shelf.count_move(found and found.state, event, to, now, ms)


class LenientShelf(Shelf):
    """A queue that does not mind what is no row of the table: a broken backend comes to more than its ledger knows."""

    def __init__(self) -> None:
        super().__init__()
        self.account = Entering(shelf=self)

    def count_move(
        self, state: State | None, event: Event, to: State | None, now: datetime, ms: int = 0
    ) -> None:
        """Count a move, if it is a row of the table."""
        if (state, event, to) in NAMES:
            self.account.snapshots.keep(self.account.ledger.count(state, event, to, now, ms=ms))


class Unbroken(MemoryBackend):
    """Keeps the contract, and has places where a bug can be planted."""

    claim_that_catches: ClassVar[str] = ""

    SHELF: ClassVar[type[LenientShelf]] = LenientShelf
    """How a queue is kept."""

    NOTICES: ClassVar[type[Notices]] = Notices
    """How those who wait are notified."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._shelves: Shelves = Shelves(self.SHELF)
        self._notices = self.NOTICES(self._lock)
        self.seen: dict[str, Any] = {}
        """What a broken one remembers."""

    def hurt(self, job_id: str) -> bool:
        """Damage a record, if that can be done."""
        return False

    def mend(self, job_id: str) -> bool:
        """Repair a damaged record, if that can be done."""
        return False

    def asked(self, found: Record, change: Change) -> Change:
        """Return what is made of a change before it is looked at."""
        return change

    def kept(self, found: Record, change: Change, after: Record) -> Record:
        """Return what is kept of a job after an accepted change."""
        return after

    def started(self, found: Record, after: Record) -> Record:
        """Return what is kept of a job after a claim."""
        return after

    def job(self, job_id: str) -> Record | None:
        """Return a job as it is."""
        return self.shelf(job_id).records.get(job_id)

    def shelf(self, job_id: str) -> LenientShelf:
        """Return the shelf of a job's queue."""
        return self._shelves.get(split_id(job_id)[0]) or self.SHELF()

    def put(self, record: Record) -> None:
        """Keep a job as it is given; nothing is counted."""
        self.drop(record.id)
        self.shelf(record.id)._put(record)

    def drop(self, job_id: str) -> None:
        """Remove a job if it is there; nothing is counted."""
        found = self.job(job_id)
        if found is not None:
            self.shelf(job_id)._remove(found)

    def promote(self, shelf: Shelf, due: Iterable[Record], now: datetime) -> None:
        """Promote jobs in the order given."""
        for found in due:
            shelf.change(found, Event.PROMOTE, promote_record(found, now=now, tail=shelf.tail), now)

    def _apply(self, change: Change, now: datetime) -> Applied | Refused:
        found = self.job(change.job_id)
        if found is None:
            return super()._apply(change, now)
        answer = super()._apply(self.asked(found, change), now)
        after = self.job(change.job_id)
        if isinstance(answer, Refused) or after is None:
            return answer
        kept = self.kept(found, change, after)
        if kept is not after:
            self.put(kept)
        return Applied(now, kept.revision)

    def claim(self, request: Claim) -> Claimed:
        with self._open():
            before = {
                job_id: one for shelf in self._shelves.values() for job_id, one in shelf.records.items()
            }
            answer = super().claim(request)
            for after in answer.records:
                if before[after.id].claim != request.claim_id:
                    self.put(self.started(before[after.id], after))
            return replace(answer, records=[self.shelf(one.id).records[one.id] for one in answer.records])

    def shelves_of(self, queues: Sequence[str]) -> list[LenientShelf]:
        """Return the shelves of those queues that exist."""
        return [self._shelves[queue] for queue in queues if queue in self._shelves]

    def check(self, request: Check) -> CheckPage:
        return CheckPage(findings=[], cursor=None)


class Shelves(dict[str, LenientShelf]):
    """The queues of a store, all of one kind.

    Args:
        kind: How each is kept.
    """

    def __init__(self, kind: type[LenientShelf]) -> None:
        super().__init__()
        self._kind = kind

    def setdefault(self, name: str, default: Any = None) -> LenientShelf:
        """Return a queue's shelf, which is made if there is none, of the right kind."""
        return super().setdefault(name, self._kind())
