"""Claims about `due`."""

from datetime import timedelta

import pytest

from stanchion.contract.backend import Backend
from stanchion.contract.requests import Apply, FindDue
from stanchion.model.changes import TAIL, Applied, Refusal, Refused
from stanchion.model.decisions import decide
from stanchion.model.effects import refuse
from stanchion.model.records import head_of
from stanchion.model.signals import signal_for
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
    pause,
    taken,
    the,
)
from stanchion_testing.clock import VirtualClock

SECOND = timedelta(seconds=1)
SWEEPABLE = sorted(set(State) - {State.QUEUED})


class Sweeping(Ground):
    """Finding the jobs that are due."""

    @pytest.mark.parametrize("state", SWEEPABLE)
    def test_due_finds_a_job_at_its_instant_and_not_before(
        self, backend: Backend, clock: VirtualClock, state: State
    ) -> None:
        """In every state that has a deadline; with their heads."""
        (job,) = in_states(backend, {"a": state}).values()
        assert job.due_at is not None
        clock.advance(job.due_at - clock.now() - timedelta(milliseconds=1))
        early = backend.due(FindDue([QUEUE], 10))
        clock.advance(milliseconds=1)
        due = backend.due(FindDue([QUEUE], 10))

        assert early.heads == []
        assert due.heads == [head_of(the(backend))]
        assert due.now == clock.now() == job.due_at

    def test_due_answers_running_jobs_first_then_by_deadline(
        self, backend: Backend, clock: VirtualClock
    ) -> None:
        """Answer lapsed leases first, the most urgent; within a state, the job that is due the longest."""
        inserted(
            backend,
            an_item("later", state=State.SCHEDULED, due=3 * SECOND),
            an_item("sooner", state=State.SCHEDULED, due=SECOND),
        )
        taken(backend, "r2", lease=9 * SECOND)
        taken(backend, "r1", lease=8 * SECOND)
        clock.advance(10)

        assert keys_of(backend.due(FindDue([QUEUE], 10)).heads) == ["r1", "r2", "sooner", "later"]

    def test_due_jobs_of_one_instant_go_by_creation_then_id(
        self, backend: Backend, clock: VirtualClock
    ) -> None:
        """In every state that waits for its deadline alone, so that promotion keeps the order of enqueuing."""
        states = [State.BLOCKED, State.SCHEDULED]
        for seconds, keys in ((9, ["z", "y"]), (8, ["b", "x", "a"])):
            inserted(
                backend,
                *(
                    an_item(f"{key}-{state}", state=state, due=seconds * SECOND)
                    for state in states
                    for key in keys
                ),
            )
            clock.advance(1)
        clock.advance(60)
        found = backend.due(FindDue([QUEUE], 100)).heads

        right = ["y", "z", "a", "b", "x"]
        for state in states:
            assert [key[0] for key in keys_of(one for one in found if one.state is state)] == right

    def test_due_answers_at_most_its_limit(self, backend: Backend, clock: VirtualClock) -> None:
        """Answer the oldest, over all queues asked for."""
        inserted(
            backend,
            *(an_item(f"{n}", queue=f"q{n % 2}", state=State.SCHEDULED, due=SECOND) for n in range(6)),
        )
        clock.advance(1)

        assert len(backend.due(FindDue(["q0", "q1"], 4)).heads) == 4
        assert len(backend.due(FindDue(["q0", "q1"], 100)).heads) == 6
        assert keys_of(backend.due(FindDue(["q1"], 100)).heads) == ["1", "3", "5"]

    def test_due_answers_running_jobs_before_older_ones_that_wait(
        self, backend: Backend, clock: VirtualClock
    ) -> None:
        """Also if its limit leaves room for these alone."""
        taken(backend, "lost", lease=9 * SECOND)
        inserted(backend, *items("abc", state=State.SCHEDULED, due=SECOND))
        clock.advance(10)

        assert keys_of(backend.due(FindDue([QUEUE], 1)).heads) == ["lost"]
        assert keys_of(backend.due(FindDue([QUEUE], 2)).heads) == ["lost", "a"]

    def test_due_changes_nothing(self, backend: Backend, clock: VirtualClock) -> None:
        """Answer any caller, at any time."""
        in_states(backend, {state.value: state for state in State})
        clock.advance(days=1)
        before = self.dump(backend)
        first, second = backend.due(FindDue([QUEUE], 100)), backend.due(FindDue([QUEUE], 100))

        assert first.heads == second.heads
        assert len(first.heads) == len(SWEEPABLE)
        assert self.dump(backend) == before

    @pytest.mark.parametrize("state", sorted(FINAL))
    def test_due_never_finds_what_is_kept_for_ever(
        self, backend: Backend, clock: VirtualClock, state: State
    ) -> None:
        """Never find a final job without a deadline."""
        job = taken(backend)
        change(backend, job, state, due=None)
        clock.advance(days=3650)

        assert backend.due(FindDue([QUEUE], 10)).heads == []
        assert the(backend).due_at is None

    def test_due_finds_nothing_in_an_unknown_queue(self, backend: Backend) -> None:
        """And does not make it exist."""
        assert backend.due(FindDue(["nowhere"], 10)).heads == []
        assert dict(backend.queues()) == {}

    def test_due_serves_paused_queues(self, backend: Backend, clock: VirtualClock) -> None:
        """Pausing stops the handing out, not the time."""
        inserted(backend, an_item(state=State.SCHEDULED, due=SECOND))
        pause(backend)
        clock.advance(1)

        assert keys_of(backend.due(FindDue([QUEUE], 10)).heads) == ["a"]

    def test_a_second_sweep_over_the_same_jobs_is_harmless(
        self, backend: Backend, clock: VirtualClock
    ) -> None:
        """Two sweepers were handed the same jobs: what the first did is not done again."""
        in_states(backend, {state.value: state for state in State})
        clock.advance(days=1)
        due = backend.due(FindDue([QUEUE], 100)).heads
        changes = [decide(job, signal_for(job), roll=0, policy=POLICY) for job in due]
        first = backend.apply(Apply(changes))
        before = self.dump(backend)
        second = backend.apply(Apply(changes))

        assert all(isinstance(answer, Applied) for answer in first)
        assert all(isinstance(answer, Refused) for answer in second)
        assert self.dump(backend) == before

    def test_a_sweep_does_not_take_a_job_whose_deadline_was_moved(
        self, backend: Backend, clock: VirtualClock
    ) -> None:
        """Save a job by a beat that came between the look and the sweep, though it counts no revision."""
        job = taken(backend)
        clock.advance(60)
        (due,) = backend.due(FindDue([QUEUE], 10)).heads
        change(backend, job, State.RUNNING, guards={"claim": job.claim}, due=30 * SECOND)
        lose = decide(due, signal_for(due), roll=0, policy=POLICY)

        assert list(backend.apply(Apply([lose]))) == [refuse(Refusal.DUE, the(backend))]

    def test_a_crowd_of_due_jobs_is_swept_batch_by_batch(self, backend: Backend, clock: VirtualClock) -> None:
        """Each sweep takes what it was handed, and the next is handed the rest."""
        size = backend.limits.batch
        inserted(backend, *items([f"{n:04}" for n in range(size + 7)], state=State.SCHEDULED, due=SECOND))
        clock.advance(1)
        sizes = []
        for _ in range(3):
            records = backend.due(FindDue([QUEUE], size)).heads
            sizes.append(len(records))
            backend.apply(
                Apply([a_change(job, State.QUEUED, guards={"if_due": True}, place=TAIL) for job in records])
            )

        assert sizes == [size, 7, 0]
