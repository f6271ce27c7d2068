"""Claims about `insert`."""

from datetime import timedelta

import pytest

from stanchion.contract.answers import Inserted
from stanchion.contract.backend import Backend
from stanchion.contract.requests import Apply, Get, Insert
from stanchion.model.states import FINAL, State
from stanchion_conformance.ground import Ground
from stanchion_conformance.invariants import listed
from stanchion_conformance.making import (
    QUEUE,
    a_change,
    a_claim,
    an_item,
    change,
    created,
    in_states,
    inserted,
    items,
    keys_of,
    taken,
    the,
    there,
)
from stanchion_testing.clock import VirtualClock

MEBIBYTE = 1 << 20


class Inserting(Ground):
    """Creating jobs, once each."""

    def test_insert_creates_a_job_as_it_was_given(self, backend: Backend, clock: VirtualClock) -> None:
        """Read back what was given; the rest is that of a new job."""
        tags = ("kind:welcome", "ü")
        item = an_item("a", priority=7, unique="digest", scope="start", tags=tags, policy=b"\0policy\xff")

        assert inserted(backend, item) == [Inserted(True, None, clock.now())]
        job = the(backend)
        assert (job.id, job.task, job.state, job.priority) == ("mail:a", "greet", State.QUEUED, 7)
        assert (job.unique, job.scope, job.tags) == ("digest", "start", ("kind:welcome", "ü"))
        assert (job.created_at, job.due_at, job.started_at, job.ended_at) == (clock.now(), None, None, None)
        assert (job.claim, job.worker, job.run, job.revision) == (None, None, 0, 0)
        assert (job.queued_at, job.counters, job.cancel, job.error) == (None, {}, None, None)
        assert (job.args, job.policy, job.notes, job.lists) == (item.args, item.policy, {}, {})

    @pytest.mark.parametrize("state", [State.SCHEDULED, State.BLOCKED])
    def test_insert_counts_a_deadline_from_its_own_now(
        self, backend: Backend, clock: VirtualClock, state: State
    ) -> None:
        """Count a timedelta from the backend's now; take an instant as it is; `None` is no deadline."""
        start = clock.now()
        inserted(
            backend,
            an_item("span", state=state, due=timedelta(seconds=90)),
            an_item("instant", state=state, due=start + timedelta(days=400)),
            an_item("none", state=state, due=None),
        )

        assert the(backend, "span").due_at == start + timedelta(seconds=90)
        assert the(backend, "instant").due_at == start + timedelta(days=400)
        assert the(backend, "none").due_at is None

    def test_insert_answers_a_taken_id_with_the_job_that_has_it(self, backend: Backend) -> None:
        """Create no second job of an id, and leave the first as it was."""
        inserted(backend, an_item("a", priority=1))
        before = self.dump(backend)
        other = an_item("a", priority=9, task="other", state=State.SCHEDULED, unique="digest", scope="end")

        assert inserted(backend, other) == [there(backend)]
        assert self.dump(backend) == before

    def test_insert_leaves_a_job_of_any_state_as_it_was(self, backend: Backend) -> None:
        """Keep an id taken whatever the state of its job."""
        found = in_states(backend, {state.value: state for state in State})
        before = self.dump(backend)

        answers = inserted(backend, *items(found))
        assert answers == [there(backend, key) for key in found]
        assert self.dump(backend) == before

    def test_insert_answers_a_held_unique_key_with_its_holder(self, backend: Backend) -> None:
        """Create no second job with the key."""
        inserted(backend, an_item("a", unique="digest", scope="end"))
        before = self.dump(backend)

        assert inserted(backend, an_item("b", unique="digest", scope="end")) == [there(backend)]
        assert backend.get(Get(["mail:b"])) == [None]
        assert self.dump(backend) == before

    def test_insert_keeps_unique_keys_apart_by_queue(self, backend: Backend) -> None:
        """Let the same key be held once in each queue."""
        answers = inserted(
            backend,
            an_item(queue="mail", unique="digest", scope="end"),
            an_item(queue="post", unique="digest", scope="end"),
        )

        assert [answer.created for answer in answers] == [True, True]

    def test_insert_refuses_a_unique_key_while_its_holder_runs(self, backend: Backend) -> None:
        """Hold a key whose scope is `end` until its job is final, in whatever state that is."""
        taken(backend, "a", unique="digest", scope="end")

        (answer,) = inserted(backend, an_item("b", unique="digest", scope="end"))
        assert answer == there(backend)

    def test_insert_takes_a_unique_key_that_was_freed(self, backend: Backend) -> None:
        """Free a key once a move freed it, or its holder was deleted."""
        first = taken(backend, "a", unique="digest", scope="end")
        change(backend, first, State.COMPLETED, guards={"claim": first.claim}, unique=None)
        (second,) = inserted(backend, an_item("b", unique="digest", scope="end"))
        change(backend, the(backend, "b"), None)
        (third,) = inserted(backend, an_item("c", unique="digest", scope="end"))

        assert second.created
        assert third.created

    def test_insert_makes_one_job_of_duplicates_inside_a_call(self, backend: Backend) -> None:
        """Compare ids and unique keys inside one call as between calls."""
        answers = inserted(
            backend,
            an_item("a", unique="digest", scope="end"),
            an_item("a"),
            an_item("b", unique="digest", scope="end"),
            an_item("c"),
        )

        assert [answer.created for answer in answers] == [True, False, False, True]
        assert answers[1:3] == [there(backend)] * 2
        assert keys_of(listed(backend, QUEUE, State.QUEUED)) == ["a", "c"]

    def test_insert_keeps_the_order_given(self, backend: Backend) -> None:
        """Queue jobs as they were given, call after call."""
        inserted(backend, *items("cab"))
        inserted(backend, *items("zx"))

        assert keys_of(listed(backend, QUEUE, State.QUEUED)) == ["c", "a", "b", "z", "x"]

    def test_insert_orders_queued_jobs_by_priority_first(self, backend: Backend) -> None:
        """Place a job at the tail of its priority, not of its queue."""
        inserted(
            backend, *(an_item(f"{n}", priority=n) for n in (0, -100, 100, 5)), an_item("last", priority=5)
        )

        assert keys_of(listed(backend, QUEUE, State.QUEUED)) == ["100", "5", "last", "0", "-100"]

    def test_insert_serves_several_queues_in_one_call(self, backend: Backend) -> None:
        """Each job comes to the queue that its id names, and the queues begin to exist."""
        inserted(backend, an_item("a", queue="one"), an_item("b", queue="two"), an_item("c", queue="one"))

        assert keys_of(listed(backend, "one", State.QUEUED)) == ["a", "c"]
        assert keys_of(listed(backend, "two", State.QUEUED)) == ["b"]
        assert sorted(backend.queues()) == ["one", "two"]

    def test_insert_answers_in_the_order_given(self, backend: Backend) -> None:
        """However the jobs of one call lie over queues, and whether each was created."""
        inserted(backend, an_item("a", queue="two"), an_item("a", queue="one"))
        ids = [("two", "b"), ("one", "a"), ("two", "a"), ("one", "b"), ("one", "c"), ("two", "b")]
        answers = inserted(backend, *(an_item(key, queue=queue) for queue, key in ids))

        made = [answer.created for answer in answers]
        found = [answer.head and answer.head.id for answer in answers]

        assert made == [True, False, False, True, True, False]
        assert found == [None, "one:a", "two:a", None, None, "two:b"]

    def test_a_refused_insert_takes_no_unique_key(self, backend: Backend) -> None:
        """Notice an id that is taken before the key is taken, or give the key back."""
        inserted(backend, an_item("a"))
        (refused,) = inserted(backend, an_item("a", unique="digest", scope="end"))
        (accepted,) = inserted(backend, an_item("b", unique="digest", scope="end"))

        assert not refused.created
        assert accepted == created(backend)

    def test_ids_differ_by_case(self, backend: Backend) -> None:
        """So do queues: each of them is another job."""
        ids = [("mail", "a"), ("mail", "A"), ("Mail", "a"), ("Mail", "A")]
        answers = inserted(backend, *(an_item(key, queue=queue) for queue, key in ids))

        assert [answer.created for answer in answers] == [True] * 4
        assert keys_of(listed(backend, "mail", State.QUEUED)) == ["a", "A"]
        assert keys_of(a_claim(backend, "Mail").records) == ["a", "A"]

    def test_insert_takes_a_whole_batch(self, backend: Backend) -> None:
        """One call carries as many items as the limits say."""
        keys = [f"{n:04}" for n in range(backend.limits.batch)]

        assert all(answer.created for answer in backend.insert(Insert(items(keys))))
        assert keys_of(listed(backend, QUEUE, State.QUEUED)) == keys

    @pytest.mark.parametrize(
        "given",
        [
            b"",
            b"\0",
            bytes(range(256)),
            b"\xff\xfe\xc3\x28 \xed\xa0\x80",
            b"\r\n$-1\r\n*0\r\n",
            b"1e999 nan -0 [] {}",
            bytes(range(256)) * (MEBIBYTE // 256),
        ],
        ids=["empty", "nul", "all", "invalid-utf8", "protocol", "numbers", "mebibyte"],
    )
    def test_insert_gives_bytes_back_as_they_came(self, backend: Backend, given: bytes) -> None:
        """Keep arguments, policies, notes and lists as bytes, none of which means anything to a backend."""
        inserted(backend, an_item(args=given, policy=given))
        (claimed,) = a_claim(backend).records
        backend.apply(
            Apply([a_change(claimed, State.RUNNING, notes={"saved": given}, append={"log": given})])
        )

        job = the(backend)
        assert claimed.args == job.args == given
        assert claimed.policy == job.policy == given
        assert job.notes == {"saved": given}
        assert [entry.data for entry in job.lists["log"]] == [given]

    def test_insert_takes_the_longest_names(self, backend: Backend) -> None:
        """Accept queues and keys of 128 characters, of every character allowed."""
        queue = "Az09_.-" + "q" * 121
        key = "Az09_.~:@+=-" + "k" * 116
        inserted(backend, an_item(key, queue=queue))

        assert keys_of(a_claim(backend, queue).records) == [key]
        assert list(backend.queues()) == [queue]

    def test_insert_may_be_repeated(self, backend: Backend) -> None:
        """Create nothing in a repetition, and answer with the jobs of the first time."""
        made = items("abc", unique=None)
        inserted(backend, *made)
        before = self.dump(backend)

        assert inserted(backend, *made) == [there(backend, key) for key in "abc"]
        assert self.dump(backend) == before

    def test_insert_of_nothing_does_nothing(self, backend: Backend) -> None:
        """No items, no answers, no queue."""
        assert list(backend.insert(Insert([]))) == []
        assert dict(backend.queues()) == {}

    def test_another_namespace_sees_nothing(self, backend: Backend) -> None:
        """Two namespaces on one store do not see each other's queues, jobs and unique keys."""
        other = self.reopen(backend, "elsewhere")
        if other is None:
            pytest.skip(
                "`reopen` gives none: it is to open another backend on the same store, in another namespace"
            )
        try:
            inserted(backend, an_item("a", unique="digest", scope="end"))

            assert dict(other.queues()) == {}
            assert other.get(Get(["mail:a"])) == [None]
            assert a_claim(other).records == []
            assert inserted(other, an_item("b", unique="digest", scope="end")) == [created(other)]
        finally:
            other.close()

    def test_a_final_job_keeps_its_id(self, backend: Backend) -> None:
        """Keep an id taken until its job is deleted, and free it then."""
        (job,) = in_states(backend, {"a": State.FAILED}).values()
        assert job.state in FINAL
        (refused,) = inserted(backend, an_item("a"))
        change(backend, job, None)
        (accepted,) = inserted(backend, an_item("a"))

        assert not refused.created
        assert accepted.created
        assert the(backend).run == 0
