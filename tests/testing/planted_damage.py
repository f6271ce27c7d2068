"""Planted bugs in what is made of records that cannot be read: memory backends that can be damaged."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from stanchion.contract.answers import CheckPage, Claimed, Due, Fault, Finding, Inserted
from stanchion.contract.requests import Check, Claim, FindDue, Get
from stanchion.errors import BackendError
from stanchion.model.effects import spent
from stanchion.model.records import Item, Record
from stanchion.model.states import Event
from testing.planted import Unbroken, planted


class Damageable(Unbroken):
    """Keeps the contract, also for records that a test has damaged: they are out of every index."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.damaged: dict[str, Record] = {}
        self.mended: list[Record] = []

    def hurt(self, job_id: str) -> bool:
        """Damage a record."""
        record = self.job(job_id)
        assert record is not None
        self.set_aside(record)
        self.damaged[job_id] = record
        return True

    def set_aside(self, record: Record) -> None:
        """Quarantine a record."""
        shelf = self.shelf(record.id)
        shelf._remove(record)
        shelf.count_move(record.state, Event.QUARANTINE, None, self.now(), spent(record, None, self.now()))

    def mend(self, job_id: str) -> bool:
        """Repair a damaged record; the next sweep finds that."""
        self.mended.append(self.damaged.pop(job_id))
        return True

    def due(self, request: FindDue) -> Due:
        with self._open():
            while self.mended:
                self.restore(self.mended.pop())
            return super().due(request)

    def restore(self, record: Record) -> None:
        """Put a record back."""
        shelf = self.shelf(record.id)
        shelf._put(record)
        shelf.count_move(None, Event.RESTORE, record.state, self.now())

    def _insert(self, item: Item, now: datetime) -> Inserted:
        uniques = {record.unique for record in self.damaged.values() if record.unique}
        if item.id in self.damaged or item.unique in uniques:
            raise BackendError(f"{item.id} is held by a record that cannot be read")
        return super()._insert(item, now)

    def quarantined(self, queues: Sequence[str]) -> Mapping[str, int]:
        """See `stanchion.contract.capabilities.Quarantines`."""
        return {queue: sum(one.queue == queue for one in self.damaged.values()) for queue in queues}

    def check(self, request: Check) -> CheckPage:
        where = [one.id for one in self.damaged.values() if one.queue == request.queue]
        found = [Finding(fault=Fault.UNREADABLE, where=one, detail="it is damaged") for one in where]
        return CheckPage(findings=found, cursor=None)


@planted("test_a_damaged_record_stops_no_claim_of_others")
class StopsAtTheFirstDamagedRecord(Damageable):
    """A claim ends at a record that it cannot read."""

    def claim(self, request: Claim) -> Claimed:
        answer = super().claim(request)
        return replace(answer, records=answer.records[:1]) if self.damaged else answer


@planted("test_a_damaged_record_stops_no_sweep_of_others")
class SweepsNothingBesideADamagedRecord(Damageable):
    """One record that cannot be read ends every sweep of its queue."""

    def due(self, request: FindDue) -> Due:
        answer = super().due(request)
        return replace(answer, heads=[]) if self.damaged else answer


@planted("test_a_damaged_record_is_found_by_check")
class ForgetsWhatItCouldNotRead(Damageable):
    """A record that was lost is reported nowhere."""

    def check(self, request: Check) -> CheckPage:
        return CheckPage(findings=[], cursor=None)


@planted("test_a_damaged_record_is_counted_once_it_is_quarantined")
class CountsNoQuarantine(Damageable):
    """What could not be read is not counted."""

    def quarantined(self, queues: Sequence[str]) -> Mapping[str, int]:
        """See `stanchion.contract.capabilities.Quarantines`."""
        return dict.fromkeys(queues, 0)


@planted("test_an_insert_that_says_it_made_a_job_has_made_it")
class SaysThatItMadeWhatIsDamaged(Damageable):
    """An insert under the id of a record that cannot be read answers as if it had made a job."""

    def _insert(self, item: Item, now: datetime) -> Inserted:
        if item.id in self.damaged:
            return Inserted(True, None, now)
        return super()._insert(item, now)


@planted("test_a_damaged_record_is_no_job")
class ShowsWhatItCouldNotRead(Damageable):
    """A record that cannot be read is answered all the same."""

    def get(self, request: Get) -> Sequence[Record | None]:
        answers = zip(request.ids, super().get(request), strict=True)
        return [found or self.damaged.get(job_id) for job_id, found in answers]


@planted("test_what_is_quarantined_and_restored_is_counted")
class QuarantinesUncounted(Damageable):
    """What goes into quarantine is missing in the ledger, and the balance is never right again."""

    def set_aside(self, record: Record) -> None:
        """Quarantine a record."""
        self.drop(record.id)


@planted("test_what_is_quarantined_and_restored_is_counted")
class RestoresUncounted(Damageable):
    """What comes back from quarantine is in the queue, and not in its ledger."""

    def restore(self, record: Record) -> None:
        """Put a record back."""
        self.put(record)


@planted("test_what_is_quarantined_and_restored_is_found_by_its_tags")
class RestoresWithoutTags(Damageable):
    """What comes back from quarantine is not found by its tags any more."""

    def restore(self, record: Record) -> None:
        """Put a record back."""
        super().restore(replace(record, tags=()))


@planted("test_what_is_quarantined_is_counted")
class QuarantinesCountAsDeletions(Damageable):
    """What was lost by damage looks like what a caller deleted: the balance is right, and nobody notices."""

    def set_aside(self, record: Record) -> None:
        """Quarantine a record."""
        self.shelf(record.id).change(record, Event.DELETE, None, self.now())
