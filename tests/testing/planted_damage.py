"""Planted bugs in what is made of records that cannot be read: memory backends that can be damaged."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from stanchion.contract.answers import CheckPage, Claimed, Due, Fault, Finding, Inserted
from stanchion.errors import BackendError
from stanchion.model.records import Item, Record
from testing.planted import Unbroken, planted


class Damageable(Unbroken):
    """Keeps the contract, also for records that a test has damaged: they are out of every index."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.damaged: dict[str, Record] = {}

    def hurt(self, job_id: str) -> bool:
        """Damage a record."""
        record = self.job(job_id)
        assert record is not None
        self.shelf(job_id).remove(job_id)
        self.damaged[job_id] = record
        return True

    def _insert(self, item: Item, now: datetime) -> Inserted:
        uniques = {record.unique for record in self.damaged.values() if record.unique}
        if item.id in self.damaged or item.unique in uniques:
            raise BackendError(f"{item.id} is held by a record that cannot be read")
        return super()._insert(item, now)

    def quarantined(self, queues: Sequence[str]) -> Mapping[str, int]:
        """See `stanchion.contract.backend.Quarantines`."""
        return {queue: sum(one.queue == queue for one in self.damaged.values()) for queue in queues}

    def check(self, queue: str, cursor: str | None = None) -> CheckPage:
        where = [one.id for one in self.damaged.values() if one.queue == queue]
        found = [Finding(fault=Fault.UNREADABLE, where=one, detail="it is damaged") for one in where]
        return CheckPage(findings=found, cursor=None)


@planted("test_a_damaged_record_stops_no_claim_of_others")
class StopsAtTheFirstDamagedRecord(Damageable):
    """A claim ends at a record that it cannot read."""

    def claim(self, queues: Sequence[str], **request: Any) -> Claimed:
        answer = super().claim(queues, **request)
        return replace(answer, records=answer.records[:1]) if self.damaged else answer


@planted("test_a_damaged_record_stops_no_sweep_of_others")
class SweepsNothingBesideADamagedRecord(Damageable):
    """One record that cannot be read ends every sweep of its queue."""

    def due(self, queues: Sequence[str], limit: int) -> Due:
        answer = super().due(queues, limit)
        return replace(answer, records=[]) if self.damaged else answer


@planted("test_a_damaged_record_is_found_by_check")
class ForgetsWhatItCouldNotRead(Damageable):
    """Nobody hears of a record that was lost."""

    def check(self, queue: str, cursor: str | None = None) -> CheckPage:
        return CheckPage(findings=[], cursor=None)


@planted("test_a_damaged_record_is_counted_once_it_is_quarantined")
class CountsNoQuarantine(Damageable):
    """What could not be read is not counted."""

    def quarantined(self, queues: Sequence[str]) -> Mapping[str, int]:
        """See `stanchion.contract.backend.Quarantines`."""
        return dict.fromkeys(queues, 0)


@planted("test_an_insert_that_says_it_made_a_job_has_made_it")
class SaysThatItMadeWhatIsDamaged(Damageable):
    """An insert under the id of a record that cannot be read answers as if it had made a job."""

    def _insert(self, item: Item, now: datetime) -> Inserted:
        if item.id in self.damaged:
            return Inserted(True, None)
        return super()._insert(item, now)


@planted("test_a_damaged_record_is_no_job")
class ShowsWhatItCouldNotRead(Damageable):
    """A record that cannot be read is answered all the same."""

    def get(self, ids: Sequence[str]) -> Sequence[Record | None]:
        return [
            found or self.damaged.get(job_id) for job_id, found in zip(ids, super().get(ids), strict=True)
        ]
