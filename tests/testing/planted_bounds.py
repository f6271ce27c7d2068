"""Planted bugs in the bounds of answers and lists, in what one call does together, and for how long it is known."""

from collections.abc import Sequence
from datetime import UTC, datetime

from msgspec.structs import replace

from stanchion.contract.answers import Due, Inserted, Page, Room, size_of
from stanchion.contract.requests import Apply, Claim, FindDue, Insert, List
from stanchion.model.changes import LIST_LENGTH, Applied, Change, Refusal, Refused, Topic
from stanchion.model.effects import refuse
from stanchion.model.ordering import cursor_of
from stanchion.model.records import Entry, Record
from stanchion.model.states import State
from stanchion_memory.store import Shelf
from stanchion_memory.watching import Notices
from testing.planted import Unbroken, planted

ENDLESS = 1 << 40


class _TooStrict(Room):
    """Has no room for one job that is larger than an answer."""

    def fits(self, size: int) -> bool:
        self._any = True
        return super().fits(size)


@planted("test_a_claim_takes_no_more_bytes_than_a_call_carries")
class ClaimsByNumberAlone(Unbroken):
    """A claim is bounded by the number of its jobs, and a hundred large ones are not answered in time."""

    def _take(self, shelf: Shelf, request: Claim, room: Room, limit: int, now: datetime) -> Sequence[Record]:
        return super()._take(shelf, request, Room(ENDLESS), limit, now)


@planted("test_the_bytes_of_a_claim_are_those_of_all_its_queues")
class BoundsEachQueueOfAClaim(Unbroken):
    """A claim from three queues brings three times the bytes of a call."""

    def _take(self, shelf: Shelf, request: Claim, room: Room, limit: int, now: datetime) -> Sequence[Record]:
        return super()._take(shelf, request, Room(self.limits.bytes), limit, now)


@planted("test_a_claim_takes_a_job_that_is_larger_than_that")
class NeverHandsOutWhatIsTooLarge(Unbroken):
    """A job that is larger than an answer may be is never handed out, and neither is what stands behind it."""

    def _take(self, shelf: Shelf, request: Claim, room: Room, limit: int, now: datetime) -> Sequence[Record]:
        return super()._take(shelf, request, _TooStrict(self.limits.bytes), limit, now)


@planted("test_due_says_when_its_limit_left_some_out")
class NeverSaysThatMoreIsDue(Unbroken):
    """A sweep is answered that it has found everything."""

    def due(self, request: FindDue) -> Due:
        return replace(super().due(request), more=False)


@planted("test_due_finds_heads_however_large_the_jobs_are")
class SweepsByTheBytesOfBodies(Unbroken):
    """A sweep finds three large jobs at a time, though it only deletes them."""

    def due(self, request: FindDue) -> Due:
        answer, room = super().due(request), Room(self.limits.bytes)
        heads = [one for one in answer.heads if room.fits(size_of(self.shelf(one.id).records[one.id]))]
        return replace(answer, heads=heads, more=answer.more or len(heads) < len(answer.heads))


@planted("test_a_page_holds_heads_however_large_the_jobs_are")
class PagesByTheBytesOfBodies(Unbroken):
    """A page of large jobs is short, though it shows their heads alone."""

    def list(self, request: List) -> Page:
        page, room = super().list(request), Room(self.limits.bytes)
        found = [self.shelf(one.id).records[one.id] for one in page.heads]
        fit = [record for record in found if room.fits(size_of(record))]
        if len(fit) == len(found):
            return page
        return Page(heads=page.heads[: len(fit)], cursor=cursor_of(fit[-1]))


@planted("test_a_list_keeps_as_many_bytes_as_there_is_room_for")
class KeepsAHundredTracebacks(Unbroken):
    """Lists are bounded by the number of their entries alone, and a job grows to megabytes."""

    def kept(self, found: Record, change: Change, after: Record) -> Record:
        lists = {
            name: (*found.lists.get(name, ()), after.lists[name][-1])[-LIST_LENGTH:]
            if name in change.move.append
            else entries
            for name, entries in after.lists.items()
        }
        return replace(after, lists=lists)


@planted("test_an_entry_that_is_larger_than_a_list_is_kept_alone")
class DropsAnEntryThatIsTooLarge(Unbroken):
    """What happened last is not written down when there is much to be said of it."""

    def kept(self, found: Record, change: Change, after: Record) -> Record:
        def fitting(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
            return tuple(entry for entry in entries if len(entry.data) < 200_000)

        return replace(after, lists={name: fitting(entries) for name, entries in after.lists.items()})


@planted("test_claim_asked_again_late_answers_as_before")
class ForgetsAClaimSoon(Unbroken):
    """The answer to a claim is known for a tenth of its lease, and a late repetition takes other jobs."""

    def _remember(self, request: Claim, taken: Sequence[Record], now: datetime) -> None:
        super()._remember(replace(request, lease=request.lease / 10), taken, now)


@planted("test_a_unique_key_that_the_same_call_frees_can_be_taken")
class LooksAtUniqueKeysOnceACall(Unbroken):
    """Who holds unique keys is read before the first change of a call."""

    def apply(self, request: Apply) -> Sequence[Applied | Refused]:
        with self._open():
            held = {queue: dict(shelf.holders) for queue, shelf in self._shelves.items()}
            return [self._with(held, change) for change in request.changes]

    def _with(self, held: dict[str, dict[str, str]], change: Change) -> Applied | Refused:
        wanted = change.move.unique
        holder = held.get(change.job_id.partition(":")[0], {}).get(wanted if isinstance(wanted, str) else "")
        if holder not in (None, change.job_id):
            return refuse(Refusal.UNIQUE, self.job(change.job_id))
        return super().apply(Apply([change]))[0]


@planted("test_a_unique_key_that_the_same_call_takes_is_taken")
class LetsTwoChangesOfACallTakeAKey(Unbroken):
    """A key that was free before a call is taken by each change of it that wants it."""

    def apply(self, request: Apply) -> Sequence[Applied | Refused]:
        with self._open():
            held = {queue: dict(shelf.holders) for queue, shelf in self._shelves.items()}
            answers: list[Applied | Refused] = []
            for change in request.changes:
                shelf = self.shelf(change.job_id)
                holders, shelf.holders = shelf.holders, dict(held.get(change.job_id.partition(":")[0], {}))
                answers += super().apply(Apply([change]))
                shelf.holders = holders | shelf.holders
            return answers


@planted("test_a_queued_job_is_never_due")
class ComparesPlacesWithDeadlines(Unbroken):
    """A queued job of the highest priority counts as due since 1970."""

    def asked(self, found: Record, change: Change) -> Change:
        first = found.state is State.QUEUED and found.priority == 100
        return replace(change, if_due=False) if first else change


@planted("test_a_request_to_cancel_is_noted_with_the_instant")
class StampsRequestsWithTheCallersTime(Unbroken):
    """A request to cancel gets the time of the process that calls, not that of the backend."""

    def kept(self, found: Record, change: Change, after: Record) -> Record:
        if after.cancel is None or after.cancel == found.cancel:
            return after
        return replace(after, cancel=replace(after.cancel, at=datetime.fromtimestamp(0, UTC)))


@planted("test_an_insert_wakes_each_of_its_queues")
class WakesTheFirstQueueOfAnInsert(Unbroken):
    """The workers of the other queues of a call sleep until they look by themselves."""

    def insert(self, request: Insert) -> Sequence[Inserted]:
        with self._open():
            before = set(self._notices._woken)
            answers = super().insert(request)
            self._notices._woken &= before | {item.id.partition(":")[0] for item in request.items[:1]}
            return answers


class _OneQueue(Notices):
    first: str | None = None

    def publish(self, job_id: str, topic: Topic) -> None:
        queue = job_id.partition(":")[0]
        self.first = self.first or queue
        if queue == self.first:
            super().publish(job_id, topic)


@planted("test_one_call_is_published_in_each_of_its_queues")
class PublishesInOneQueueOfACall(Unbroken):
    """A call that ends jobs of several queues is published in one."""

    NOTICES = _OneQueue

    def apply(self, request: Apply) -> Sequence[Applied | Refused]:
        if isinstance(self._notices, _OneQueue):
            self._notices.first = None
        return super().apply(request)
