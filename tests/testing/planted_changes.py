"""Planted bugs in what becomes of a job by a change."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from stanchion.contract.answers import Claimed
from stanchion.model.changes import LIST_LENGTH, NOW, Applied, Change, Place, Refusal, Refused, instant
from stanchion.model.ids import split_id
from stanchion.model.records import Record
from stanchion.model.states import FINAL, Event, State
from testing.planted import Unbroken, planted


@planted("test_a_change_whose_guard_does_not_hold_changes_nothing")
class DropsTheClaimGuard(Unbroken):
    """A worker that lost its job still writes to it."""

    def asked(self, found: Record, change: Change) -> Change:
        return replace(change, claim=change.claim and found.claim)


@planted("test_every_order_of_events_ends_as_the_model_says")
class ComparesWorkersNotClaims(Unbroken):
    """An earlier claim of the worker that holds a job counts as the one that holds it."""

    def claim(self, queues: Sequence[str], *, claim_id: str, worker: str, **request: Any) -> Claimed:
        self.seen[claim_id] = worker
        return super().claim(queues, claim_id=claim_id, worker=worker, **request)

    def asked(self, found: Record, change: Change) -> Change:
        same = found.worker is not None and self.seen.get(change.claim or "") == found.worker
        return replace(change, claim=found.claim) if same else change


@planted("test_a_job_found_in_another_state_is_never_changed")
class DropsTheStateGuard(Unbroken):
    """A change is made in whatever state the job is."""

    def asked(self, found: Record, change: Change) -> Change:
        return replace(change, state=found.state)


@planted("test_a_change_whose_guard_does_not_hold_changes_nothing")
class DropsTheRevisionGuard(Unbroken):
    """A change decided on a job as it was before somebody else changed it is made."""

    def asked(self, found: Record, change: Change) -> Change:
        return replace(change, revision=None)


@planted("test_a_sweep_does_not_take_a_job_whose_clock_was_moved")
class IgnoresIfDue(Unbroken):
    """A sweep that acts on what it saw a while ago loses a job whose worker has just beaten."""

    def asked(self, found: Record, change: Change) -> Change:
        return replace(change, if_due=False)


@planted("test_a_clock_has_run_out_at_its_instant")
class IsDueOneMillisecondLate(Unbroken):
    """A clock has run out only after its instant."""

    def _apply(self, change: Change, now: datetime) -> Applied | Refused:
        found = self.job(change.job_id)
        if found is not None and change.if_due and found.due_at == now and found.state is change.state:
            return Refused(Refusal.DUE, found)
        return super()._apply(change, now)


@planted("test_a_retry_takes_the_unique_key_again")
class TakesUniqueKeysFromTheirHolders(Unbroken):
    """A retry takes its unique key back, though another job holds it by now."""

    def _apply(self, change: Change, now: datetime) -> Applied | Refused:
        answer = super()._apply(change, now)
        if isinstance(answer, Applied) or answer.why is not Refusal.UNIQUE:
            return answer
        del self.shelf(change.job_id).holders[change.move.head["unique"]]
        return super()._apply(change, now)


@planted("test_apply_checks_the_guards_in_their_order")
class LooksAtTheStateBeforeTheClaim(Unbroken):
    """A worker whose job went on without it is told of the state, as if it still held the job."""

    def _apply(self, change: Change, now: datetime) -> Applied | Refused:
        found = self.job(change.job_id)
        if found is not None and found.state is not change.state:
            return Refused(Refusal.STATE, found)
        return super()._apply(change, now)


@planted("test_a_change_whose_guard_does_not_hold_changes_nothing")
class WritesTheNotesOfRefusedChanges(Unbroken):
    """Notes are written first, and the guards looked at then."""

    def _apply(self, change: Change, now: datetime) -> Applied | Refused:
        answer = super()._apply(change, now)
        if isinstance(answer, Refused) and answer.record is not None:
            written = {name: note for name, note in change.move.notes.items() if isinstance(note, bytes)}
            self.put(replace(answer.record, notes={**answer.record.notes, **written}))
        return answer


@planted("test_a_lapsed_lease_that_nobody_swept_can_be_extended")
class LapsedLeasesAreLost(Unbroken):
    """A beat that is late is refused, though nobody declared the job lost."""

    def _apply(self, change: Change, now: datetime) -> Applied | Refused:
        found = self.job(change.job_id)
        mine = found is not None and found.claim is not None and found.claim == change.claim
        if found is not None and mine and found.due_at is not None and found.due_at < now:
            return Refused(Refusal.CLAIM, found)
        return super()._apply(change, now)


@planted("test_one_refused_change_stops_no_other")
class StopsAtTheFirstRefusal(Unbroken):
    """The changes behind a refused one are not made."""

    def apply(self, changes: Sequence[Change]) -> Sequence[Applied | Refused]:
        answers: list[Applied | Refused] = []
        for change in changes:
            if answers and isinstance(answers[-1], Refused):
                answers.append(answers[-1])
            else:
                answers += super().apply([change])
        return answers


@planted("test_apply_answers_in_the_order_given")
class AnswersChangesQueueByQueue(Unbroken):
    """The answers of one call over several queues come in the order of the queues."""

    def apply(self, changes: Sequence[Change]) -> Sequence[Applied | Refused]:
        answers = super().apply(changes)
        order = sorted(range(len(changes)), key=lambda n: split_id(changes[n].job_id)[0])
        return [answers[n] for n in order]


@planted("test_only_changes_without_a_claim_count_the_revision")
class BeatsCountTheRevision(Unbroken):
    """Each beat makes everybody who wants to change the job decide again."""

    def kept(self, found: Record, change: Change, after: Record) -> Record:
        return replace(after, revision=found.revision + 1)


@planted("test_cancelling_a_running_job_is_a_request")
class CancellingLeavesTheRevision(Unbroken):
    """A request to cancel is not noticed by an outcome that was decided before it."""

    def kept(self, found: Record, change: Change, after: Record) -> Record:
        return replace(after, revision=found.revision) if change.event is Event.CANCEL else after


@planted("test_a_lease_never_moves_back")
class LeasesMoveBack(Unbroken):
    """A late beat with a shorter lease takes time away from the run."""

    def kept(self, found: Record, change: Change, after: Record) -> Record:
        clock = change.move.clock
        moved = after.state is State.RUNNING and isinstance(clock, timedelta)
        return replace(after, due_at=instant(clock, self.now())) if moved else after


@planted("test_lists_keep_the_newest_entries")
class ListsGrowForEver(Unbroken):
    """Nothing falls off a list: a job that fails each minute fills the store."""

    def kept(self, found: Record, change: Change, after: Record) -> Record:
        longer = {name: (*found.lists.get(name, ()), after.lists[name][-1]) for name in change.move.append}
        return replace(after, lists={**after.lists, **longer})


@planted("test_lists_keep_the_newest_entries")
class ListsKeepTheOldest(Unbroken):
    """A full list takes nothing more: the error that matters is the one not kept."""

    def kept(self, found: Record, change: Change, after: Record) -> Record:
        full = {name: entries for name, entries in found.lists.items() if len(entries) == LIST_LENGTH}
        return replace(after, lists={**after.lists, **full})


@planted("test_notes_are_set_erased_and_stamped")
class StampsSeconds(Unbroken):
    """The time of a change is noted in seconds, where readers expect milliseconds."""

    def asked(self, found: Record, change: Change) -> Change:
        seconds = b"%d" % self.now().timestamp()
        notes = {name: seconds if note is NOW else note for name, note in change.move.notes.items()}
        return replace(change, move=replace(change.move, notes=notes))


@planted("test_notes_are_set_erased_and_stamped")
class EmptyNotesAreNone(Unbroken):
    """A note of no bytes is erased instead of written."""

    def asked(self, found: Record, change: Change) -> Change:
        notes = {name: note or None for name, note in change.move.notes.items()}
        return replace(change, move=replace(change.move, notes=notes))


@planted("test_a_final_job_has_its_end")
class RetriedJobsKeepTheirEnd(Unbroken):
    """A job that runs again still says when it ended."""

    def kept(self, found: Record, change: Change, after: Record) -> Record:
        return replace(after, ended_at=after.ended_at or found.ended_at)


@planted("test_leaving_running_erases_claim_and_worker")
class RetryingJobsKeepTheirClaim(Unbroken):
    """The run that failed could settle the job a second time while it waits."""

    def kept(self, found: Record, change: Change, after: Record) -> Record:
        return (
            replace(after, claim=found.claim, worker=found.worker) if after.state is State.RETRYING else after
        )


@planted("test_an_accepted_change_does_what_the_model_says")
class PriorityIsLostOnTheWayBack(Unbroken):
    """A job that is queued again has the priority of one that was never given any."""

    def kept(self, found: Record, change: Change, after: Record) -> Record:
        back = found.state is not State.QUEUED and after.state is State.QUEUED
        return replace(after, priority=0) if back else after


@planted("test_a_released_job_goes_first_again")
class ReleasedJobsGoToTheTail(Unbroken):
    """Each deployment puts the oldest jobs behind all others."""

    def asked(self, found: Record, change: Change) -> Change:
        released = change.event is Event.RELEASE and change.move.to is State.QUEUED
        return with_head(change, place=Place.TAIL) if released else change


@planted("test_a_final_job_can_be_run_again")
class RetriedJobsGoFirst(Unbroken):
    """A thousand failed jobs that are run again stand in the way of all that came since."""

    def asked(self, found: Record, change: Change) -> Change:
        return with_head(change, place=Place.KEEP) if found.state in FINAL else change


@planted("test_a_job_completes")
class CountsAttemptsItself(Unbroken):
    """The store counts an attempt at each start, besides the core that counts it at each end."""

    def started(self, found: Record, after: Record) -> Record:
        attempts = b"%d" % (after.count("attempts") + 1)
        return replace(after, notes={**after.notes, "attempts": attempts})


def with_head(change: Change, **head: Any) -> Change:
    """A change with something else in the head of its move."""
    return replace(change, move=replace(change.move, head={**change.move.head, **head}))
