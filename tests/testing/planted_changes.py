"""Planted bugs in the new state of a job after a change."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from stanchion.contract.answers import Claimed
from stanchion.contract.requests import Apply, Claim
from stanchion.model.changes import HISTORY, LIST_LENGTH, TAIL, UNCHANGED, Applied, Change, Refusal, Refused
from stanchion.model.effects import instant, refuse
from stanchion.model.ids import split_id
from stanchion.model.records import Record
from stanchion.model.states import FINAL, WAITING, Event, State
from stanchion_memory.store import Shelf
from testing.planted import Unbroken, planted


@planted("test_a_change_whose_guard_does_not_hold_changes_nothing")
class DropsTheClaimGuard(Unbroken):
    """A worker that lost its job still writes to it."""

    def asked(self, found: Record, change: Change) -> Change:
        return replace(change, claim=change.claim and found.claim)


@planted("test_every_order_of_events_ends_as_the_model_says")
class ComparesWorkersNotClaims(Unbroken):
    """An earlier claim of the worker that holds a job counts as the one that holds it."""

    def claim(self, request: Claim) -> Claimed:
        self.seen[request.claim_id] = request.worker
        return super().claim(request)

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
    """A change decided on a job as it was before another caller changed it is made."""

    def asked(self, found: Record, change: Change) -> Change:
        return replace(change, revision=None)


@planted("test_a_sweep_does_not_take_a_job_whose_deadline_was_moved")
class IgnoresIfDue(Unbroken):
    """A sweep that acts on what it saw a while ago loses a job whose worker has just beaten."""

    def asked(self, found: Record, change: Change) -> Change:
        return replace(change, if_due=False)


@planted("test_a_job_is_due_at_its_instant")
class IsDueOneMillisecondLate(Unbroken):
    """A job is due only after its instant."""

    def _apply(self, change: Change, now: datetime) -> Applied | Refused:
        found = self.job(change.job_id)
        if found is not None and change.if_due and found.due_at == now and found.state is change.state:
            return refuse(Refusal.DUE, found)
        return super()._apply(change, now)


@planted("test_a_retry_takes_the_unique_key_again")
class TakesUniqueKeysFromTheirHolders(Unbroken):
    """A retry takes its unique key back, though another job holds it by now."""

    def _apply(self, change: Change, now: datetime) -> Applied | Refused:
        answer = super()._apply(change, now)
        if isinstance(answer, Applied) or answer.why is not Refusal.UNIQUE:
            return answer
        self.shelf(change.job_id).holders.pop(str(change.move.unique), None)
        return super()._apply(change, now)


@planted("test_apply_checks_the_guards_in_their_order")
class LooksAtTheStateBeforeTheClaim(Unbroken):
    """A worker whose job went on without it is answered with the state, as if it still held the job."""

    def _apply(self, change: Change, now: datetime) -> Applied | Refused:
        found = self.job(change.job_id)
        if found is not None and found.state is not change.state:
            return refuse(Refusal.STATE, found)
        return super()._apply(change, now)


@planted("test_a_change_whose_guard_does_not_hold_changes_nothing")
class WritesTheNotesOfRefusedChanges(Unbroken):
    """Notes are written first, and the guards looked at then."""

    def _apply(self, change: Change, now: datetime) -> Applied | Refused:
        answer = super()._apply(change, now)
        found = self.job(change.job_id)
        if isinstance(answer, Refused) and found is not None:
            written = {name: note for name, note in change.move.notes.items() if note is not None}
            self.put(replace(found, notes={**found.notes, **written}))
        return answer


@planted("test_a_lapsed_lease_that_nobody_swept_can_be_extended")
class LapsedLeasesAreLost(Unbroken):
    """A beat that is late is refused, though nobody declared the job lost."""

    def _apply(self, change: Change, now: datetime) -> Applied | Refused:
        found = self.job(change.job_id)
        mine = found is not None and found.claim is not None and found.claim == change.claim
        if found is not None and mine and found.due_at is not None and found.due_at < now:
            return refuse(Refusal.CLAIM, found)
        return super()._apply(change, now)


@planted("test_one_refused_change_stops_no_other")
class StopsAtTheFirstRefusal(Unbroken):
    """The changes behind a refused one are not made."""

    def apply(self, request: Apply) -> Sequence[Applied | Refused]:
        answers: list[Applied | Refused] = []
        for change in request.changes:
            if answers and isinstance(answers[-1], Refused):
                answers.append(answers[-1])
            else:
                answers += super().apply(Apply([change]))
        return answers


@planted("test_apply_answers_in_the_order_given")
class AnswersChangesQueueByQueue(Unbroken):
    """The answers of one call over several queues come in the order of the queues."""

    def apply(self, request: Apply) -> Sequence[Applied | Refused]:
        answers, changes = super().apply(request), request.changes
        order = sorted(range(len(changes)), key=lambda n: split_id(changes[n].job_id)[0])
        return [answers[n] for n in order]


@planted("test_all_changes_but_those_of_a_run_that_goes_on_count_the_revision")
class BeatsCountTheRevision(Unbroken):
    """Each beat makes everybody who wants to change the job decide again."""

    def kept(self, found: Record, change: Change, after: Record) -> Record:
        return replace(after, revision=found.revision + 1)


@planted("test_a_job_that_ran_meanwhile_is_another_revision")
class RunsLeaveTheRevision(Unbroken):
    """A job that was released is changed as it was before its run."""

    def kept(self, found: Record, change: Change, after: Record) -> Record:
        return after if change.claim is None else replace(after, revision=found.revision)


@planted("test_cancelling_a_running_job_is_a_request")
class CancellingLeavesTheRevision(Unbroken):
    """A request to cancel is not noticed by an outcome that was decided before it."""

    def kept(self, found: Record, change: Change, after: Record) -> Record:
        return replace(after, revision=found.revision) if change.event is Event.CANCEL else after


@planted("test_a_lease_never_moves_back")
class LeasesMoveBack(Unbroken):
    """A late beat with a shorter lease takes time away from the run."""

    def kept(self, found: Record, change: Change, after: Record) -> Record:
        due = change.move.due
        if after.state is not State.RUNNING or not isinstance(due, timedelta):
            return after
        return replace(after, due_at=instant(due, self.now()))


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


@planted("test_notes_are_set_and_erased")
class EmptyNotesAreNone(Unbroken):
    """A note of no bytes is erased instead of written."""

    def asked(self, found: Record, change: Change) -> Change:
        notes = {name: note or None for name, note in change.move.notes.items()}
        return replace(change, move=replace(change.move, notes=notes))


@planted("test_counters_are_set_and_erased")
class CountersAreKeptAtZero(Unbroken):
    """A counter that is erased stays, as zero."""

    def kept(self, found: Record, change: Change, after: Record) -> Record:
        zeros = {name: 0 for name, value in change.move.counters.items() if value == 0}
        return replace(after, counters={**after.counters, **zeros})


@planted("test_counters_are_set_and_erased")
class CountersAreAddedTo(Unbroken):
    """The new value of a counter is added to the old one."""

    def kept(self, found: Record, change: Change, after: Record) -> Record:
        added = {name: found.count(name) + value for name, value in change.move.counters.items() if value}
        return replace(after, counters={**after.counters, **added})


@planted("test_an_error_is_set_and_erased")
class ErrorsAreErasedWithTheirRun(Unbroken):
    """Why the last run failed is gone as soon as the job is queued again."""

    def kept(self, found: Record, change: Change, after: Record) -> Record:
        return replace(after, error=None) if after.state is State.QUEUED else after


@planted("test_an_error_is_set_and_erased")
class ErrorsAreAscii(Unbroken):
    """Letters that the store does not know are lost from errors."""

    def kept(self, found: Record, change: Change, after: Record) -> Record:
        return replace(after, error=after.error and after.error.encode("ascii", "ignore").decode())


@planted("test_tags_are_set_and_erased")
class TagsAreAddedTo(Unbroken):
    """New tags join the old ones, which are never gone."""

    def asked(self, found: Record, change: Change) -> Change:
        tags = change.move.tags
        if not isinstance(tags, tuple):
            return change
        return with_move(change, tags=(*found.tags, *(tag for tag in tags if tag not in found.tags)))


@planted("test_a_job_names_its_last_claim_and_worker")
class ForgetsWhoRanAJob(Unbroken):
    """A failed job does not say which worker it ran on."""

    def kept(self, found: Record, change: Change, after: Record) -> Record:
        return after if after.state is State.RUNNING else replace(after, worker=None)


@planted("test_a_run_that_ended_does_not_end_again")
class TakesTheLastClaimForTheHolder(Unbroken):
    """A run that ended can change its job for as long as no other run started."""

    def asked(self, found: Record, change: Change) -> Change:
        mine = change.claim is not None and change.claim == found.claim
        return replace(change, state=found.state) if mine else change


@planted("test_a_job_knows_when_it_was_last_queued")
class StampsEachMoveInsideTheQueue(Unbroken):
    """A job whose priority is changed seems to wait since then."""

    def kept(self, found: Record, change: Change, after: Record) -> Record:
        return replace(after, queued_at=self.now()) if after.state is State.QUEUED else after


@planted("test_a_job_knows_when_it_was_last_queued")
class StampsTheFirstWayIntoTheQueueAlone(Unbroken):
    """A job that is released or retried seems to wait since it was first promoted."""

    def kept(self, found: Record, change: Change, after: Record) -> Record:
        return after if found.started_at is None else replace(after, queued_at=found.queued_at)


@planted("test_claim_promotes_even_what_it_does_not_take")
class PromotesWithoutAStamp(Unbroken):
    """A job that waited for a time seems to be late by that time."""

    def _promote(self, shelf: Shelf, now: datetime) -> None:
        before = {one.id: one for state in WAITING for one in shelf.due(state, now, self.limits.batch)}
        super()._promote(shelf, now)
        for job_id, found in before.items():
            self.put(replace(shelf.records[job_id], queued_at=found.queued_at))


@planted("test_a_refusal_shows_head_and_history")
class RefusalsShowNoHistory(Unbroken):
    """A caller whose answer was lost does not learn that it was the one who changed the job."""

    def _apply(self, change: Change, now: datetime) -> Applied | Refused:
        answer = super()._apply(change, now)
        return answer if isinstance(answer, Applied) else replace(answer, history=())


@planted("test_a_refusal_shows_head_and_history")
class RefusalsShowTheBody(Unbroken):
    """A megabyte of arguments comes with each refusal."""

    def _apply(self, change: Change, now: datetime) -> Applied | Refused:
        answer = super()._apply(change, now)
        if isinstance(answer, Applied) or answer.head is None:
            return answer
        return replace(answer, head=self.job(change.job_id))


@planted("test_a_first_completion_stands_in_the_head_alone")
class ForgetsWhichClaimCompletedAJob(Unbroken):
    """A completed job is nobody's: a repeated completion looks like a lost lease."""

    def kept(self, found: Record, change: Change, after: Record) -> Record:
        return replace(after, claim=None, worker=None) if after.state is State.COMPLETED else after


@planted("test_a_first_completion_is_still_known_after_a_retry")
class RetriedJobsForgetTheirHistory(Unbroken):
    """A job that is run again begins its history anew."""

    def kept(self, found: Record, change: Change, after: Record) -> Record:
        if change.event is not Event.RETRY:
            return after
        return replace(after, lists={name: one for name, one in after.lists.items() if name != HISTORY})


@planted("test_a_final_job_has_its_end")
class RetriedJobsKeepTheirEnd(Unbroken):
    """A job that runs again still says when it ended."""

    def kept(self, found: Record, change: Change, after: Record) -> Record:
        return replace(after, ended_at=after.ended_at or found.ended_at)


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
        return with_move(change, place=TAIL) if released else change


@planted("test_a_final_job_can_be_run_again")
class RetriedJobsGoFirst(Unbroken):
    """A thousand failed jobs that are run again stand in the way of all that came since."""

    def asked(self, found: Record, change: Change) -> Change:
        return with_move(change, place=UNCHANGED) if found.state in FINAL else change


@planted("test_a_job_completes")
class CountsAttemptsItself(Unbroken):
    """The store counts an attempt at each start, besides the core that counts it at each end."""

    def started(self, found: Record, after: Record) -> Record:
        attempts = after.count("attempts") + 1
        return replace(after, counters={**after.counters, "attempts": attempts})


@planted("test_a_job_that_left_the_queue_knows_when_it_was_queued")
class StartedJobsForgetWhenTheyWereQueued(Unbroken):
    """A job that runs does not say for how long it waited."""

    def started(self, found: Record, after: Record) -> Record:
        return replace(after, queued_at=None)


def with_move(change: Change, **fields: Any) -> Change:
    """Return a change with other fields of its move."""
    return replace(change, move=replace(change.move, **fields))
