"""Claims about `ledger`: each move from state to state is counted, in the same step, and nothing else is."""

from datetime import datetime, timedelta
from typing import Final

import pytest

from stanchion.contract.backend import Backend
from stanchion.contract.requests import Apply, Forget, Get, Insert, ReadLedger
from stanchion.model.changes import TAIL
from stanchion.model.effects import spent
from stanchion.model.ledger import (
    HOURS,
    MINUTES,
    NAMES,
    Books,
    Snapshot,
    Tally,
    Totals,
    buckets,
    difference,
    minute_of,
)
from stanchion.model.states import FIRST, Event, State
from stanchion_conformance.ground import Ground
from stanchion_conformance.making import (
    QUEUE,
    a_change,
    a_claim,
    an_item,
    applied_all,
    change,
    in_states,
    inserted,
    items,
    taken,
    the,
)
from stanchion_conformance.walking import key_of_walk, walks
from stanchion_testing.clock import VirtualClock

SECOND: Final = timedelta(seconds=1)
MINUTE: Final = timedelta(minutes=1)
HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)


def totals_of(backend: Backend, queue: str = QUEUE) -> Totals:
    """Return what a queue's ledger ever counted.

    Returns:
        The jobs and milliseconds of each row.
    """
    return dict(backend.ledger(ReadLedger(queue=queue)).totals)


def books_since(backend: Backend, since: datetime, *, hourly: bool = False) -> Books:
    """Return the ledger of the usual queue with snapshots.

    Returns:
        The totals, and the snapshots since that instant.
    """
    return backend.ledger(ReadLedger(queue=QUEUE, since=since, hourly=hourly))


class Balancing(Ground):
    """The books of a queue."""

    def test_every_row_is_counted(self, backend: Backend, clock: VirtualClock) -> None:
        """By its name, once for each job, with the time that the job had been queued or running."""
        rows = [walk for walk in walks() if walk[0] is not walk[2]]
        found = in_states(backend, {key_of_walk(row): row[0] for row in rows})
        before = totals_of(backend)
        clock.advance(milliseconds=90_001)
        jobs = [found[key_of_walk(row)] for row in rows]
        changes = (
            a_change(job, to, event=event, due=MINUTE, place=TAIL)
            for job, (_, event, to) in zip(jobs, rows, strict=True)
        )
        applied_all(backend, changes)

        right = {
            NAMES[row]: Tally(1, spent(job, row[2], clock.now())) for job, row in zip(jobs, rows, strict=True)
        }
        assert difference(totals_of(backend), before) == right
        assert right["queued.cancel.cancelled"] == Tally(1, 90_001)
        assert right["running.complete.completed"] == Tally(1, 90_001)
        assert right["scheduled.promote.queued"] == Tally(1, 0)

    def test_births_are_counted(self, backend: Backend) -> None:
        """In each state in which a job can be created."""
        for number, state in enumerate(sorted(FIRST), 1):
            inserted(backend, *items((f"{state}-{n}" for n in range(number)), state=state))

        assert totals_of(backend) == {
            f"-.enqueue.{state}": Tally(number, 0) for number, state in enumerate(sorted(FIRST), 1)
        }

    def test_claims_count_how_long_jobs_were_queued(self, backend: Backend, clock: VirtualClock) -> None:
        """Each since it was created, in whole milliseconds, summed up."""
        inserted(backend, an_item("a"))
        clock.advance(2)
        inserted(backend, an_item("b"))
        clock.advance(milliseconds=1501)
        a_claim(backend)

        assert totals_of(backend).get("queued.claim.running") == Tally(2, 3501 + 1501)

    def test_jobs_that_are_queued_again_waited_since_then(
        self, backend: Backend, clock: VirtualClock
    ) -> None:
        """Released, promoted and retried ones, not since their creation."""
        inserted(backend, an_item("scheduled", state=State.SCHEDULED, due=10 * SECOND))
        job = taken(backend, "released")
        before = totals_of(backend)
        clock.advance(10)
        change(backend, job, State.QUEUED, event=Event.RELEASE)
        a_claim(backend, limit=0)
        clock.advance(1)
        a_claim(backend)

        assert difference(totals_of(backend), before) == {
            "scheduled.promote.queued": Tally(1, 0),
            "running.release.queued": Tally(1, 10_000),
            "queued.claim.running": Tally(2, 2_000),
        }

    def test_ends_count_how_long_runs_took(self, backend: Backend, clock: VirtualClock) -> None:
        """Each by its own event, since its last start."""
        first = taken(backend, "first")
        clock.advance(60)
        change(backend, first, State.QUEUED, event=Event.LOSE)
        (second,) = a_claim(backend).records
        clock.advance(milliseconds=2)
        change(backend, second, State.COMPLETED)

        ends = {name: tally for name, tally in totals_of(backend).items() if name.startswith("running.")}
        assert ends == {"running.lose.queued": Tally(1, 60_000), "running.complete.completed": Tally(1, 2)}

    def test_long_waits_are_counted_exactly(self, backend: Backend, clock: VirtualClock) -> None:
        """Three jobs that waited for a hundred days and a millisecond: more than fits into 32 bits."""
        inserted(backend, *items("abc"))
        clock.advance(100 * DAY + timedelta(milliseconds=1))
        a_claim(backend)

        assert totals_of(backend).get("queued.claim.running") == Tally(3, 3 * (100 * 86_400_000 + 1))

    def test_what_stays_in_its_state_is_not_counted(self, backend: Backend, clock: VirtualClock) -> None:
        """Count no beats, updates and requests to cancel, in any state."""
        found = in_states(backend, {state.value: state for state in State})
        before = totals_of(backend)
        clock.advance(1)
        for state, job in found.items():
            change(
                backend, job, job.state, event=Event.BEAT if state == "running" else Event.UPDATE, due=MINUTE
            )
        change(backend, found["running"], State.RUNNING, event=Event.CANCEL, cancel="enough")

        assert totals_of(backend) == before

    def test_what_is_refused_is_not_counted(self, backend: Backend) -> None:
        """Count no change whose guard fails, no id or unique key that is taken, and no repeated claim."""
        inserted(backend, an_item("a", unique="digest", scope="end"))
        a_claim(backend, claim_id="once")
        before = totals_of(backend)
        a_claim(backend, claim_id="once")
        inserted(backend, an_item("a"), an_item("b", unique="digest", scope="end"))
        for guards in ({"claim": "stale"}, {"state": State.QUEUED}, {"if_due": True}, {"revision": 7}):
            change(backend, the(backend), State.CANCELLED, guards=guards)

        assert totals_of(backend) == before

    def test_a_call_counts_each_of_its_jobs_once(self, backend: Backend, clock: VirtualClock) -> None:
        """Insert, claim, complete and delete a whole batch in a call each."""
        size = backend.limits.batch
        backend.insert(Insert(items(f"{n}" for n in range(size))))
        clock.advance(1)
        claimed = a_claim(backend).records
        clock.advance(2)
        backend.apply(Apply([a_change(job, State.COMPLETED) for job in claimed]))
        ended = [job for job in backend.get(Get([job.id for job in claimed])) if job is not None]
        backend.apply(Apply([a_change(job, None, event=Event.EXPIRE) for job in ended]))

        assert totals_of(backend) == {
            "-.enqueue.queued": Tally(size, 0),
            "queued.claim.running": Tally(size, 1_000 * size),
            "running.complete.completed": Tally(size, 2_000 * size),
            "completed.expire.-": Tally(size, 0),
        }

    def test_a_call_counts_what_it_makes_of_one_job(self, backend: Backend) -> None:
        """Several changes of it are several moves."""
        job = taken(backend)
        before = totals_of(backend)
        backend.apply(
            Apply(
                [
                    a_change(job, State.QUEUED, event=Event.RELEASE),
                    a_change(job, State.CANCELLED, guards={"state": State.QUEUED}),
                    a_change(job, State.QUEUED, guards={"state": State.CANCELLED}),
                    a_change(job, None, guards={"state": State.QUEUED}),
                ]
            )
        )

        assert difference(totals_of(backend), before) == {
            "running.release.queued": Tally(1, 0),
            "queued.cancel.cancelled": Tally(1, 0),
            "cancelled.retry.queued": Tally(1, 0),
            "queued.delete.-": Tally(1, 0),
        }

    def test_each_queue_has_its_own_ledger(self, backend: Backend) -> None:
        """One call may write in several; a queue that does not exist has an empty one."""
        backend.insert(
            Insert([an_item("a", queue="one"), an_item("b", queue="two"), an_item("c", queue="two")])
        )
        a_claim(backend, "one", "two", limit=2)

        right = {"-.enqueue.queued": Tally(1, 0), "queued.claim.running": Tally(1, 0)}
        assert totals_of(backend, "one") == right
        assert totals_of(backend, "two") == {**right, "-.enqueue.queued": Tally(2, 0)}
        assert totals_of(backend, "nowhere") == {}

    def test_the_ledger_ends_with_its_queue(self, backend: Backend, clock: VirtualClock) -> None:
        """Begin a new queue of the same name with an empty ledger, and without snapshots."""
        inserted(backend, an_item())
        clock.advance(MINUTE)
        change(backend, the(backend), None)
        backend.forget(Forget(QUEUE))
        clock.advance(MINUTE)
        inserted(backend, an_item("b"))
        books = books_since(backend, clock.now() - HOUR)

        assert books.totals == {"-.enqueue.queued": Tally(1, 0)}
        assert list(books.snapshots) == []

    def test_reading_a_ledger_changes_nothing(self, backend: Backend, clock: VirtualClock) -> None:
        """However often, and whatever minutes pass."""
        inserted(backend, an_item())
        before = self.dump(backend)
        for _ in range(3):
            books_since(backend, clock.now() - HOUR)
            clock.advance(MINUTE)

        assert self.dump(backend) == before
        assert totals_of(backend, "nowhere") == {}
        assert list(backend.queues()) == [QUEUE]


class Remembering(Ground):
    """What a queue's ledger had counted at the end of each minute."""

    def count(self, backend: Backend, number: int = 1) -> Totals:
        """Create so many jobs, and read the ledger.

        Returns:
            What was counted until then.
        """
        made = sum(totals_of(backend)[name].jobs for name in totals_of(backend))
        inserted(backend, *items(f"{made + n}" for n in range(number)))
        return totals_of(backend)

    def test_totals_are_kept_as_a_new_minute_begins(self, backend: Backend, clock: VirtualClock) -> None:
        """With the first counting after it: what had been counted in the minute before, and until then."""
        start = minute_of(clock.now())
        clock.advance(10)
        self.count(backend)
        clock.advance(10)
        first = self.count(backend)
        clock.advance(MINUTE)
        second = self.count(backend, 3)
        clock.advance(2 * MINUTE)
        third = self.count(backend)
        books = books_since(backend, clock.now() - HOUR)

        assert (books.minute, books.totals, books.now) == (start + 3, third, clock.now())
        assert list(books.snapshots) == [Snapshot(start, first), Snapshot(start + 1, second)]

    def test_totals_alone_come_without_snapshots(self, backend: Backend, clock: VirtualClock) -> None:
        """They are asked for by an instant."""
        self.count(backend)
        clock.advance(MINUTE)
        self.count(backend)

        assert list(backend.ledger(ReadLedger(queue=QUEUE)).snapshots) == []
        assert books_since(backend, clock.now() - HOUR).snapshots

    def test_snapshots_since_an_instant_begin_with_the_last_before_it(
        self, backend: Backend, clock: VirtualClock
    ) -> None:
        """So that what was counted in its minute is known."""
        start = clock.now()
        for _ in range(6):
            self.count(backend)
            clock.advance(MINUTE)
        found = {
            minutes: [
                one.minute - minute_of(start)
                for one in books_since(backend, start + minutes * MINUTE).snapshots
            ]
            for minutes in (-5, 0, 1, 3, 4, 9)
        }

        assert found == {
            -5: [0, 1, 2, 3, 4],
            0: [0, 1, 2, 3, 4],
            1: [0, 1, 2, 3, 4],
            3: [2, 3, 4],
            4: [3, 4],
            9: [4],
        }

    def test_what_was_counted_in_each_minute_is_known(self, backend: Backend, clock: VirtualClock) -> None:
        """Also in those in which nothing was, and now."""
        start = clock.now()
        for number in (2, 0, 0, 3, 1):
            if number:
                self.count(backend, number)
            clock.advance(MINUTE)
        self.count(backend, 4)
        clock.advance(1)
        spans = buckets(books_since(backend, start), start, clock.now(), MINUTE)

        assert [one.totals.get("-.enqueue.queued", Tally()).jobs for one in spans] == [2, 0, 0, 3, 1, 4]

    @pytest.mark.parametrize("hourly", [False, True])
    def test_after_two_days_the_last_snapshot_of_each_hour_is_left(
        self, backend: Backend, clock: VirtualClock, hourly: bool
    ) -> None:
        """Keep hours; drop minutes, which then cost nothing any more."""
        start = clock.now()
        for number in (1, 2, 3):
            self.count(backend, number)
            clock.advance(10 * MINUTE)
        clock.advance(HOUR)
        self.count(backend, 4)
        clock.advance(MINUTES + HOUR)
        for number in (5, 6, 7):
            self.count(backend, number)
            clock.advance(HOUR)
        books = books_since(backend, start, hourly=hourly)
        spans = buckets(books, start, clock.now(), HOUR)
        counted = [one.totals.get("-.enqueue.queued", Tally()).jobs for one in spans]
        old = [one.minute for one in books.snapshots if one.minute < minute_of(clock.now() - MINUTES - HOUR)]

        assert [number for number in counted if number] == [6, 4, 5, 6, 7]
        assert len(old) == len({minute // 60 for minute in old}) == 2

    def test_after_ninety_days_snapshots_are_gone(self, backend: Backend, clock: VirtualClock) -> None:
        """Keep totals for ever."""
        start = clock.now()
        for _ in range(3):
            self.count(backend)
            clock.advance(DAY)
        clock.advance(HOURS)
        for _ in range(3):
            self.count(backend)
            clock.advance(HOUR)
        books = books_since(backend, start)

        assert books.totals == {"-.enqueue.queued": Tally(6, 0)}
        assert all(one.minute > minute_of(clock.now() - HOURS - 2 * DAY) for one in books.snapshots)

    def test_hourly_snapshots_know_each_hour(self, backend: Backend, clock: VirtualClock) -> None:
        """As exactly as those of all minutes."""
        start = clock.now()
        for number in range(1, 9):
            self.count(backend, number)
            clock.advance(25 * MINUTE)
        hourly, full = (books_since(backend, start, hourly=one) for one in (True, False))

        assert buckets(hourly, start, clock.now(), HOUR) == buckets(full, start, clock.now(), HOUR)
        assert len(hourly.snapshots) <= len(full.snapshots)
