"""Planted bugs in jobs that are inserted running, and in how settings are changed."""

from datetime import datetime, timedelta

from msgspec.structs import replace

from stanchion.contract.answers import Configured, Due, Inserted
from stanchion.contract.requests import Configure, FindDue, Forget
from stanchion.model.changes import Change
from stanchion.model.queues import QueueSettings
from stanchion.model.records import Item, Record
from stanchion.model.states import Event, State
from testing.planted import Unbroken, planted


class Born(Unbroken):
    """Has a place where a bug in jobs that are born running can be planted."""

    def born(self, record: Record) -> Record:
        """Return what is kept of a job that was inserted running."""
        return record

    def _insert(self, item: Item, now: datetime) -> Inserted:
        answer = super()._insert(item, now)
        if answer.created and item.state is State.RUNNING:
            self.put(self.born(self.shelf(item.id).records[item.id]))
        return answer


@planted("test_a_job_can_be_inserted_running")
class BornWithoutARun(Born):
    """A job that is inserted running has not been started yet."""

    def born(self, record: Record) -> Record:
        return replace(record, run=0, started_at=None)


@planted("test_a_job_can_be_inserted_running")
class BornAsIfQueued(Born):
    """A job that is inserted running seems to have been queued again."""

    def born(self, record: Record) -> Record:
        return replace(record, queued_at=record.created_at, revision=1)


@planted("test_it_is_held_by_its_claim")
class BornWithAClaimOfItsOwn(Born):
    """The claim that was given is not the one that holds the job."""

    def born(self, record: Record) -> Record:
        return replace(record, claim=f"{record.claim}-1")


@planted("test_it_is_lost_when_its_lease_lapses")
class BornForEver(Born):
    """A job that is inserted running is never found to be lost."""

    def due(self, request: FindDue) -> Due:
        answer = super().due(request)
        return replace(answer, heads=[one for one in answer.heads if one.id not in self.seen])

    def born(self, record: Record) -> Record:
        self.seen[record.id] = record
        return record


@planted("test_it_stands_where_it_would_stand_if_it_had_been_claimed")
class BornWithoutAPlace(Born):
    """Jobs that were inserted running and are released all go first, in no order."""

    def born(self, record: Record) -> Record:
        return replace(record, place=0)


@planted("test_its_insert_may_be_repeated")
class BornAgain(Unbroken):
    """A repeated insert of a running job takes it over."""

    def _insert(self, item: Item, now: datetime) -> Inserted:
        there = self.job(item.id)
        if there is not None and item.state is State.RUNNING:
            self.put(replace(there, claim=item.claim, due_at=now + timedelta(hours=1)))
        return super()._insert(item, now)


@planted("test_its_unique_key_is_held_as_by_a_job_that_was_started")
class BornWithAKeyItHasNot(Unbroken):
    """A key that is held until the start is held on by a job that started when it was inserted."""

    def _insert(self, item: Item, now: datetime) -> Inserted:
        answer = super()._insert(item, now)
        if answer.created and item.state is State.RUNNING and item.unique is not None:
            self.put(replace(self.shelf(item.id).records[item.id], unique=item.unique))
        return answer


@planted("test_it_is_not_inserted_while_its_unique_key_is_held")
class BornPastItsKey(Unbroken):
    """A key that would be free at once is not looked at."""

    def _insert(self, item: Item, now: datetime) -> Inserted:
        passes = item.state is State.RUNNING and item.scope == "start"
        return super()._insert(replace(item, unique=None) if passes else item, now)


@planted("test_its_way_is_counted")
class BornsAreCountedAsClaims(Unbroken):
    """A job that is inserted running is counted as queued, and then as claimed."""

    def _insert(self, item: Item, now: datetime) -> Inserted:
        answer = super()._insert(item, now)
        if answer.created and item.state is State.RUNNING:
            shelf = self.shelf(item.id)
            shelf.count_move(None, Event.ENQUEUE, State.QUEUED, now)
            shelf.count_move(State.QUEUED, Event.CLAIM, State.RUNNING, now)
            shelf.account.ledger.totals.pop("-.enqueue.running")
        return answer


@planted("test_it_is_handed_to_no_claim")
class BornAreReady(Born):
    """A job that is inserted running can be claimed as well."""

    def born(self, record: Record) -> Record:
        return replace(record, state=State.QUEUED, due_at=None)


# Settings


@planted("test_configure_leaves_settings_alone_that_it_does_not_name")
class SettingsAreReplaced(Unbroken):
    """What a caller does not name gets its default: who changes one setting undoes another."""

    def configure(self, request: Configure) -> Configured:
        unset = [name for name in QueueSettings.__struct_fields__ if name not in request.set]
        return super().configure(replace(request, unset=unset))


@planted("test_configure_answers_the_settings_before_and_after")
class AnswersTheSettingsAfterTwice(Unbroken):
    """A caller does not learn whether it changed anything."""

    def configure(self, request: Configure) -> Configured:
        answer = super().configure(request)
        return replace(answer, before=answer.after)


@planted("test_configure_answers_the_settings_before_and_after")
class NothingIsUnset(Unbroken):
    """A setting that is to get its default stays as it is."""

    def configure(self, request: Configure) -> Configured:
        return super().configure(replace(request, unset=()))


@planted("test_configuring_twice_is_configuring_once")
class SettingTwiceIsUnsetting(Unbroken):
    """A setting that is as it shall be is toggled."""

    def configure(self, request: Configure) -> Configured:
        settings = self.queues().get(request.queue)
        if settings is not None and request.set.get("paused") is settings.paused:
            return super().configure(replace(request, set={"paused": not settings.paused}))
        return super().configure(request)


@planted("test_configure_creates_its_queue")
class AnEmptyPatchIsNothing(Unbroken):
    """A queue is created by its first setting, and not by a call that changes none."""

    def configure(self, request: Configure) -> Configured:
        if not request.set and not request.unset and request.queue not in self.queues():
            return Configured(before=QueueSettings(), after=QueueSettings())
        return super().configure(request)


@planted("test_configure_of_one_queue_leaves_the_others")
class SettingsSpanQueues(Unbroken):
    """A setting counts for all queues whose names begin the same."""

    def configure(self, request: Configure) -> Configured:
        for name in self.queues():
            if name.startswith(request.queue):
                super().configure(replace(request, queue=name))
        return super().configure(request)


@planted("test_reserved_queues_are_queues_like_others")
class ReservedQueuesAreHidden(Unbroken):
    """The store hides what is for the program to hide."""

    def queues(self) -> dict[str, QueueSettings]:
        return {name: one for name, one in super().queues().items() if not name.startswith("stanchion.")}


@planted("test_reserved_queues_are_queues_like_others")
class ReservedQueuesAreForgotten(Unbroken):
    """Queues of this program's own are never taken for in use."""

    def forget(self, request: Forget) -> bool:
        return super().forget(request) or request.queue.startswith("stanchion.")


@planted("test_a_repeated_retry_leaves_the_next_life_alone")
class RetriesWhateverHasTheId(Unbroken):
    """A retry is meant for whichever job has the id now."""

    def asked(self, found: Record, change: Change) -> Change:
        retried = change.event is Event.RETRY
        return replace(change, created_at=None, revision=None, state=found.state) if retried else change


@planted("test_what_is_asked_of_a_job_known_by_its_head_leaves_the_next_life_alone")
class DecidesForTheNextLife(Unbroken):
    """Two lives that began in the same second are taken for one."""

    def asked(self, found: Record, change: Change) -> Change:
        at = change.created_at
        same = at is not None and at.replace(microsecond=0) == found.created_at.replace(microsecond=0)
        return replace(change, created_at=found.created_at) if same else change
