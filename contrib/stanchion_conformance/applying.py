"""Claims about `apply`: the guards, and what a move does."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from stanchion.contract.backend import Backend
from stanchion.model.changes import (
    KEEP,
    LIST_LENGTH,
    NOW,
    Applied,
    Change,
    Move,
    Place,
    Refusal,
    Refused,
    stamp,
)
from stanchion.model.states import FINAL, Event, State
from stanchion_conformance.ground import Ground
from stanchion_conformance.invariants import listed
from stanchion_conformance.making import (
    LEASE,
    QUEUE,
    WAIT,
    a_change,
    a_claim,
    an_item,
    change,
    in_states,
    inserted,
    items,
    keys_of,
    taken,
    the,
)
from stanchion_testing.clock import VirtualClock

SECOND = timedelta(seconds=1)
MILLISECOND = timedelta(milliseconds=1)


class Applying(Ground):
    """Changing jobs, whole or not at all."""

    def test_apply_refuses_a_change_of_an_absent_job(self, backend: Backend) -> None:
        """There is no record to answer with, and no queue begins to exist."""
        changes = [
            Change(job_id=job_id, event=Event.DELETE, state=State.QUEUED, move=Move(to=None))
            for job_id in ("mail:gone", "nowhere:a")
        ]
        inserted(backend, an_item())

        assert list(backend.apply(changes)) == [Refused(Refusal.ABSENT, None)] * 2
        assert list(backend.queues()) == [QUEUE]

    def test_apply_checks_the_guards_in_their_order(self, backend: Backend) -> None:
        """Of several guards that do not hold, the first in the order of the contract is answered."""
        inserted(backend, an_item("holder", unique="digest", scope="end"))
        a_claim(backend, limit=1)
        job = taken(backend, "a")
        wrong = {"claim": "other", "state": State.FAILED, "if_due": True, "revision": 7}
        right = {"claim": job.claim, "state": State.RUNNING, "if_due": False, "revision": 0}
        before = self.dump(backend)

        words = []
        for holding in range(len(wrong) + 1):
            guards = dict([*list(right.items())[:holding], *list(wrong.items())[holding:]])
            answer = change(backend, job, State.COMPLETED, guards=guards, head={"unique": "digest"})
            assert isinstance(answer, Refused)
            assert answer.record == job
            words.append(answer.why)
        assert words == [Refusal.CLAIM, Refusal.STATE, Refusal.DUE, Refusal.REVISION, Refusal.UNIQUE]
        assert self.dump(backend) == before

    def test_apply_makes_a_change_whose_guards_all_hold(self, backend: Backend, clock: VirtualClock) -> None:
        """The answer is the time and the revision after it."""
        job = taken(backend)
        clock.advance(LEASE)
        guards = {"claim": job.claim, "if_due": True, "revision": job.revision}
        answer = change(backend, job, State.COMPLETED, guards=guards, head={"unique": "digest"})

        assert answer == Applied(clock.now(), 0)
        assert the(backend).state is State.COMPLETED

    def test_a_guard_that_is_not_given_does_not_count(self, backend: Backend) -> None:
        """Without claim, due and revision only the state is compared."""
        job = taken(backend)
        change(backend, job, State.RUNNING)
        answer = change(backend, job, State.COMPLETED)

        assert isinstance(answer, Applied)

    def test_a_clock_has_run_out_at_its_instant(self, backend: Backend, clock: VirtualClock) -> None:
        """Not a millisecond before."""
        job = taken(backend)
        clock.advance(LEASE - MILLISECOND)
        early = change(backend, job, State.QUEUED, guards={"if_due": True})
        clock.advance(MILLISECOND)
        due = change(backend, job, State.QUEUED, guards={"if_due": True})

        assert early == Refused(Refusal.DUE, job)
        assert isinstance(due, Applied)

    def test_only_changes_without_a_claim_count_the_revision(self, backend: Backend) -> None:
        """A beat disturbs nobody; a cancel is noticed by everybody."""
        job = taken(backend)
        answers = [
            change(backend, job, State.RUNNING, guards={"claim": job.claim}),
            change(backend, job, State.RUNNING),
            change(backend, job, State.RUNNING, guards={"claim": job.claim, "revision": 1}),
            change(backend, job, State.QUEUED, guards={"revision": 1}),
        ]

        assert [answer.revision for answer in answers if isinstance(answer, Applied)] == [0, 1, 1, 2]
        assert the(backend).revision == 2

    def test_the_clock_is_moved_as_told(self, backend: Backend, clock: VirtualClock) -> None:
        """It stays, goes, counts from now, or is the instant given."""
        inserted(backend, *items("abcd", state=State.SCHEDULED, clock=WAIT))
        start = clock.now()
        clock.advance(3)
        moves = {"a": KEEP, "b": None, "c": 9 * SECOND, "d": start + timedelta(days=1)}
        for key, given in moves.items():
            change(backend, the(backend, key), State.SCHEDULED, clock=given)

        clocks = {key: the(backend, key).due_at for key in moves}
        assert clocks == {
            "a": start + WAIT,
            "b": None,
            "c": start + 12 * SECOND,
            "d": start + timedelta(days=1),
        }

    def test_parts_of_a_millisecond_are_cut_off(self, backend: Backend, clock: VirtualClock) -> None:
        """Every store keeps the same instant, whatever was computed."""
        span = timedelta(microseconds=1999)
        inserted(
            backend,
            an_item("span", state=State.SCHEDULED, clock=span),
            an_item("instant", state=State.SCHEDULED, clock=clock.now() + span),
            an_item("moved", state=State.SCHEDULED),
        )
        change(backend, the(backend, "moved"), State.SCHEDULED, clock=clock.now() + span)

        assert [the(backend, key).due_at for key in ("span", "instant", "moved")] == [
            clock.now() + MILLISECOND
        ] * 3

    def test_a_lease_never_moves_back(self, backend: Backend, clock: VirtualClock) -> None:
        """A late beat with a shorter lease changes its notes and not the lease; a longer one extends it."""
        job = taken(backend)
        shorter = a_change(job, State.RUNNING, guards={"claim": job.claim}, clock=SECOND, notes={"n": b"1"})
        longer = a_change(job, State.RUNNING, guards={"claim": job.claim}, clock=2 * LEASE)
        backend.apply([shorter])
        kept = the(backend)
        backend.apply([longer])

        assert (kept.due_at, kept.notes) == (job.due_at, {"n": b"1"})
        assert the(backend).due_at == clock.now() + 2 * LEASE

    def test_a_lapsed_lease_that_nobody_swept_can_be_extended(
        self, backend: Backend, clock: VirtualClock
    ) -> None:
        """The job is its claim's until it is declared lost."""
        job = taken(backend)
        clock.advance(2 * LEASE)
        answer = change(backend, job, State.RUNNING, guards={"claim": job.claim}, clock=LEASE)

        assert isinstance(answer, Applied)
        assert the(backend).due_at == clock.now() + LEASE

    def test_notes_are_set_erased_and_stamped(self, backend: Backend, clock: VirtualClock) -> None:
        """Others stay as they were."""
        job = taken(backend)
        change(backend, job, State.RUNNING, notes={"keep": b"\0", "set": b"old", "erase": b"x"})
        clock.advance(1)
        change(backend, job, State.RUNNING, notes={"set": b"", "erase": None, "absent": None, "at": NOW})

        assert the(backend).notes == {"keep": b"\0", "set": b"", "at": stamp(clock.now())}

    def test_lists_are_appended_to_with_the_time(self, backend: Backend, clock: VirtualClock) -> None:
        """Each list on its own, oldest entry first."""
        job = taken(backend)
        change(backend, job, State.RUNNING, append={"log": b"one", "errors": b"1:2:3"})
        clock.advance(1)
        change(backend, job, State.RUNNING, append={"log": b"two"})
        lists = the(backend).lists

        assert [entry.data for entry in lists["log"]] == [b"one", b"two"]
        assert [entry.at for entry in lists["log"]] == [clock.now() - SECOND, clock.now()]
        assert [entry.data for entry in lists["errors"]] == [b"1:2:3"]

    def test_lists_keep_the_newest_entries(self, backend: Backend) -> None:
        """The oldest fall off once a list is full; the order stays."""
        job = taken(backend)
        numbers = [b"%d" % n for n in range(LIST_LENGTH + 30)]
        for at in range(0, len(numbers), 65):
            backend.apply([a_change(job, State.RUNNING, append={"log": n}) for n in numbers[at : at + 65]])

        assert [entry.data for entry in the(backend).lists["log"]] == numbers[-LIST_LENGTH:]

    def test_a_priority_moves_a_queued_job(self, backend: Backend) -> None:
        """It keeps its place among the jobs of its new priority."""
        inserted(backend, an_item("a"), an_item("b"), an_item("c", priority=5))
        change(backend, the(backend, "b"), State.QUEUED, head={"priority": 5})
        change(backend, the(backend, "a"), State.QUEUED, head={"priority": -5})

        assert keys_of(listed(backend, QUEUE, State.QUEUED)) == ["b", "c", "a"]
        assert the(backend, "b").priority == 5

    def test_a_priority_set_while_a_job_waits_counts_when_it_is_queued(
        self, backend: Backend, clock: VirtualClock
    ) -> None:
        """It is kept through every state."""
        inserted(backend, an_item("a"), an_item("b", state=State.SCHEDULED, clock=SECOND))
        change(backend, the(backend, "b"), State.SCHEDULED, head={"priority": 1})
        clock.advance(1)

        assert keys_of(a_claim(backend).records) == ["b", "a"]

    def test_a_queued_job_can_go_to_the_tail(self, backend: Backend) -> None:
        """Behind all others of its priority; without being told to, it stays where it stands."""
        inserted(backend, *items("abc"))
        change(backend, the(backend, "a"), State.QUEUED, head={"place": Place.TAIL})
        change(backend, the(backend, "b"), State.QUEUED, head={"place": Place.KEEP})

        assert keys_of(listed(backend, QUEUE, State.QUEUED)) == ["b", "c", "a"]

    def test_a_unique_key_is_taken(self, backend: Backend) -> None:
        """The job holds it, and others are refused."""
        inserted(backend, *items("ab"))
        taken_by_a = change(backend, the(backend, "a"), State.QUEUED, head={"unique": "digest"})
        refused = change(backend, the(backend, "b"), State.QUEUED, head={"unique": "digest"})

        assert isinstance(taken_by_a, Applied)
        assert refused == Refused(Refusal.UNIQUE, the(backend, "b"))
        assert the(backend, "a").unique == "digest"

    def test_a_unique_key_may_be_taken_by_its_holder(self, backend: Backend) -> None:
        """Taking it twice is no conflict."""
        inserted(backend, an_item(unique="digest", scope="end"))
        answer = change(backend, the(backend), State.QUEUED, head={"unique": "digest"})

        assert isinstance(answer, Applied)
        assert the(backend).unique == "digest"

    def test_a_queued_job_is_never_due(self, backend: Backend) -> None:
        """It has no clock, whatever its priority and place."""
        inserted(backend, *(an_item(f"{n}", priority=n) for n in (-100, 0, 100)))
        for n in (-100, 0, 100):
            answer = change(backend, the(backend, f"{n}"), State.QUEUED, guards={"if_due": True})

            assert isinstance(answer, Refused)
            assert answer.why is Refusal.DUE

    def test_the_instant_of_a_note_is_that_of_the_change(self, backend: Backend, clock: VirtualClock) -> None:
        """`NOW` is the backend's time, which is answered too; not the caller's."""
        job = taken(backend)
        clock.advance(days=1000)
        answer = change(backend, job, State.RUNNING, notes={"at": NOW})

        assert isinstance(answer, Applied)
        assert answer.now == clock.now()
        assert the(backend).notes["at"] == stamp(answer.now)

    def test_a_unique_key_is_freed_by_another(self, backend: Backend) -> None:
        """A job that takes another key lets go of the one it held."""
        inserted(backend, an_item("a", unique="one", scope="end"))
        change(backend, the(backend), State.QUEUED, head={"unique": "two"})
        answers = inserted(
            backend, an_item("b", unique="one", scope="end"), an_item("c", unique="two", scope="end")
        )

        assert [answer.created for answer in answers] == [True, False]

    def test_a_job_frees_only_a_key_that_it_holds(self, backend: Backend) -> None:
        """Freeing and deleting leave a key alone that passed to another job."""
        first = taken(backend, "a", unique="digest", scope="start")
        inserted(backend, an_item("b", unique="digest", scope="end"))
        change(backend, first, State.COMPLETED, head={"unique": None})
        change(backend, the(backend, "a"), None)

        assert not inserted(backend, an_item("c", unique="digest", scope="end"))[0].created

    def test_a_deleted_job_is_absent(self, backend: Backend) -> None:
        """From every state; its unique key is free, its queue stays."""
        found = in_states(backend, {state.value: state for state in State})
        answers = [change(backend, job, None) for job in found.values()]

        assert [answer.revision for answer in answers if isinstance(answer, Applied)] == [
            job.revision + 1 for job in found.values()
        ]
        assert list(backend.get([job.id for job in found.values()])) == [None] * len(found)
        assert not any(backend.count([QUEUE])[QUEUE].values())
        assert list(backend.queues()) == [QUEUE]

    def test_deleting_frees_the_unique_key(self, backend: Backend) -> None:
        """Another job can take it."""
        inserted(backend, an_item("a", unique="digest", scope="end"), an_item("b"))
        change(backend, the(backend, "a"), None)
        answer = change(backend, the(backend, "b"), State.QUEUED, head={"unique": "digest"})

        assert isinstance(answer, Applied)

    def test_a_deleted_job_leaves_nothing_to_the_next_of_its_id(self, backend: Backend) -> None:
        """Notes, lists, counters and times end with the job that had them."""
        job = taken(backend, "a", priority=3, unique="digest", scope="end", tags=("t",))
        change(backend, job, State.FAILED, notes={"attempts": b"4"}, append={"errors": b"no"})
        change(backend, the(backend, "a"), None)
        inserted(backend, an_item("a"), an_item("new"))
        again, new = the(backend, "a"), the(backend, "new")

        assert replace(again, id=new.id, place=new.place) == new
        assert a_claim(backend, limit=1).records[0].run == 1

    @pytest.mark.parametrize("to", sorted(set(State) - {State.RUNNING}))
    def test_leaving_running_erases_claim_and_worker(self, backend: Backend, to: State) -> None:
        """The run's number and start stay, for the record."""
        job = taken(backend)
        change(backend, job, to, guards={"claim": job.claim}, clock=WAIT)
        after = the(backend)

        assert (after.claim, after.worker) == (None, None)
        assert (after.run, after.started_at) == (1, job.started_at)

    @pytest.mark.parametrize("to", sorted(FINAL))
    def test_a_final_job_has_its_end(self, backend: Backend, clock: VirtualClock, to: State) -> None:
        """Stamped on the way in, kept from one final state to another, erased on the way out."""
        job = taken(backend)
        clock.advance(1)
        ended_at = clock.now()
        change(backend, job, to)
        first = the(backend)
        clock.advance(1)
        change(backend, first, State.CANCELLED)
        second = the(backend)
        change(backend, second, State.QUEUED)

        assert (first.ended_at, second.ended_at, the(backend).ended_at) == (ended_at, ended_at, None)

    def test_several_changes_of_one_job_are_made_in_order(self, backend: Backend) -> None:
        """Each finds what the one before it left."""
        job = taken(backend)
        answers = backend.apply(
            [
                a_change(job, State.RUNNING, append={"log": b"1"}),
                a_change(job, State.QUEUED, guards={"revision": 0}),
                a_change(job, State.QUEUED, guards={"revision": 1}, append={"log": b"2"}),
                a_change(job, State.COMPLETED, guards={"claim": job.claim}),
                a_change(job, None, guards={"state": State.QUEUED}),
                a_change(job, State.RUNNING),
            ]
        )

        words = [answer.revision if isinstance(answer, Applied) else answer.why for answer in answers]
        assert words == [1, Refusal.REVISION, 2, Refusal.CLAIM, 3, Refusal.ABSENT]

    def test_one_refused_change_stops_no_other(self, backend: Backend) -> None:
        """Changes of one call stand and fall alone, over queues too."""
        inserted(backend, an_item("a", queue="one"), an_item("b", queue="two"))
        one, two = the(backend, "a", "one"), the(backend, "b", "two")
        answers = backend.apply(
            [a_change(one, State.CANCELLED), a_change(one, State.FAILED), a_change(two, State.CANCELLED)]
        )

        assert [isinstance(answer, Applied) for answer in answers] == [True, False, True]

    def test_apply_answers_in_the_order_given(self, backend: Backend) -> None:
        """However the jobs of one call lie over queues, and whatever became of each change."""
        inserted(backend, *(an_item(key, queue=queue) for key in "ab" for queue in ("two", "one")))
        two_a, one_a, two_b, one_b = (the(backend, key, queue) for key in "ab" for queue in ("two", "one"))
        answers = backend.apply(
            [
                a_change(two_a, State.CANCELLED),
                a_change(one_a, State.CANCELLED, guards={"claim": "stale"}),
                a_change(two_a, None, guards={"state": State.CANCELLED}),
                a_change(one_b, State.CANCELLED, guards={"revision": 9}),
                a_change(two_a, State.CANCELLED),
                a_change(one_a, State.CANCELLED),
                a_change(two_b, State.CANCELLED, guards={"state": State.FAILED}),
            ]
        )

        words = [answer.revision if isinstance(answer, Applied) else answer.why for answer in answers]
        assert words == [1, Refusal.CLAIM, 2, Refusal.REVISION, Refusal.ABSENT, 1, Refusal.STATE]

    def test_apply_of_nothing_does_nothing(self, backend: Backend) -> None:
        """No changes, no answers."""
        assert list(backend.apply([])) == []

    def test_a_change_may_carry_large_notes(self, backend: Backend) -> None:
        """A mebibyte of result is kept to the byte."""
        job = taken(backend)
        result = bytes(range(256)) * 4096
        change(backend, job, State.COMPLETED, notes={"result": result})

        assert the(backend).notes["result"] == result
