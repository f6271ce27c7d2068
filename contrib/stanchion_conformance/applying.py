"""Claims about `apply`: what a move does."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from stanchion.contract.backend import Backend
from stanchion.contract.requests import Apply, Get
from stanchion.model.changes import LIST_LENGTH, TAIL, UNCHANGED, Applied, Refusal, Refused
from stanchion.model.effects import refuse
from stanchion.model.records import Cancel, Head, head_of
from stanchion.model.states import FINAL, State
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
    counts_of,
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

    def test_the_deadline_is_moved_as_the_move_says(self, backend: Backend, clock: VirtualClock) -> None:
        """Leave it, erase it, count it from now, or take the instant given."""
        inserted(backend, *items("abcd", state=State.SCHEDULED, due=WAIT))
        start = clock.now()
        clock.advance(3)
        moves = {"a": UNCHANGED, "b": None, "c": 9 * SECOND, "d": start + timedelta(days=1)}
        for key, given in moves.items():
            change(backend, the(backend, key), State.SCHEDULED, due=given)

        deadlines = {key: the(backend, key).due_at for key in moves}
        assert deadlines == {
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
            an_item("span", state=State.SCHEDULED, due=span),
            an_item("instant", state=State.SCHEDULED, due=clock.now() + span),
            an_item("moved", state=State.SCHEDULED),
        )
        change(backend, the(backend, "moved"), State.SCHEDULED, due=clock.now() + span)

        assert [the(backend, key).due_at for key in ("span", "instant", "moved")] == [
            clock.now() + MILLISECOND
        ] * 3

    def test_a_lease_never_moves_back(self, backend: Backend, clock: VirtualClock) -> None:
        """Write the notes of a late beat with a shorter lease, but keep the lease; a longer one extends it."""
        job = taken(backend)
        shorter = a_change(job, State.RUNNING, guards={"claim": job.claim}, due=SECOND, notes={"n": b"1"})
        longer = a_change(job, State.RUNNING, guards={"claim": job.claim}, due=2 * LEASE)
        backend.apply(Apply([shorter]))
        kept = the(backend)
        backend.apply(Apply([longer]))

        assert (kept.due_at, kept.notes) == (job.due_at, {"n": b"1"})
        assert the(backend).due_at == clock.now() + 2 * LEASE

    def test_a_lapsed_lease_that_nobody_swept_can_be_extended(
        self, backend: Backend, clock: VirtualClock
    ) -> None:
        """Leave a job to its claim until it is declared lost."""
        job = taken(backend)
        clock.advance(2 * LEASE)
        answer = change(backend, job, State.RUNNING, guards={"claim": job.claim}, due=LEASE)

        assert isinstance(answer, Applied)
        assert the(backend).due_at == clock.now() + LEASE

    def test_notes_are_set_and_erased(self, backend: Backend) -> None:
        """Leave other notes as they were; a note of no bytes is a note."""
        job = taken(backend)
        change(backend, job, State.RUNNING, notes={"keep": b"\0", "set": b"old", "erase": b"x"})
        change(backend, job, State.RUNNING, notes={"set": b"", "erase": None, "absent": None})

        assert the(backend).notes == {"keep": b"\0", "set": b""}

    def test_counters_are_set_and_erased(self, backend: Backend) -> None:
        """Leave other counters as they were; zero erases one, and leaves no trace."""
        job = taken(backend)
        change(backend, job, State.RUNNING, counters={"lost": 2, "attempts": 1, "released": 7})
        change(backend, job, State.RUNNING, counters={"attempts": 3, "released": 0, "snoozed": 0})

        assert the(backend).counters == {"lost": 2, "attempts": 3}

    def test_a_request_to_cancel_is_noted_with_the_instant(
        self, backend: Backend, clock: VirtualClock
    ) -> None:
        """Note and answer the backend's now; a later request replaces it, and `None` erases it."""
        job = taken(backend)
        clock.advance(days=1000)
        answer = change(backend, job, State.RUNNING, cancel="")
        first = the(backend)
        clock.advance(1)
        change(backend, job, State.RUNNING, cancel="enough: ü")
        second = the(backend)
        change(backend, job, State.RUNNING, cancel=None)

        assert isinstance(answer, Applied)
        assert first.cancel == Cancel(at=answer.now)
        assert answer.now == clock.now() - SECOND
        assert second.cancel == Cancel(reason="enough: ü", at=clock.now())
        assert the(backend).cancel is None

    def test_an_error_is_set_and_erased(self, backend: Backend) -> None:
        """Keep an error through every state until a change names another."""
        job = taken(backend)
        change(backend, job, State.RETRYING, due=WAIT, error="ValueError: nö")
        first = the(backend)
        change(backend, first, State.QUEUED)
        second = the(backend)
        change(backend, second, State.QUEUED, error=None)

        assert (first.error, second.error, the(backend).error) == ("ValueError: nö", "ValueError: nö", None)

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
        """Drop the oldest entries once a list is full; keep the order."""
        job = taken(backend)
        numbers = [b"%d" % n for n in range(LIST_LENGTH + 30)]
        for at in range(0, len(numbers), 65):
            backend.apply(
                Apply([a_change(job, State.RUNNING, append={"log": n}) for n in numbers[at : at + 65]])
            )

        assert [entry.data for entry in the(backend).lists["log"]] == numbers[-LIST_LENGTH:]

    def test_a_priority_moves_a_queued_job(self, backend: Backend) -> None:
        """Keep its place among the jobs of its new priority."""
        inserted(backend, an_item("a"), an_item("b"), an_item("c", priority=5))
        change(backend, the(backend, "b"), State.QUEUED, priority=5)
        change(backend, the(backend, "a"), State.QUEUED, priority=-5)

        assert keys_of(listed(backend, QUEUE, State.QUEUED)) == ["b", "c", "a"]
        assert the(backend, "b").priority == 5

    def test_a_priority_set_while_a_job_waits_counts_when_it_is_queued(
        self, backend: Backend, clock: VirtualClock
    ) -> None:
        """Keep a priority through every state."""
        inserted(backend, an_item("a"), an_item("b", state=State.SCHEDULED, due=SECOND))
        change(backend, the(backend, "b"), State.SCHEDULED, priority=1)
        clock.advance(1)

        assert keys_of(a_claim(backend).records) == ["b", "a"]

    def test_a_queued_job_can_go_to_the_tail(self, backend: Backend) -> None:
        """Behind all others of its priority; unless a move says so, it stays where it stands."""
        inserted(backend, *items("abc"))
        change(backend, the(backend, "a"), State.QUEUED, place=TAIL)
        change(backend, the(backend, "b"), State.QUEUED, place=UNCHANGED)

        assert keys_of(listed(backend, QUEUE, State.QUEUED)) == ["b", "c", "a"]

    def test_a_unique_key_is_taken(self, backend: Backend) -> None:
        """Give the key to the job, and refuse it to others."""
        inserted(backend, *items("ab"))
        taken_by_a = change(backend, the(backend, "a"), State.QUEUED, unique="digest")
        refused = change(backend, the(backend, "b"), State.QUEUED, unique="digest")

        assert isinstance(taken_by_a, Applied)
        assert refused == refuse(Refusal.UNIQUE, the(backend, "b"))
        assert the(backend, "a").unique == "digest"

    def test_a_unique_key_may_be_taken_by_its_holder(self, backend: Backend) -> None:
        """Taking it twice is no conflict."""
        inserted(backend, an_item(unique="digest", scope="end"))
        answer = change(backend, the(backend), State.QUEUED, unique="digest")

        assert isinstance(answer, Applied)
        assert the(backend).unique == "digest"

    def test_a_queued_job_is_never_due(self, backend: Backend) -> None:
        """Give a queued job no deadline, whatever its priority and place."""
        inserted(backend, *(an_item(f"{n}", priority=n) for n in (-100, 0, 100)))
        for n in (-100, 0, 100):
            answer = change(backend, the(backend, f"{n}"), State.QUEUED, guards={"if_due": True})

            assert isinstance(answer, Refused)
            assert answer.why is Refusal.DUE

    def test_tags_are_set_and_erased(self, backend: Backend) -> None:
        """In their order; they stay where nothing is said of them."""
        inserted(backend, *items("abc", tags=("x", "y")))
        change(backend, the(backend, "a"), State.QUEUED, tags=("z", "x"))
        change(backend, the(backend, "b"), State.QUEUED, tags=())
        change(backend, the(backend, "c"), State.QUEUED, priority=1)

        assert [the(backend, key).tags for key in "abc"] == [("z", "x"), (), ("x", "y")]

    def test_a_unique_key_is_freed_by_another(self, backend: Backend) -> None:
        """Free the first key when a job takes another."""
        inserted(backend, an_item("a", unique="one", scope="end"))
        change(backend, the(backend), State.QUEUED, unique="two")
        answers = inserted(
            backend, an_item("b", unique="one", scope="end"), an_item("c", unique="two", scope="end")
        )

        assert [answer.created for answer in answers] == [True, False]

    def test_a_job_frees_only_a_key_that_it_holds(self, backend: Backend) -> None:
        """Freeing and deleting leave a key alone that passed to another job."""
        first = taken(backend, "a", unique="digest", scope="start")
        inserted(backend, an_item("b", unique="digest", scope="end"))
        change(backend, first, State.COMPLETED, unique=None)
        change(backend, the(backend, "a"), None)

        assert not inserted(backend, an_item("c", unique="digest", scope="end"))[0].created

    def test_a_deleted_job_is_absent(self, backend: Backend) -> None:
        """From every state in which it can be deleted; its unique key is free, its queue stays."""
        found = in_states(backend, {state.value: state for state in State if state is not State.RUNNING})
        answers = [change(backend, job, None) for job in found.values()]

        assert [answer.revision for answer in answers if isinstance(answer, Applied)] == [
            job.revision + 1 for job in found.values()
        ]
        assert list(backend.get(Get([job.id for job in found.values()]))) == [None] * len(found)
        assert not any(counts_of(backend).values())
        assert list(backend.queues()) == [QUEUE]

    def test_deleting_frees_the_unique_key(self, backend: Backend) -> None:
        """Another job can take it."""
        inserted(backend, an_item("a", unique="digest", scope="end"), an_item("b"))
        change(backend, the(backend, "a"), None)
        answer = change(backend, the(backend, "b"), State.QUEUED, unique="digest")

        assert isinstance(answer, Applied)

    def test_a_deleted_job_leaves_nothing_to_the_next_of_its_id(self, backend: Backend) -> None:
        """End notes, lists, counters and times with the job that had them."""
        job = taken(backend, "a", priority=3, unique="digest", scope="end", tags=("t",))
        change(backend, job, State.RUNNING, cancel="enough")
        change(
            backend, job, State.FAILED, notes={"n": b"4"}, append={"l": b"no"}, counters={"lost": 4}, error=""
        )
        change(backend, the(backend, "a"), None)
        inserted(backend, an_item("a"), an_item("new"))
        again, new = the(backend, "a"), the(backend, "new")

        assert replace(again, id=new.id, place=new.place) == new
        assert a_claim(backend, limit=1).records[0].run == 1

    @pytest.mark.parametrize("to", sorted(set(State) - {State.RUNNING, State.BLOCKED}))
    def test_a_job_names_its_last_claim_and_worker(self, backend: Backend, to: State) -> None:
        """After its run as well, like the run's number and start, for the record; until the next run."""
        job = taken(backend)
        change(backend, job, to, guards={"claim": job.claim}, due=WAIT)
        after = the(backend)

        assert (after.state, after.claim, after.worker) == (to, job.claim, job.worker)
        assert (after.run, after.started_at) == (1, job.started_at)

    @pytest.mark.parametrize("to", sorted(set(State) - {State.RUNNING, State.BLOCKED}))
    def test_a_run_that_ended_does_not_end_again(self, backend: Backend, to: State) -> None:
        """Refuse a claim that the job still names, but that no longer holds it."""
        job = taken(backend)
        change(backend, job, to, guards={"claim": job.claim}, due=WAIT)
        after = the(backend)
        late = change(backend, job, State.COMPLETED, guards={"claim": job.claim}, notes={"n": b"x"})

        assert late == refuse(Refusal.STATE, after)
        assert the(backend) == after

    @pytest.mark.parametrize("to", sorted(FINAL))
    def test_a_final_job_has_its_end(self, backend: Backend, clock: VirtualClock, to: State) -> None:
        """Stamped on the way in, kept while it is final, erased on the way out."""
        job = taken(backend)
        clock.advance(1)
        ended_at = clock.now()
        change(backend, job, to)
        first = the(backend)
        clock.advance(1)
        change(backend, first, to, due=WAIT)
        second = the(backend)
        change(backend, second, State.QUEUED)

        assert (first.ended_at, second.ended_at, the(backend).ended_at) == (ended_at, ended_at, None)

    def test_a_job_knows_when_it_was_last_queued(self, backend: Backend, clock: VirtualClock) -> None:
        """Each way into the queue but creation is stamped; what moves it inside the queue is not."""
        starts: dict[str, State] = {state.value: state for state in State if state is not State.QUEUED}
        found = in_states(backend, starts)
        inserted(backend, an_item("queued"))
        clock.advance(1)
        for job in found.values():
            change(backend, job, State.QUEUED)
        clock.advance(1)
        for key in ("queued", *found):
            change(backend, the(backend, key), State.QUEUED, priority=3, place=TAIL)

        assert the(backend, "queued").queued_at is None
        assert [the(backend, key).queued_at for key in found] == [clock.now() - SECOND] * len(found)

    def test_a_job_that_left_the_queue_knows_when_it_was_queued(
        self, backend: Backend, clock: VirtualClock
    ) -> None:
        """Keep that instant through its run, its end and its next wait."""
        job = taken(backend)
        clock.advance(1)
        change(backend, job, State.QUEUED)
        queued_at = clock.now()
        clock.advance(1)
        (again,) = a_claim(backend).records
        change(backend, again, State.RETRYING, due=WAIT)

        assert (again.queued_at, the(backend).queued_at) == (queued_at, queued_at)

    def test_a_refusal_shows_head_and_history(self, backend: Backend) -> None:
        """Answer what it takes to decide anew and to recognise a repetition, and no other part of the body."""
        job = taken(backend, args=b"large", tags=("t",))
        append = {"history": b"1", "errors": b"2", "log": b"3"}
        change(backend, job, State.RUNNING, notes={"saved": b"x"}, append=append, cancel="enough")
        change(backend, job, State.RUNNING, append={"history": b"2"}, counters={"lost": 1})
        answer = change(backend, job, State.COMPLETED, guards={"revision": 0})
        found = the(backend)

        assert isinstance(answer, Refused)
        assert type(answer.head) is Head
        assert answer.head == head_of(found)
        assert [entry.data for entry in answer.history] == [b"1", b"2"]
        assert answer.history == found.lists["history"]

    def test_several_changes_of_one_job_are_made_in_order(self, backend: Backend) -> None:
        """Each finds what the one before it left."""
        job = taken(backend)
        answers = backend.apply(
            Apply(
                [
                    a_change(job, State.RUNNING, append={"log": b"1"}),
                    a_change(job, State.QUEUED, guards={"revision": 0}),
                    a_change(job, State.QUEUED, guards={"revision": 1}, append={"log": b"2"}),
                    a_change(job, State.COMPLETED, guards={"claim": job.claim}),
                    a_change(job, None, guards={"state": State.QUEUED}),
                    a_change(job, State.RUNNING),
                ]
            )
        )

        words = [answer.revision if isinstance(answer, Applied) else answer.why for answer in answers]
        assert words == [1, Refusal.REVISION, 2, Refusal.STATE, 3, Refusal.ABSENT]

    def test_one_refused_change_stops_no_other(self, backend: Backend) -> None:
        """Decide each change of a call by itself, over queues too."""
        inserted(backend, an_item("a", queue="one"), an_item("b", queue="two"))
        one, two = the(backend, "a", "one"), the(backend, "b", "two")
        answers = backend.apply(
            Apply(
                [
                    a_change(one, State.CANCELLED),
                    a_change(one, State.SCHEDULED),
                    a_change(two, State.CANCELLED),
                ]
            )
        )

        assert [isinstance(answer, Applied) for answer in answers] == [True, False, True]

    def test_apply_answers_in_the_order_given(self, backend: Backend) -> None:
        """However the jobs of one call lie over queues, and whatever became of each change."""
        inserted(backend, *(an_item(key, queue=queue) for key in "ab" for queue in ("two", "one")))
        two_a, one_a, two_b, one_b = (the(backend, key, queue) for key in "ab" for queue in ("two", "one"))
        answers = backend.apply(
            Apply(
                [
                    a_change(two_a, State.CANCELLED),
                    a_change(one_a, State.CANCELLED, guards={"claim": "stale"}),
                    a_change(two_a, None, guards={"state": State.CANCELLED}),
                    a_change(one_b, State.CANCELLED, guards={"revision": 9}),
                    a_change(two_a, State.CANCELLED),
                    a_change(one_a, State.CANCELLED),
                    a_change(two_b, State.CANCELLED, guards={"state": State.SCHEDULED}),
                ]
            )
        )

        words = [answer.revision if isinstance(answer, Applied) else answer.why for answer in answers]
        assert words == [1, Refusal.CLAIM, 2, Refusal.REVISION, Refusal.ABSENT, 1, Refusal.STATE]

    def test_apply_of_nothing_does_nothing(self, backend: Backend) -> None:
        """No changes, no answers."""
        assert list(backend.apply(Apply([]))) == []

    def test_a_change_may_carry_large_notes(self, backend: Backend) -> None:
        """Keep a result of a mebibyte to the byte."""
        job = taken(backend)
        result = bytes(range(256)) * 4096
        change(backend, job, State.COMPLETED, notes={"result": result})

        assert the(backend).notes["result"] == result
