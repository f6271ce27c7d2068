"""Planted bugs in what distinguishes one job of an id from the next, and in the order of jobs that are due together."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec.structs import replace

from stanchion.contract.answers import Due
from stanchion.contract.requests import Apply, FindDue
from stanchion.model.changes import Applied, Change, Refusal, Refused
from stanchion.model.records import Record, head_of
from stanchion.model.states import WAITING
from stanchion_memory.store import Shelf
from testing.planted import Unbroken, planted


@planted("test_a_change_meant_for_another_life_finds_no_job")
class ForgetsWhichLifeIsMeant(Unbroken):
    """A change is made to whichever job has the id now."""

    def asked(self, found: Record, change: Change) -> Change:
        return replace(change, created_at=None)


@planted("test_a_repeated_call_leaves_the_next_life_alone")
class TakesTheLatestLifeForTheOneMeant(Unbroken):
    """A change that names an earlier job of an id reaches its successor; only a later one is refused."""

    def asked(self, found: Record, change: Change) -> Change:
        earlier = change.created_at is not None and change.created_at <= found.created_at
        return replace(change, created_at=found.created_at) if earlier else change


@planted("test_a_change_meant_for_another_life_finds_no_job")
class ShowsTheOtherLife(Unbroken):
    """A change meant for an earlier job is refused with its successor as the job found, to be decided on anew."""

    def _apply(self, change: Change, now: datetime) -> Applied | Refused:
        answer = super()._apply(change, now)
        if isinstance(answer, Refused) and answer.why is Refusal.ABSENT:
            found = self.job(change.job_id)
            return Refused(Refusal.ABSENT, None if found is None else head_of(found))
        return answer


@planted("test_a_change_meant_for_this_life_is_made")
class ComparesLivesToTheMinute(Unbroken):
    """The instant of creation is kept less exactly than it was answered."""

    def asked(self, found: Record, change: Change) -> Change:
        kept = found.created_at.replace(second=0, microsecond=0) + timedelta(milliseconds=1)
        return change if change.created_at is None else replace(change, created_at=kept)


@planted("test_one_call_may_name_different_lives")
class OneLifeForAllChangesOfACall(Unbroken):
    """The first change of a call says which life all of them mean."""

    def apply(self, request: Apply) -> Sequence[Applied | Refused]:
        first = request.changes[0].created_at
        return super().apply(Apply([replace(one, created_at=first) for one in request.changes]))


@planted("test_claim_promotes_jobs_of_one_instant_by_creation_then_id")
class PromotesTiesById(Unbroken):
    """Jobs that come due in the same instant are queued in the order of their ids."""

    def _promote(self, shelf: Shelf, now: datetime) -> None:
        due = [record for state in WAITING for record in shelf.due(state, now, self.limits.batch)]
        ordered = sorted(due, key=lambda one: (one.due_at, one.id))[: self.limits.batch]
        self.promote(shelf, ordered, now)


@planted("test_due_jobs_of_one_instant_go_by_creation_then_id")
class SweepsTiesById(Unbroken):
    """A sweep is handed the jobs of one instant in the order of their ids."""

    def due(self, request: FindDue) -> Due:
        found = super().due(request)
        order = list(dict.fromkeys(one.state for one in found.heads))
        ordered = sorted(found.heads, key=lambda one: (order.index(one.state), one.due_at, one.id))
        return replace(found, heads=ordered)


@planted("test_a_job_that_must_not_start_twice_does_not_although_its_enqueue_was_repeated")
class DropsWhatEndedAtOnce(Unbroken):
    """A final job that is kept for a short time only is not kept at all, and a repeated enqueue makes it anew."""

    def kept(self, found: Record, change: Change, after: Record) -> Record:
        return replace(after, due_at=after.ended_at) if _is_short(after) else after


def _is_short(record: Record) -> bool:
    if record.ended_at is None or record.due_at is None:
        return False
    return record.due_at - record.ended_at < timedelta(minutes=5)
