"""Planted bugs in how jobs come to a store, hold unique keys, are handed out, and raced for."""

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from msgspec.structs import replace

from stanchion.changes import Applied, Change, Refused, promoted
from stanchion.jobs import Item, Record, split_id
from stanchion.queries import Claimed, Inserted
from stanchion.queues import QueueSettings
from stanchion.states import FINAL, State
from stanchion_memory.store import Shelf
from testing.planted import Unbroken, planted

ROUND_TRIP: Final = 0.0005
"""Seconds between a look and a write, in backends that do the two apart."""


@planted("test_insert_leaves_a_job_of_any_state_as_it_was")
class IdsOfFinalJobsCanBeTaken(Unbroken):
    """A producer that enqueues twice runs the job twice if it was quick."""

    def _insert(self, item: Item, now: datetime) -> Inserted:
        there = self.job(item.id)
        if there is not None and there.state in FINAL:
            self.shelf(item.id).remove(item.id)
        return super()._insert(item, now)


@planted("test_ids_differ_by_case")
class IdsIgnoreCase(Unbroken):
    """The store's collation takes `A` and `a` for one."""

    def _insert(self, item: Item, now: datetime) -> Inserted:
        ids = {job_id.lower(): job_id for job_id in self.shelf(item.id).records}
        return super()._insert(replace(item, id=ids.get(item.id.lower(), item.id)), now)


@planted("test_insert_keeps_the_order_given")
class JobsOfOneCallStandByTheirIds(Unbroken):
    """Jobs that came in the same millisecond are served in the order of their ids."""

    def insert(self, items: Sequence[Item]) -> Sequence[Inserted]:
        answers = {id(item): self._insert(item, self.now()) for item in sorted(items, key=lambda one: one.id)}
        return [answers[id(item)] for item in items]


@planted("test_insert_answers_in_the_order_given")
class AnswersInsertsQueueByQueue(Unbroken):
    """The answers of one call over several queues come in the order of the queues."""

    def insert(self, items: Sequence[Item]) -> Sequence[Inserted]:
        answers = super().insert(items)
        order = sorted(range(len(items)), key=lambda n: split_id(items[n].id)[0])
        return [answers[n] for n in order]


@planted("test_insert_gives_bytes_back_as_they_came")
class SpecsAreText(Unbroken):
    """What is no UTF-8 is replaced on its way into the store."""

    def _insert(self, item: Item, now: datetime) -> Inserted:
        return super()._insert(replace(item, spec=item.spec.decode(errors="replace").encode()), now)


@planted("test_parts_of_a_millisecond_are_cut_off")
class RoundsInstants(Unbroken):
    """A clock is rounded to milliseconds, so that a job may start before its instant."""

    def _insert(self, item: Item, now: datetime) -> Inserted:
        half = timedelta(microseconds=500)
        return super()._insert(replace(item, clock=item.clock and item.clock + half), now)


@planted("test_a_deleted_job_leaves_nothing_to_the_next_of_its_id")
class DeletedJobsLeaveTheirNotes(Unbroken):
    """Notes are kept apart, under the job's id, and the next job of that id inherits them."""

    def _apply(self, change: Change, now: datetime) -> Applied | Refused:
        found = self.job(change.job_id)
        if found is not None:
            self.seen[found.id] = found.notes
        return super()._apply(change, now)

    def _insert(self, item: Item, now: datetime) -> Inserted:
        answer = super()._insert(item, now)
        if answer.created:
            self.put(replace(self.shelf(item.id).records[item.id], notes=self.seen.get(item.id, {})))
        return answer


@planted("test_a_job_handed_back_goes_before_those_that_came_to_an_empty_queue")
class PlacesBeginAnewInAnEmptyQueue(Unbroken):
    """The counter of places is gone with the last queued job, and a job handed back stands behind new ones."""

    def _insert(self, item: Item, now: datetime) -> Inserted:
        if not self.shelf(item.id).index[State.QUEUED]:
            self.shelf(item.id)._places = 0
        return super()._insert(item, now)


# Unique keys


@planted("test_insert_keeps_unique_keys_apart_by_queue")
class UniqueKeysSpanQueues(Unbroken):
    """A key that is held in one queue is refused in all."""

    def _insert(self, item: Item, now: datetime) -> Inserted:
        for shelf in self._shelves.values():
            if item.unique in shelf.holders:
                return Inserted(False, shelf.records[shelf.holders[item.unique]])
        return super()._insert(item, now)


@planted("test_a_refused_insert_takes_no_unique_key")
class RefusedInsertsTakeTheirUniqueKey(Unbroken):
    """The key is taken first, then the id is found to be taken, and the key stays locked."""

    def _insert(self, item: Item, now: datetime) -> Inserted:
        answer = super()._insert(item, now)
        if item.unique is not None and not answer.created:
            self.shelf(item.id).holders.setdefault(item.unique, item.id)
        return answer


@planted("test_claim_keeps_a_unique_key_held_until_the_end")
class UniqueKeysAreFreeAtTheStart(Unbroken):
    """A key held until the end is free once the job runs, and the work is done twice at once."""

    def started(self, found: Record, after: Record) -> Record:
        return replace(after, unique=None)


@planted("test_claim_frees_a_unique_key_held_until_the_start")
class UniqueKeysAreHeldPastTheStart(Unbroken):
    """A key held until the start is held on."""

    def started(self, found: Record, after: Record) -> Record:
        return replace(after, unique=found.unique)


@planted("test_a_job_completes")
class UniqueKeysAreHeldPastTheEnd(Unbroken):
    """The key of a job that ended is never free again: the work is silently never enqueued."""

    def kept(self, found: Record, change: Change, after: Record) -> Record:
        return replace(after, unique=after.unique or found.unique)


@planted("test_a_job_frees_only_a_key_that_it_holds")
class FreesUniqueKeysOfOthers(Unbroken):
    """A job's end frees the key it once took, though another job holds it by now."""

    def _insert(self, item: Item, now: datetime) -> Inserted:
        self.seen.setdefault(item.id, item.unique)
        return super()._insert(item, now)

    def _apply(self, change: Change, now: datetime) -> Applied | Refused:
        answer = super()._apply(change, now)
        if isinstance(answer, Applied) and (change.move.to is None or change.move.to in FINAL):
            self.shelf(change.job_id).holders.pop(self.seen.get(change.job_id), None)
        return answer


@planted("test_deleting_frees_the_unique_key")
class DeletedJobsHoldTheirUniqueKey(Unbroken):
    """The record is removed and its key stays."""

    def _apply(self, change: Change, now: datetime) -> Applied | Refused:
        found = self.job(change.job_id)
        answer = super()._apply(change, now)
        if found is not None and found.unique is not None and self.job(found.id) is None:
            self.shelf(found.id).holders[found.unique] = found.id
        return answer


# Promotion


@planted("test_claim_never_takes_a_waiting_job_before_its_time")
class PromotesInWholeSeconds(Unbroken):
    """Clocks are compared in whole seconds, and a job starts up to one too early."""

    def _promote(self, shelf: Shelf, now: datetime) -> None:
        super()._promote(shelf, now + timedelta(milliseconds=999))


@planted("test_claim_promotes_at_most_a_batch")
class PromotesAllThatIsDue(Unbroken):
    """A million due jobs are promoted in one call, and the store answers nobody meanwhile."""

    def _promote(self, shelf: Shelf, now: datetime) -> None:
        while any(list(shelf.due(state, now, 1)) for state in (State.SCHEDULED, State.RETRYING)):
            super()._promote(shelf, now)


@planted("test_claim_promotes_to_the_tail_oldest_clock_first")
class PromotesOneStateAfterTheOther(Unbroken):
    """All scheduled jobs are promoted before the first one that waits for its retry, whatever their clocks."""

    def _promote(self, shelf: Shelf, now: datetime) -> None:
        for state in (State.SCHEDULED, State.RETRYING):
            for record in list(shelf.due(state, now, self.limits.batch)):
                shelf.put(promoted(record, tail=shelf.tail))


@planted("test_claim_promotes_even_what_it_does_not_take")
class PromotesOneJobForEachClock(Unbroken):
    """Waiting jobs are found by their clock, and those that share one are lost but for the first."""

    def _promote(self, shelf: Shelf, now: datetime) -> None:
        due = list(shelf.due(State.SCHEDULED, now, self.limits.batch))
        super()._promote(shelf, now)
        first = {record.due_at: record.id for record in reversed(due)}
        for record in due:
            if first[record.due_at] != record.id:
                shelf.remove(record.id)


@planted("test_claim_promotes_even_what_it_does_not_take")
class PromotingLeavesTheRevision(Unbroken):
    """A change decided on a job that still waited is made on one that is queued."""

    def _promote(self, shelf: Shelf, now: datetime) -> None:
        due = [one for state in (State.SCHEDULED, State.RETRYING) for one in shelf.due(state, now, 100)]
        super()._promote(shelf, now)
        for record in due:
            shelf.put(replace(shelf.records[record.id], revision=record.revision))


# Claims


@planted("test_claim_repeated_within_the_lease_answers_the_same")
class RepeatedClaimsTakeNewJobs(Unbroken):
    """A worker that did not hear the answer gets other jobs, and the first wait for their lease to lapse."""

    def claim(self, queues: Sequence[str], *, claim_id: str, **request: Any) -> Claimed:
        self._claims.pop(claim_id, None)
        return super().claim(queues, claim_id=claim_id, **request)


@planted("test_claim_repeated_leaves_out_what_it_no_longer_holds")
class RepeatedClaimsAnswerFromMemory(Unbroken):
    """A repeated claim is answered with jobs that were settled meanwhile."""

    def claim(self, queues: Sequence[str], *, claim_id: str, **request: Any) -> Claimed:
        if claim_id not in self.seen:
            self.seen[claim_id] = super().claim(queues, claim_id=claim_id, **request)
        return self.seen[claim_id]


@planted("test_claim_leaves_paused_queues_out")
class PausedQueuesHandOutJobs(Unbroken):
    """Pausing is remembered and not looked at."""

    def claim(self, queues: Sequence[str], **request: Any) -> Claimed:
        paused = {queue: self._shelves[queue].settings for queue in queues if queue in self._shelves}
        for queue in paused:
            self._shelves[queue].settings = QueueSettings()
        answer = super().claim(queues, **request)
        for queue, settings in paused.items():
            self._shelves[queue].settings = settings
        return answer


@planted("test_claim_leaves_a_lapsed_lease_to_the_sweep")
class ClaimsTakeLapsedJobs(Unbroken):
    """A job whose lease ended is visible again to all, uncounted: one that kills its workers runs for ever."""

    def claim(self, queues: Sequence[str], **request: Any) -> Claimed:
        for shelf in self.shelves_of(queues):
            for one in list(shelf.due(State.RUNNING, self.now(), 100)):
                shelf.put(replace(one, state=State.QUEUED, claim=None, worker=None, due_at=None))
        return super().claim(queues, **request)


@planted("test_claim_serves_queues_in_the_order_given")
class TakesItsLimitFromEachQueue(Unbroken):
    """A worker with two free slots is handed two jobs of every queue."""

    def claim(self, queues: Sequence[str], **request: Any) -> Claimed:
        answers = [super(TakesItsLimitFromEachQueue, self).claim([queue], **request) for queue in queues]
        return replace(answers[-1], records=[record for answer in answers for record in answer.records])


@planted("test_claim_of_none_takes_none")
class NoLimitMeansABatch(Unbroken):
    """A limit of nought is taken for none given."""

    def claim(self, queues: Sequence[str], *, limit: int, **request: Any) -> Claimed:
        return super().claim(queues, limit=limit or self.limits.batch, **request)


@planted("test_claim_takes_from_the_queues_asked_for_alone")
class QueuesAreFoundByPrefix(Unbroken):
    """Who claims from `mail` is handed the jobs of `mail.2`, too."""

    def claim(self, queues: Sequence[str], **request: Any) -> Claimed:
        alike = [name for queue in queues for name in self._shelves if name.startswith(queue)]
        return super().claim(alike, **request)


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


# Races: a look and a write in two round trips, without a lock around them


@planted("test_no_job_is_handed_to_two_of_many_claims")
class ClaimsLookBeforeTheyTake(Unbroken):
    """Two claims that look at once are handed the same jobs."""

    def claim(self, queues: Sequence[str], **request: Any) -> Claimed:
        seen = [(shelf, one) for shelf in self.shelves_of(queues) for one in shelf.first(State.QUEUED, 7)]
        time.sleep(ROUND_TRIP)
        with self._lock:
            for shelf, record in seen:
                shelf.put(record)
            return super().claim(queues, **request)


@planted("test_of_many_inserts_of_one_job_one_creates_it")
class InsertsLookBeforeTheyMake(Unbroken):
    """Two producers that look at once both find that a job is absent, and both are told that they made it."""

    def insert(self, items: Sequence[Item]) -> Sequence[Inserted]:
        absent = [item.id for item in items if self.job(item.id) is None]
        time.sleep(ROUND_TRIP)
        with self._lock:
            for job_id in absent:
                self.shelf(job_id).remove(job_id)
            return super().insert(items)


@planted("test_of_many_sweeps_of_one_job_one_moves_it")
class ChangesCompareBeforeTheySet(Unbroken):
    """The guards are held against what was read a round trip ago, and what others wrote since is undone."""

    def apply(self, changes: Sequence[Change]) -> Sequence[Applied | Refused]:
        seen = self.get([change.job_id for change in changes])
        time.sleep(ROUND_TRIP)
        with self._lock:
            for record in seen:
                if record is not None:
                    self.put(record)
            return super().apply(changes)
