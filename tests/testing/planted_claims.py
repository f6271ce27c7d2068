"""Planted bugs in how jobs are promoted and handed out, and how parties race for them."""

import threading
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from msgspec.structs import replace

from stanchion.contract.answers import Claimed, Inserted
from stanchion.contract.requests import Apply, Claim, Get, Insert
from stanchion.model.changes import Applied, Change, Refused
from stanchion.model.ordering import place_of
from stanchion.model.queues import QueueSettings
from stanchion.model.records import Record
from stanchion.model.states import WAITING, State
from stanchion_memory.store import Shelf
from testing.planted import Unbroken, planted

ALONE: Final = 0.5
"""Seconds without another look after which nobody else looks any more."""


@planted("test_claim_never_takes_a_waiting_job_before_its_time")
class PromotesInWholeSeconds(Unbroken):
    """Deadlines are compared in whole seconds, and a job starts up to one too early."""

    def _promote(self, shelf: Shelf, now: datetime) -> None:
        super()._promote(shelf, now + timedelta(milliseconds=999))


@planted("test_claim_promotes_at_most_a_batch")
class PromotesAllThatIsDue(Unbroken):
    """A million due jobs are promoted in one call, and the store answers nobody meanwhile."""

    def _promote(self, shelf: Shelf, now: datetime) -> None:
        while any(list(shelf.due(state, now, 1)) for state in (State.SCHEDULED, State.RETRYING)):
            super()._promote(shelf, now)


@planted("test_claim_promotes_at_most_a_batch_of_both_waiting_states")
class PromotesABatchOfEachState(Unbroken):
    """The bound of what one call costs is kept for each waiting state by itself."""

    def _promote(self, shelf: Shelf, now: datetime) -> None:
        due = [record for state in WAITING for record in shelf.due(state, now, self.limits.batch)]
        self.promote(shelf, sorted(due, key=place_of), now)


@planted("test_claim_promotes_to_the_tail_the_longest_due_first")
class PromotesOneStateAfterTheOther(Unbroken):
    """All scheduled jobs are promoted before the first one that waits for its retry, whatever their deadlines."""

    def _promote(self, shelf: Shelf, now: datetime) -> None:
        for state in (State.SCHEDULED, State.RETRYING):
            self.promote(shelf, list(shelf.due(state, now, self.limits.batch)), now)


@planted("test_claim_promotes_even_what_it_does_not_take")
class PromotesOneJobForEachInstant(Unbroken):
    """Waiting jobs are found by their deadline, and those that share one are lost but for the first."""

    def _promote(self, shelf: Shelf, now: datetime) -> None:
        due = list(shelf.due(State.SCHEDULED, now, self.limits.batch))
        super()._promote(shelf, now)
        first = {record.due_at: record.id for record in reversed(due)}
        for record in due:
            if first[record.due_at] != record.id:
                self.drop(record.id)


@planted("test_claim_promotes_even_what_it_does_not_take")
class PromotingLeavesTheRevision(Unbroken):
    """A change decided on a job that still waited is made on one that is queued."""

    def _promote(self, shelf: Shelf, now: datetime) -> None:
        due = [one for state in (State.SCHEDULED, State.RETRYING) for one in shelf.due(state, now, 100)]
        super()._promote(shelf, now)
        for record in due:
            self.put(replace(shelf.records[record.id], revision=record.revision))


@planted("test_claim_follows_deadlines_that_were_moved")
class MovedDeadlinesAreLookedForWhereTheyStood(Unbroken):
    """A start that is moved to the front still comes at its old time."""

    def kept(self, found: Record, change: Change, after: Record) -> Record:
        stays = found.state is after.state is State.SCHEDULED
        self.seen[after.id] = self.seen.get(after.id, found.due_at) if stays else after.due_at
        return after

    def _promote(self, shelf: Shelf, now: datetime) -> None:
        due = list(shelf.due(State.SCHEDULED, now, self.limits.batch))
        super()._promote(shelf, now)
        for record in due:
            if (self.seen.get(record.id) or now) > now:
                self.put(record)


@planted("test_claim_keeps_a_unique_key_held_until_the_start_when_it_promotes")
class UniqueKeysAreFreeOncePromoted(Unbroken):
    """A key held until the start is free as soon as the job is queued."""

    def _promote(self, shelf: Shelf, now: datetime) -> None:
        due = list(shelf.due(State.SCHEDULED, now, self.limits.batch))
        super()._promote(shelf, now)
        for record in due:
            if record.scope == "start":
                self.put(replace(shelf.records[record.id], unique=None))


@planted("test_claim_repeated_within_the_lease_answers_the_same")
class RepeatedClaimsTakeNewJobs(Unbroken):
    """A worker whose answer was lost gets other jobs, and the first wait for their lease to lapse."""

    def claim(self, request: Claim) -> Claimed:
        self._claims.pop(request.claim_id, None)
        return super().claim(request)


@planted("test_claim_repeated_leaves_out_what_it_no_longer_holds")
class RepeatedClaimsAnswerFromMemory(Unbroken):
    """A repeated claim is answered with jobs that were settled meanwhile."""

    def claim(self, request: Claim) -> Claimed:
        if request.claim_id not in self.seen:
            self.seen[request.claim_id] = super().claim(request)
        answer: Claimed = self.seen[request.claim_id]
        return answer


@planted("test_claim_leaves_paused_queues_out")
class PausedQueuesHandOutJobs(Unbroken):
    """Pausing is remembered and not looked at."""

    def claim(self, request: Claim) -> Claimed:
        paused = {name: self._shelves[name].settings for name in request.queues if name in self._shelves}
        for queue in paused:
            self._shelves[queue].settings = QueueSettings()
        answer = super().claim(request)
        for queue, settings in paused.items():
            self._shelves[queue].settings = settings
        return answer


@planted("test_claim_leaves_a_lapsed_lease_to_the_sweep")
class ClaimsTakeLapsedJobs(Unbroken):
    """A job whose lease ended is visible again to all, uncounted: one that kills its workers runs for ever."""

    def claim(self, request: Claim) -> Claimed:
        for shelf in self.shelves_of(request.queues):
            for one in list(shelf.due(State.RUNNING, self.now(), 100)):
                self.put(replace(one, state=State.QUEUED, due_at=None))
        return super().claim(request)


@planted("test_claim_serves_queues_in_the_order_given")
class TakesItsLimitFromEachQueue(Unbroken):
    """A worker with two free slots is handed two jobs of every queue."""

    def claim(self, request: Claim) -> Claimed:
        mine = super()
        answers = [mine.claim(replace(request, queues=[queue])) for queue in request.queues]
        return replace(answers[-1], records=[record for answer in answers for record in answer.records])


@planted("test_claim_of_none_takes_none")
class NoLimitMeansABatch(Unbroken):
    """A limit of zero is taken for none given."""

    def claim(self, request: Claim) -> Claimed:
        return super().claim(replace(request, limit=request.limit or self.limits.batch))


@planted("test_claim_takes_from_the_queues_asked_for_alone")
class QueuesAreFoundByPrefix(Unbroken):
    """Who claims from `mail` is handed the jobs of `mail.2`, too."""

    def claim(self, request: Claim) -> Claimed:
        alike = [name for queue in request.queues for name in self._shelves if name.startswith(queue)]
        return super().claim(replace(request, queues=alike))


@planted("test_claim_says_that_there_is_more_in_any_of_its_queues")
class SaysWhetherTheLastQueueHasMore(Unbroken):
    """A worker rests after each job, though the first of its queues is full."""

    def claim(self, request: Claim) -> Claimed:
        answer = super().claim(request)
        last = self.shelves_of(request.queues[-1:])
        has_more = any(shelf.index[State.QUEUED] and not shelf.settings.paused for shelf in last)
        return replace(answer, ask_again_at=answer.now if has_more else None)


@planted("test_claim_says_when_the_next_job_is_due")
class SaysWhenTheLastQueueIsDue(Unbroken):
    """A worker that sleeps until the last of its queues has a due job sleeps through one of another."""

    def claim(self, request: Claim) -> Claimed:
        answer = super().claim(request)
        active = [shelf for shelf in self.shelves_of(request.queues) if not shelf.settings.paused]
        due_at = active[-1].next_due_at(WAITING) if active else None
        return answer if answer.more else replace(answer, ask_again_at=due_at)


@planted("test_claim_says_when_the_first_of_both_waiting_states_is_due")
class SaysWhenTheNextScheduledJobIsDue(Unbroken):
    """A worker that sleeps until a scheduled job is due sleeps through a retry."""

    def claim(self, request: Claim) -> Claimed:
        answer = super().claim(request)
        active = [shelf for shelf in self.shelves_of(request.queues) if not shelf.settings.paused]
        due = [at for shelf in active if (at := shelf.next_due_at([State.SCHEDULED]))]
        return answer if answer.more else replace(answer, ask_again_at=min(due, default=answer.ask_again_at))


@planted("test_claim_counts_runs")
class CountsEachRunTwice(Unbroken):
    """A start counts two runs."""

    def started(self, found: Record, after: Record) -> Record:
        return replace(after, run=found.run + 2)


@planted("test_claim_counts_runs")
class KeepsTheFirstStart(Unbroken):
    """A job that runs again says that it started when it first did."""

    def started(self, found: Record, after: Record) -> Record:
        return replace(after, started_at=found.started_at or after.started_at)


@planted("test_a_repeated_claim_answers_with_the_jobs_of_each_of_its_queues")
class RepeatsTheFirstQueueOfAClaim(Unbroken):
    """The jobs that a lost answer took from the other queues wait for the end of their leases."""

    def claim(self, request: Claim) -> Claimed:
        is_repeated = request.claim_id in self._claims
        answer = super().claim(request)
        first = [one for one in answer.records if one.queue == answer.records[0].queue]
        return replace(answer, records=first) if is_repeated else answer


@planted("test_claim_says_when_the_first_of_both_waiting_states_is_due")
class AsksAgainWhenTheNextIsDueThoughThereIsMore(Unbroken):
    """A worker that leaves jobs behind rests until the next waiting one is due."""

    def claim(self, request: Claim) -> Claimed:
        answer = super().claim(request)
        due = [at for shelf in self.shelves_of(request.queues) if (at := shelf.next_due_at(WAITING))]
        return replace(answer, ask_again_at=min(due, default=answer.ask_again_at))


@planted("test_claim_hands_out_what_a_handler_needs")
class ClaimsLeaveNotesOut(Unbroken):
    """A job that runs again does not get what its first run saved."""

    def claim(self, request: Claim) -> Claimed:
        answer = super().claim(request)
        return replace(answer, records=[replace(one, notes={}) for one in answer.records])


# Races: a look and a write in two round trips, without a lock around them


class LooksFirst(Unbroken):
    """A backend that looks and writes in two round trips."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._looked = threading.Condition()
        self._looks, self._is_alone = 0, False

    def round_trip(self) -> None:
        """Come between a look and its write: it lasts until another party has looked as well."""
        with self._looked:
            self._looks += 1
            mine = self._looks
            self._looked.notify_all()
            if not self._looked.wait_for(lambda: self._is_alone or self._looks > mine, ALONE):
                self._is_alone = True


@planted("test_no_job_is_handed_to_two_of_many_claims")
class ClaimsLookBeforeTheyTake(LooksFirst):
    """Two claims that look at once are handed the same jobs."""

    def claim(self, request: Claim) -> Claimed:
        seen = [one for shelf in self.shelves_of(request.queues) for one in shelf.first(State.QUEUED, 7)]
        self.round_trip()
        with self._lock:
            for record in seen:
                self.put(record)
            return super().claim(request)


@planted("test_of_many_inserts_of_one_job_one_creates_it")
class InsertsLookBeforeTheyMake(LooksFirst):
    """Two producers that look at once both find that a job is absent, and both are answered that they made it."""

    def insert(self, request: Insert) -> Sequence[Inserted]:
        absent = [item.id for item in request.items if self.job(item.id) is None]
        self.round_trip()
        with self._lock:
            for job_id in absent:
                self.drop(job_id)
            return super().insert(request)


@planted("test_of_many_sweeps_of_one_job_one_moves_it")
class ChangesCompareBeforeTheySet(LooksFirst):
    """The guards are held against what was read a round trip ago, and what others wrote since is undone."""

    def apply(self, request: Apply) -> Sequence[Applied | Refused]:
        seen = self.get(Get([change.job_id for change in request.changes]))
        self.round_trip()
        with self._lock:
            for record in seen:
                if record is not None:
                    self.put(record)
            return super().apply(request)
