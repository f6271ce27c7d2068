"""Planted bugs in how jobs come to a store, and in who holds a unique key."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec.structs import replace

from stanchion.contract.answers import Inserted
from stanchion.contract.requests import Insert
from stanchion.model.changes import Applied, Change, Refused
from stanchion.model.ids import split_id
from stanchion.model.records import Item, Record, head_of
from stanchion.model.states import FINAL, State
from testing.planted import Unbroken, planted


@planted("test_insert_leaves_a_job_of_any_state_as_it_was")
class IdsOfFinalJobsCanBeTaken(Unbroken):
    """A producer that enqueues twice runs the job twice if it was quick."""

    def _insert(self, item: Item, now: datetime) -> Inserted:
        there = self.job(item.id)
        if there is not None and there.state in FINAL:
            self.drop(item.id)
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

    def insert(self, request: Insert) -> Sequence[Inserted]:
        ordered = sorted(request.items, key=lambda one: one.id)
        answers = {id(item): self._insert(item, self.now()) for item in ordered}
        return [answers[id(item)] for item in request.items]


@planted("test_insert_answers_in_the_order_given")
class AnswersInsertsQueueByQueue(Unbroken):
    """The answers of one call over several queues come in the order of the queues."""

    def insert(self, request: Insert) -> Sequence[Inserted]:
        answers, items = super().insert(request), request.items
        order = sorted(range(len(items)), key=lambda n: split_id(items[n].id)[0])
        return [answers[n] for n in order]


@planted("test_insert_gives_bytes_back_as_they_came")
class ArgumentsAreText(Unbroken):
    """What is no UTF-8 is replaced on its way into the store."""

    def _insert(self, item: Item, now: datetime) -> Inserted:
        return super()._insert(replace(item, args=item.args.decode(errors="replace").encode()), now)


@planted("test_parts_of_a_millisecond_are_cut_off")
class RoundsInstants(Unbroken):
    """A deadline is rounded to milliseconds, so that a job may start before its instant."""

    def _insert(self, item: Item, now: datetime) -> Inserted:
        half = timedelta(microseconds=500)
        return super()._insert(replace(item, due=item.due and item.due + half), now)


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


@planted("test_a_released_job_goes_before_those_that_came_to_an_empty_queue")
class PlacesBeginAnewInAnEmptyQueue(Unbroken):
    """The counter of places is gone with the last queued job, and a released job stands behind new ones."""

    def _insert(self, item: Item, now: datetime) -> Inserted:
        if not self.shelf(item.id).index[State.QUEUED]:
            self.shelf(item.id)._places = 0
        return super()._insert(item, now)


@planted("test_insert_keeps_unique_keys_apart_by_queue")
class UniqueKeysSpanQueues(Unbroken):
    """A key that is held in one queue is refused in all."""

    def _insert(self, item: Item, now: datetime) -> Inserted:
        for shelf in self._shelves.values():
            if item.unique in shelf.holders:
                return Inserted(False, head_of(shelf.records[shelf.holders[item.unique]]), now)
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


@planted("test_a_unique_key_that_a_retry_took_again_is_freed_by_the_next_start")
class UniqueKeysTakenAgainAreHeldOn(Unbroken):
    """A key that a retry took again is not freed when the job starts once more."""

    def started(self, found: Record, after: Record) -> Record:
        return replace(after, unique=found.unique) if found.run else after


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
