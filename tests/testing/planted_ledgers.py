"""Planted bugs in what ledgers count, and in what they remember."""

from collections.abc import Sequence
from datetime import datetime

from msgspec.structs import replace

from stanchion.contract.answers import Claimed, Inserted
from stanchion.contract.requests import Apply, Claim, Forget, ReadLedger
from stanchion.model.changes import Applied, Change, Refused
from stanchion.model.ledger import Books, Ledger, Snapshot, Snapshots, Tally, minute_of
from stanchion.model.records import Item
from stanchion.model.states import Event, State
from testing.planted import LenientShelf, Unbroken, planted


class _NoPromotions(LenientShelf):
    def count_move(
        self, state: State | None, event: Event, to: State | None, now: datetime, ms: int = 0
    ) -> None:
        if event is not Event.PROMOTE:
            super().count_move(state, event, to, now, ms)


@planted("test_jobs_that_are_queued_again_waited_since_then")
class PromotionsAreNotCounted(Unbroken):
    """What a backend does by itself inside a claim is missing in the ledger."""

    SHELF = _NoPromotions


class _ClaimsTwice(LenientShelf):
    def count_move(
        self, state: State | None, event: Event, to: State | None, now: datetime, ms: int = 0
    ) -> None:
        super().count_move(state, event, to, now, ms)
        if event is Event.CLAIM:
            super().count_move(state, event, to, now)


@planted("test_claims_count_how_long_jobs_were_queued")
class ClaimsAreCountedTwice(Unbroken):
    """Each start counts as two."""

    SHELF = _ClaimsTwice


class _OneEnd(LenientShelf):
    def count_move(
        self, state: State | None, event: Event, to: State | None, now: datetime, ms: int = 0
    ) -> None:
        super().count_move(state, Event.LOSE if event is Event.RELEASE else event, to, now, ms)


@planted("test_every_row_is_counted")
class ReleasesAreCountedAsLosses(Unbroken):
    """The right states and the wrong event: the balance is right, and each deployment looks like a crash."""

    SHELF = _OneEnd


class _WholeSeconds(LenientShelf):
    def count_move(
        self, state: State | None, event: Event, to: State | None, now: datetime, ms: int = 0
    ) -> None:
        super().count_move(state, event, to, now, ms // 1000 * 1000)


@planted("test_claims_count_how_long_jobs_were_queued")
class LatenciesAreInWholeSeconds(Unbroken):
    """What waits for less than a second did not wait at all."""

    SHELF = _WholeSeconds


class _ThirtyTwoBits(LenientShelf):
    def count_move(
        self, state: State | None, event: Event, to: State | None, now: datetime, ms: int = 0
    ) -> None:
        super().count_move(state, event, to, now, ms & 0x7FFFFFFF)


@planted("test_long_waits_are_counted_exactly")
class LatenciesHaveThirtyTwoBits(Unbroken):
    """Waits of more than 24 days come out short."""

    SHELF = _ThirtyTwoBits


class _EachTime(LenientShelf):
    def count_move(
        self, state: State | None, event: Event, to: State | None, now: datetime, ms: int = 0
    ) -> None:
        if state is to and state is State.QUEUED:
            to = State.SCHEDULED
        super().count_move(state, event, to, now, ms)


@planted("test_what_stays_in_its_state_is_not_counted")
class UpdatesAreCounted(Unbroken):
    """A change of a priority counts as a move."""

    SHELF = _EachTime


@planted("test_what_is_refused_is_not_counted")
class RefusalsAreCounted(Unbroken):
    """The ledger is written first, and the guards looked at then."""

    def _apply(self, change: Change, now: datetime) -> Applied | Refused:
        found = self.job(change.job_id)
        answer = super()._apply(change, now)
        if isinstance(answer, Refused) and found is not None:
            self.shelf(found.id).count_move(found.state, change.event, change.move.to, now)
        return answer


@planted("test_what_is_refused_is_not_counted")
class RepeatedInsertsAreCounted(Unbroken):
    """A job that was there is counted as created."""

    def _insert(self, item: Item, now: datetime) -> Inserted:
        answer = super()._insert(item, now)
        if not answer.created:
            self.shelf(item.id).count_move(None, Event.ENQUEUE, item.state, now)
        return answer


@planted("test_a_call_counts_each_of_its_jobs_once")
class CallsAreCounted(Unbroken):
    """A row is counted once for each call, however many jobs took it."""

    def apply(self, request: Apply) -> Sequence[Applied | Refused]:
        with self._open():
            answers = super().apply(Apply(request.changes[:1]))
            kept = {name: dict(shelf.account.ledger.totals) for name, shelf in self._shelves.items()}
            answers = [*answers, *super().apply(Apply(request.changes[1:]))]
            for name, totals in kept.items():
                self._shelves[name].account.ledger.totals = totals
            return answers


@planted("test_births_are_counted")
class BirthsAreNotCounted(Unbroken):
    """A ledger begins with the first change."""

    def _insert(self, item: Item, now: datetime) -> Inserted:
        answer = super()._insert(item, now)
        if answer.created:
            self.shelf(item.id).account.ledger.totals.pop(f"-.enqueue.{item.state}")
        return answer


@planted("test_each_queue_has_its_own_ledger")
class CountsInTheFirstQueueOfAClaim(Unbroken):
    """One call that takes jobs of several queues counts all in one."""

    def claim(self, request: Claim) -> Claimed:
        answer = super().claim(request)
        name, shelves = "queued.claim.running", self.shelves_of(request.queues)
        counted = [
            shelf.account.ledger.totals.pop(name) for shelf in shelves if name in shelf.account.ledger.totals
        ]
        if counted:
            jobs, ms = sum(one.jobs for one in counted), sum(one.ms for one in counted)
            shelves[0].account.ledger.totals[name] = Tally(jobs, ms)
        return answer


@planted("test_the_ledger_ends_with_its_queue")
class LedgersOutliveTheirQueue(Unbroken):
    """A queue that is made anew begins with the numbers of the one that was forgotten."""

    def forget(self, request: Forget) -> bool:
        old = self._shelves.get(request.queue)
        gone = super().forget(request)
        if gone and old is not None:
            self.seen[request.queue] = old.account.ledger
        return gone

    def _insert(self, item: Item, now: datetime) -> Inserted:
        answer = super()._insert(item, now)
        old = self.seen.pop(item.id.partition(":")[0], None)
        if isinstance(old, Ledger):
            totals = self.shelf(item.id).account.ledger.totals
            totals.update(old.totals)
        return answer


@planted("test_the_ledger_ends_with_its_queue")
class SnapshotsOutliveTheirQueue(Unbroken):
    """A queue that is made anew seems to have had jobs before."""

    def forget(self, request: Forget) -> bool:
        old = self._shelves.get(request.queue)
        gone = super().forget(request)
        if gone and old is not None:
            self.seen[request.queue] = [
                *old.account.snapshots.kept,
                Snapshot(old.account.ledger.minute, old.account.ledger.totals),
            ]
        return gone

    def _insert(self, item: Item, now: datetime) -> Inserted:
        answer = super()._insert(item, now)
        self.shelf(item.id).account.snapshots.kept += self.seen.pop(item.id.partition(":")[0], [])
        return answer


class _Late(LenientShelf):
    def count_move(
        self, state: State | None, event: Event, to: State | None, now: datetime, ms: int = 0
    ) -> None:
        before = len(self.account.snapshots.kept)
        super().count_move(state, event, to, now, ms)
        if len(self.account.snapshots.kept) > before:
            last = self.account.snapshots.kept[-1]
            self.account.snapshots.kept[-1] = replace(last, totals=dict(self.account.ledger.totals))


@planted("test_totals_are_kept_as_a_new_minute_begins")
class SnapshotsAreTakenTooLate(Unbroken):
    """The first counting of a minute falls into the one before."""

    SHELF = _Late


class _Hours(LenientShelf):
    def count_move(
        self, state: State | None, event: Event, to: State | None, now: datetime, ms: int = 0
    ) -> None:
        super().count_move(state, event, to, now, ms)
        last = {one.minute // 60: one for one in self.account.snapshots.kept}
        self.account.snapshots.kept = list(last.values())


@planted("test_what_was_counted_in_each_minute_is_known")
class MinutesAreForgottenSoon(Unbroken):
    """Only the last snapshot of each hour is kept, from the beginning."""

    SHELF = _Hours


class _Endless(Snapshots):
    def keep(self, snapshot: Snapshot | None) -> None:
        if snapshot is not None:
            self.kept.append(snapshot)


class _Growing(LenientShelf):
    def __init__(self) -> None:
        super().__init__()
        self.account.snapshots = _Endless()


@planted("test_after_two_days_the_last_snapshot_of_each_hour_is_left")
class SnapshotsAreKeptForEver(Unbroken):
    """A busy queue's ledger has half a million snapshots after a year."""

    SHELF = _Growing


class _FirstOfAnHour(Snapshots):
    def keep(self, snapshot: Snapshot | None) -> None:
        if snapshot is None:
            return
        oldest = snapshot.minute - 2 * 24 * 60
        hours: dict[int, Snapshot] = {}
        for one in self.kept:
            hours.setdefault(one.minute // 60, one)
        self.kept = [one for one in self.kept if one.minute > oldest or hours[one.minute // 60] is one]
        self.kept.append(snapshot)


class _Thinned(LenientShelf):
    def __init__(self) -> None:
        super().__init__()
        self.account.snapshots = _FirstOfAnHour()


@planted("test_after_two_days_the_last_snapshot_of_each_hour_is_left")
class TheFirstSnapshotOfAnHourIsKept(Unbroken):
    """What was counted later in an hour seems to have been counted in the next one."""

    SHELF = _Thinned


class _Year(Snapshots):
    def keep(self, snapshot: Snapshot | None) -> None:
        if snapshot is None:
            return
        last = {one.minute // 60: one for one in self.kept}
        oldest = snapshot.minute - 2 * 24 * 60
        self.kept = [one for one in self.kept if one.minute > oldest or last[one.minute // 60] is one]
        self.kept.append(snapshot)


class _Old(LenientShelf):
    def __init__(self) -> None:
        super().__init__()
        self.account.snapshots = _Year()


@planted("test_after_ninety_days_snapshots_are_gone")
class HoursAreKeptForEver(Unbroken):
    """Snapshots are thinned, and none is ever dropped."""

    SHELF = _Old


@planted("test_snapshots_since_an_instant_begin_with_the_last_before_it")
class SinceLeavesTheOneBeforeOut(Unbroken):
    """What was counted in the first minute asked for seems to be all that was ever counted before."""

    def ledger(self, request: ReadLedger) -> Books:
        books, since = super().ledger(request), request.since
        later = [one for one in books.snapshots if since is not None and one.minute >= minute_of(since)]
        return replace(books, snapshots=later)


@planted("test_totals_alone_come_without_snapshots")
class SnapshotsComeWithEveryReading(Unbroken):
    """Whoever asks for the totals gets three days of snapshots with them."""

    def ledger(self, request: ReadLedger) -> Books:
        books = super().ledger(request)
        return replace(
            books,
            snapshots=[
                one for shelf in self.shelves_of([request.queue]) for one in shelf.account.snapshots.kept
            ],
        )


@planted("test_hourly_snapshots_know_each_hour")
class HoursBeginWithTheirFirstSnapshot(Unbroken):
    """Asked for hours, it answers the first snapshot of each."""

    def ledger(self, request: ReadLedger) -> Books:
        books = super().ledger(request)
        first: dict[int, Snapshot] = {}
        for one in books.snapshots:
            first.setdefault(one.minute // 60, one)
        return replace(books, snapshots=list(first.values())) if request.hourly else books


@planted("test_reading_a_ledger_changes_nothing")
class ReadingALedgerClosesItsMinute(Unbroken):
    """Each look at the books makes a snapshot, and makes a queue of a name that was misspelt."""

    def ledger(self, request: ReadLedger) -> Books:
        self._shelves.setdefault(request.queue, self.SHELF())
        return super().ledger(request)


@planted("test_a_call_counts_what_it_makes_of_one_job")
class CountsTheLastMoveOfAJob(Unbroken):
    """Several changes of one job in a call are counted as the way from the first state to the last."""

    def apply(self, request: Apply) -> Sequence[Applied | Refused]:
        with self._open():
            kept = {name: dict(shelf.account.ledger.totals) for name, shelf in self._shelves.items()}
            answers = super().apply(request)
            if len({change.job_id for change in request.changes}) < len(request.changes):
                for name, totals in kept.items():
                    self._shelves[name].account.ledger.totals = totals
            return answers


class _NoRuns(LenientShelf):
    def count_move(
        self, state: State | None, event: Event, to: State | None, now: datetime, ms: int = 0
    ) -> None:
        super().count_move(state, event, to, now, 0 if state is State.RUNNING else ms)


@planted("test_ends_count_how_long_runs_took")
class RunsTakeNoTime(Unbroken):
    """Only waits are summed up."""

    SHELF = _NoRuns
