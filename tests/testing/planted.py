"""Planted bugs: memory backends each broken in one way, most of them as real queues once were.

Each is caught by the claim named beside it, and by others. Their `check` finds nothing, as it may in a backend
that is new, so that the claims have to see each bug through the contract.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, ClassVar, Final, TypeVar

from msgspec.structs import replace

from stanchion.contract.answers import CheckPage, Claimed
from stanchion.model.changes import Applied, Change, Refused
from stanchion.model.ids import split_id
from stanchion.model.records import Record
from stanchion_memory import MemoryBackend
from stanchion_memory.store import Shelf

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


class Unbroken(MemoryBackend):
    """Keeps the contract, and has places where a bug can be planted."""

    claim_that_catches: ClassVar[str] = ""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.seen: dict[str, Any] = {}
        """What a broken one remembers."""

    def hurt(self, job_id: str) -> bool:
        """Damage a record, if that can be done."""
        return False

    def asked(self, found: Record, change: Change) -> Change:
        """What is made of a change before it is looked at."""
        return change

    def kept(self, found: Record, change: Change, after: Record) -> Record:
        """What is kept of a job after an accepted change."""
        return after

    def started(self, found: Record, after: Record) -> Record:
        """What is kept of a job after a claim."""
        return after

    def job(self, job_id: str) -> Record | None:
        """A job as it is."""
        return self.shelf(job_id).records.get(job_id)

    def shelf(self, job_id: str) -> Shelf:
        """The shelf of a job's queue."""
        return self._shelves.get(split_id(job_id)[0]) or Shelf()

    def put(self, record: Record) -> None:
        """Keep a job as it is given."""
        self.shelf(record.id).put(record)

    def _apply(self, change: Change, now: datetime) -> Applied | Refused:
        found = self.job(change.job_id)
        if found is None:
            return super()._apply(change, now)
        answer = super()._apply(self.asked(found, change), now)
        after = self.job(change.job_id)
        if isinstance(answer, Refused) or after is None:
            return answer
        self.put(kept := self.kept(found, change, after))
        return Applied(now, kept.revision)

    def claim(self, queues: Sequence[str], *, claim_id: str, **request: Any) -> Claimed:
        with self._open():
            before = {
                job_id: one for shelf in self._shelves.values() for job_id, one in shelf.records.items()
            }
            answer = super().claim(queues, claim_id=claim_id, **request)
            for after in answer.records:
                if before[after.id].claim != claim_id:
                    self.put(self.started(before[after.id], after))
            return replace(answer, records=[self.shelf(one.id).records[one.id] for one in answer.records])

    def shelves_of(self, queues: Sequence[str]) -> list[Shelf]:
        """The shelves of those queues that exist."""
        return [self._shelves[queue] for queue in queues if queue in self._shelves]

    def check(self, queue: str, cursor: str | None = None) -> CheckPage:
        return CheckPage(findings=[], cursor=None)
