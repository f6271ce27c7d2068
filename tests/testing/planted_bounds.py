"""Planted bugs in the bounds of answers and lists, in what one call does together, and for how long it is known."""

from collections.abc import Sequence
from datetime import datetime

from msgspec.structs import replace

from stanchion.contract.answers import Due, Inserted, Page, Room
from stanchion.contract.backend import Topic
from stanchion.model.changes import LIST_LENGTH, Applied, Change, Refusal, Refused, stamp
from stanchion.model.records import Entry, Item, Record
from stanchion.model.states import State
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

    def _room(self) -> Room:
        return Room(ENDLESS)


@planted("test_a_claim_takes_a_job_that_is_larger_than_that")
class NeverHandsOutWhatIsTooLarge(Unbroken):
    """A job that is larger than an answer may be is never handed out, and neither is what stands behind it."""

    def _room(self) -> Room:
        return _TooStrict(self.limits.bytes)


@planted("test_due_says_when_its_limit_left_some_out")
class NeverSaysThatMoreIsDue(Unbroken):
    """A sweep is told that it has found everything."""

    def due(self, queues: Sequence[str], limit: int) -> Due:
        return replace(super().due(queues, limit), more=False)


@planted("test_a_page_holds_no_more_bytes_than_a_call_carries")
class EndsAListWhereItsFirstPageIsFull(Unbroken):
    """A page that is full by its bytes says that it is the last one."""

    def list(self, queue: str, state: State, cursor: str | None = None) -> Page:
        page = super().list(queue, state, cursor)
        return page if len(page.records) == self.limits.batch else replace(page, cursor=None)


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

    def _remember(self, claim_id: str, ends: datetime, taken: list[Record], now: datetime) -> None:
        super()._remember(claim_id, now + (ends - now) / 10, taken, now)


@planted("test_a_unique_key_that_the_same_call_frees_can_be_taken")
class LooksAtUniqueKeysOnceACall(Unbroken):
    """Who holds unique keys is read before the first change of a call."""

    def apply(self, changes: Sequence[Change]) -> Sequence[Applied | Refused]:
        with self._open():
            held = {queue: dict(shelf.holders) for queue, shelf in self._shelves.items()}
            return [self._with(held, change) for change in changes]

    def _with(self, held: dict[str, dict[str, str]], change: Change) -> Applied | Refused:
        wanted = change.move.head.get("unique")
        holder = held.get(change.job_id.partition(":")[0], {}).get(wanted or "")
        if holder not in (None, change.job_id):
            return Refused(Refusal.UNIQUE, self.job(change.job_id))
        return super().apply([change])[0]


@planted("test_a_unique_key_that_the_same_call_takes_is_taken")
class LetsTwoChangesOfACallTakeAKey(Unbroken):
    """A key that was free before a call is taken by each change of it that wants it."""

    def apply(self, changes: Sequence[Change]) -> Sequence[Applied | Refused]:
        with self._open():
            held = {queue: dict(shelf.holders) for queue, shelf in self._shelves.items()}
            answers = []
            for change in changes:
                shelf = self.shelf(change.job_id)
                holders, shelf.holders = shelf.holders, dict(held.get(change.job_id.partition(":")[0], {}))
                answers += super().apply([change])
                shelf.holders = holders | shelf.holders
            return answers


@planted("test_a_queued_job_is_never_due")
class ComparesPlacesWithClocks(Unbroken):
    """A queued job of the highest priority counts as due since 1970."""

    def asked(self, found: Record, change: Change) -> Change:
        first = found.state is State.QUEUED and found.priority == 100
        return replace(change, if_due=False) if first else change


@planted("test_the_instant_of_a_note_is_that_of_the_change")
class StampsNotesWithTheCallersTime(Unbroken):
    """A note that asks for the backend's time gets that of the process that calls."""

    def kept(self, found: Record, change: Change, after: Record) -> Record:
        mine = stamp(datetime.fromtimestamp(0, tz=after.created_at.tzinfo))
        stamped = [name for name, value in change.move.notes.items() if not isinstance(value, bytes | None)]
        return replace(after, notes={**after.notes, **dict.fromkeys(stamped, mine)})


@planted("test_an_insert_wakes_each_of_its_queues")
class WakesTheFirstQueueOfAnInsert(Unbroken):
    """The workers of the other queues of a call sleep until they look by themselves."""

    def insert(self, items: Sequence[Item]) -> Sequence[Inserted]:
        with self._open():
            before = set(self._woken)
            answers = super().insert(items)
            self._woken &= before | {item.id.partition(":")[0] for item in items[:1]}
            return answers


@planted("test_one_call_is_heard_of_in_each_of_its_queues")
class TellsOneChannelOfACall(Unbroken):
    """A call that ends jobs of several queues is heard of in one."""

    def apply(self, changes: Sequence[Change]) -> Sequence[Applied | Refused]:
        self.seen.pop("told", None)
        return super().apply(changes)

    def _tell(self, job_id: str, topic: Topic) -> None:
        if self.seen.setdefault("told", job_id.partition(":")[0]) == job_id.partition(":")[0]:
            super()._tell(job_id, topic)
