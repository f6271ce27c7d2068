"""Claims about `get`, `list`, `count` and `now`; filters of a listing are a group of their own."""

from datetime import UTC, timedelta

import pytest

from stanchion.contract.backend import Backend
from stanchion.contract.requests import Check, Count, Get, List, ReadLedger
from stanchion.model.changes import TAIL
from stanchion.model.records import head_of
from stanchion.model.states import State
from stanchion_conformance.ground import Ground
from stanchion_conformance.invariants import broken, findings, listed
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
    keys_of,
    the,
)
from stanchion_testing.clock import VirtualClock

SECOND = timedelta(seconds=1)


class Reading(Ground):
    """Looking at jobs, changing nothing."""

    def test_get_answers_in_the_order_asked(self, backend: Backend) -> None:
        """None stands for a job that is not there; a job asked for twice is answered twice."""
        inserted(backend, an_item("a"), an_item("b", queue="other"))
        found = backend.get(Get(["other:b", "mail:gone", "mail:a", "nowhere:a", "other:b"]))

        assert [record and record.id for record in found] == ["other:b", None, "mail:a", None, "other:b"]

    def test_get_of_nothing_answers_nothing(self, backend: Backend) -> None:
        """No ids, no jobs."""
        assert list(backend.get(Get([]))) == []

    def test_reading_changes_nothing(self, backend: Backend, clock: VirtualClock) -> None:
        """Nor does it make queues exist."""
        in_states(backend, {state.value: state for state in State})
        clock.advance(days=30)
        before = self.dump(backend)
        backend.get(Get(["mail:queued", "nowhere:a"]))
        backend.list(List(queue="nowhere", state=State.QUEUED, tag="t"))
        backend.ledger(ReadLedger(queue="nowhere"))
        backend.count(Count([QUEUE, "nowhere"]))
        backend.check(Check("nowhere"))
        backend.now()

        assert self.dump(backend) == before

    def test_list_of_an_unknown_queue_is_one_empty_page(self, backend: Backend) -> None:
        """In every state."""
        pages = [backend.list(List(queue="nowhere", state=state)) for state in State]

        assert [(page.heads, page.cursor) for page in pages] == [([], None)] * len(State)

    def test_list_holds_each_job_in_its_state_alone(self, backend: Backend) -> None:
        """Every job is on the pages of one state."""
        found = in_states(backend, {state.value: state for state in State})

        assert {state: listed(backend, QUEUE, state) for state in State} == {
            state: [head_of(found[state.value])] for state in State
        }

    def test_list_of_queued_jobs_is_the_order_of_claims(self, backend: Backend) -> None:
        """List first what is taken first."""
        inserted(
            backend, *(an_item(f"{n:04}", priority=n * 7 % 5 - 2) for n in range(backend.limits.batch + 20))
        )
        change(backend, the(backend, "0007"), State.QUEUED, place=TAIL)
        order = keys_of(listed(backend, QUEUE, State.QUEUED))

        assert keys_of(a_claim(backend).records + a_claim(backend).records) == order

    @pytest.mark.parametrize("state", [State.SCHEDULED, State.BLOCKED])
    def test_list_of_waiting_jobs_is_by_deadline(self, backend: Backend, state: State) -> None:
        """List the earliest first, and those without a deadline last."""
        deadlines = {"none": None, "c": 3 * SECOND, "a": SECOND, "b": 2 * SECOND}
        inserted(backend, *(an_item(key, state=state, due=due) for key, due in deadlines.items()))

        assert keys_of(listed(backend, QUEUE, state)) == ["a", "b", "c", "none"]

    def test_list_of_jobs_kept_for_ever_is_by_their_end(self, backend: Backend, clock: VirtualClock) -> None:
        """They have no deadline; the one that ended first stands first."""
        for key in "cab":
            inserted(backend, an_item(key))
            (job,) = a_claim(backend).records
            change(backend, job, State.COMPLETED, due=None)
            clock.advance(1)

        assert keys_of(listed(backend, QUEUE, State.COMPLETED)) == ["c", "a", "b"]

    def test_a_page_is_at_most_a_batch(self, backend: Backend) -> None:
        """Answer a full last page with or without a cursor to an empty one."""
        batch = backend.limits.batch
        inserted(backend, *items(f"{n:04}" for n in range(batch + 1)))
        first = backend.list(List(queue=QUEUE, state=State.QUEUED))
        assert first.cursor is not None
        second = backend.list(List(queue=QUEUE, state=State.QUEUED, cursor=first.cursor))

        assert (len(first.heads), len(second.heads)) == (batch, 1)
        assert second.cursor is None

    @pytest.mark.parametrize("deadlines", ["all different", "all the same"])
    def test_a_job_that_stays_put_is_listed_once_while_others_come_and_go(
        self, backend: Backend, deadlines: str
    ) -> None:
        """Between two pages, jobs of the pages before leave and others arrive before and behind the cursor."""
        size = backend.limits.batch
        step = SECOND if deadlines == "all different" else timedelta(0)
        keys = [f"{'aBcD'[n % 4]}{n:04}" for n in range(3 * size)]
        inserted(
            backend,
            *(an_item(key, state=State.SCHEDULED, due=60 * SECOND + n * step) for n, key in enumerate(keys)),
        )
        seen: list[str] = []
        gone: list[str] = []
        cursor = None
        for turn in range(4):
            page = backend.list(List(queue=QUEUE, state=State.SCHEDULED, cursor=cursor))
            seen += keys_of(page.heads)
            leaving = page.heads[::2] + page.heads[-1:]
            gone += keys_of(leaving)
            applied_all(backend, {job.id: a_change(job, State.CANCELLED) for job in leaving}.values())
            new = [
                an_item(f"new{turn}{n}", state=State.SCHEDULED, due=(1 + n) * 40 * SECOND) for n in range(9)
            ]
            inserted(backend, *new)
            cursor = page.cursor

        assert set(gone) <= set(seen)
        assert sorted(key for key in seen if not key.startswith("new")) == sorted(keys)

    def test_a_page_of_queued_jobs_goes_on_while_they_are_claimed(self, backend: Backend) -> None:
        """Begin the next page behind the place of the cursor's job, which may be gone."""
        size = backend.limits.batch
        keys = [f"{n:04}" for n in range(2 * size)]
        inserted(backend, *items(keys))
        first = backend.list(List(queue=QUEUE, state=State.QUEUED))
        a_claim(backend)
        inserted(backend, an_item("high", priority=1))
        second = backend.list(List(queue=QUEUE, state=State.QUEUED, cursor=first.cursor))

        assert keys_of(first.heads + second.heads) == keys

    def test_count_counts_every_state_of_every_queue(self, backend: Backend) -> None:
        """Zero for the states without jobs, and for queues that do not exist."""
        in_states(backend, {"a": State.QUEUED, "b": State.FAILED, "c": State.FAILED})
        inserted(backend, an_item("d", queue="other", state=State.BLOCKED))
        counts = backend.count(Count([QUEUE, "nowhere", "other"]))
        zeros = dict.fromkeys(State, 0)

        assert dict(counts) == {
            QUEUE: {**zeros, State.QUEUED: 1, State.FAILED: 2},
            "nowhere": zeros,
            "other": {**zeros, State.BLOCKED: 1},
        }

    def test_now_is_the_injected_clock(self, backend: Backend, clock: VirtualClock) -> None:
        """In UTC, to the millisecond."""
        clock.advance(milliseconds=1234)

        assert backend.now() == clock.now()
        assert backend.now().tzinfo is UTC

    def test_check_finds_nothing_wrong_with_a_sound_store(
        self, backend: Backend, clock: VirtualClock
    ) -> None:
        """With jobs in every state, unique keys held, and a queue that does not exist."""
        in_states(backend, {state.value: state for state in State})
        inserted(backend, an_item("u", unique="digest", scope="end"))
        clock.advance(days=1)

        assert broken(backend) == []
        assert findings(backend, "nowhere") == []
