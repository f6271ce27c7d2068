"""Claims about `due`."""

from datetime import timedelta

import pytest

from stanchion.contract.backend import Backend
from stanchion.model.changes import Applied, Place, Refusal, Refused
from stanchion.model.decisions import decide, swept
from stanchion.model.queues import QueueSettings
from stanchion.model.states import FINAL, State
from stanchion_conformance.ground import Ground
from stanchion_conformance.making import (
    POLICY,
    QUEUE,
    a_change,
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
CLOCKED = sorted(set(State) - {State.QUEUED})


class Sweeping(Ground):
    """Finding the jobs whose clock has run out."""

    @pytest.mark.parametrize("state", CLOCKED)
    def test_due_finds_a_job_at_its_instant_and_not_before(
        self, backend: Backend, clock: VirtualClock, state: State
    ) -> None:
        """In every state that has a clock."""
        (job,) = in_states(backend, {"a": state}).values()
        assert job.due_at is not None
        clock.advance(job.due_at - clock.now() - timedelta(milliseconds=1))
        early = backend.due([QUEUE], 10)
        clock.advance(milliseconds=1)
        due = backend.due([QUEUE], 10)

        assert early.records == []
        assert due.records == [the(backend)]
        assert due.now == clock.now() == job.due_at

    def test_due_answers_running_jobs_first_then_by_clock(
        self, backend: Backend, clock: VirtualClock
    ) -> None:
        """A lapsed lease is the most urgent; within a state the oldest clock goes first."""
        inserted(
            backend,
            an_item("later", state=State.SCHEDULED, clock=3 * SECOND),
            an_item("sooner", state=State.SCHEDULED, clock=SECOND),
        )
        taken(backend, "r2", lease=9 * SECOND)
        taken(backend, "r1", lease=8 * SECOND)
        clock.advance(10)

        assert keys_of(backend.due([QUEUE], 10).records) == ["r1", "r2", "sooner", "later"]

    def test_due_jobs_of_one_instant_go_by_creation_then_id(
        self, backend: Backend, clock: VirtualClock
    ) -> None:
        """In every state that waits for its clock alone, so that promotion keeps the order of enqueuing."""
        states = [State.BLOCKED, State.SCHEDULED]
        for seconds, keys in ((9, ["z", "y"]), (8, ["b", "x", "a"])):
            inserted(
                backend,
                *(
                    an_item(f"{key}-{state}", state=state, clock=seconds * SECOND)
                    for state in states
                    for key in keys
                ),
            )
            clock.advance(1)
        clock.advance(60)
        found = backend.due([QUEUE], 100).records

        right = ["y", "z", "a", "b", "x"]
        for state in states:
            assert [key[0] for key in keys_of(one for one in found if one.state is state)] == right

    def test_due_answers_at_most_its_limit(self, backend: Backend, clock: VirtualClock) -> None:
        """The oldest, over all queues asked for."""
        inserted(
            backend,
            *(an_item(f"{n}", queue=f"q{n % 2}", state=State.SCHEDULED, clock=SECOND) for n in range(6)),
        )
        clock.advance(1)

        assert len(backend.due(["q0", "q1"], 4).records) == 4
        assert len(backend.due(["q0", "q1"], 100).records) == 6
        assert keys_of(backend.due(["q1"], 100).records) == ["1", "3", "5"]

    def test_due_answers_running_jobs_before_older_ones_that_wait(
        self, backend: Backend, clock: VirtualClock
    ) -> None:
        """Also if its limit leaves room for these alone."""
        taken(backend, "lost", lease=9 * SECOND)
        inserted(backend, *items("abc", state=State.SCHEDULED, clock=SECOND))
        clock.advance(10)

        assert keys_of(backend.due([QUEUE], 1).records) == ["lost"]
        assert keys_of(backend.due([QUEUE], 2).records) == ["lost", "a"]

    def test_due_changes_nothing(self, backend: Backend, clock: VirtualClock) -> None:
        """It may be asked by everybody, at any time."""
        in_states(backend, {state.value: state for state in State})
        clock.advance(days=1)
        before = self.dump(backend)
        first, second = backend.due([QUEUE], 100), backend.due([QUEUE], 100)

        assert first.records == second.records
        assert len(first.records) == len(CLOCKED)
        assert self.dump(backend) == before

    @pytest.mark.parametrize("state", sorted(FINAL))
    def test_due_never_finds_what_is_kept_for_ever(
        self, backend: Backend, clock: VirtualClock, state: State
    ) -> None:
        """A final job without a clock is never deleted by a sweep."""
        job = taken(backend)
        change(backend, job, state, clock=None)
        clock.advance(days=3650)

        assert backend.due([QUEUE], 10).records == []
        assert the(backend).due_at is None

    def test_due_finds_nothing_in_an_unknown_queue(self, backend: Backend) -> None:
        """And does not make it exist."""
        assert backend.due(["nowhere"], 10).records == []
        assert dict(backend.queues()) == {}

    def test_due_serves_paused_queues(self, backend: Backend, clock: VirtualClock) -> None:
        """Pausing stops the handing out, not the time."""
        inserted(backend, an_item(state=State.SCHEDULED, clock=SECOND))
        backend.configure(QUEUE, QueueSettings(paused=True))
        clock.advance(1)

        assert keys_of(backend.due([QUEUE], 10).records) == ["a"]

    def test_a_second_sweep_over_the_same_jobs_is_harmless(
        self, backend: Backend, clock: VirtualClock
    ) -> None:
        """Two sweepers were handed the same jobs: what the first did is not done again."""
        in_states(backend, {state.value: state for state in State})
        clock.advance(days=1)
        due = backend.due([QUEUE], 100).records
        changes = [decide(job, swept(job), roll=0, policy=POLICY) for job in due]
        first = backend.apply(changes)
        before = self.dump(backend)
        second = backend.apply(changes)

        assert all(isinstance(answer, Applied) for answer in first)
        assert all(isinstance(answer, Refused) for answer in second)
        assert self.dump(backend) == before

    def test_a_sweep_does_not_take_a_job_whose_clock_was_moved(
        self, backend: Backend, clock: VirtualClock
    ) -> None:
        """A beat that came between the look and the sweep saves the job, though it counts no revision."""
        job = taken(backend)
        clock.advance(60)
        (due,) = backend.due([QUEUE], 10).records
        change(backend, job, State.RUNNING, guards={"claim": job.claim}, clock=30 * SECOND)
        lose = decide(due, swept(due), roll=0, policy=POLICY)

        assert list(backend.apply([lose])) == [Refused(Refusal.DUE, the(backend))]

    def test_a_crowd_of_due_jobs_is_swept_batch_by_batch(self, backend: Backend, clock: VirtualClock) -> None:
        """Each sweep takes what it was handed, and the next is handed the rest."""
        size = backend.limits.batch
        inserted(backend, *items([f"{n:04}" for n in range(size + 7)], state=State.SCHEDULED, clock=SECOND))
        clock.advance(1)
        sizes = []
        for _ in range(3):
            records = backend.due([QUEUE], size).records
            sizes.append(len(records))
            backend.apply(
                [
                    a_change(job, State.QUEUED, guards={"if_due": True}, head={"place": Place.TAIL})
                    for job in records
                ]
            )

        assert sizes == [size, 7, 0]
