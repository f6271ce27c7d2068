"""The walk: every pair of a state found and a state named, against the model in `stanchion.model.changes`."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from stanchion.contract.backend import Backend
from stanchion.model.changes import KEEP, NOW, Applied, Change, Keep, Place, Refusal, Refused, applied
from stanchion.model.records import Record
from stanchion.model.states import State
from stanchion_conformance.ground import Ground
from stanchion_conformance.making import WAIT, a_change, applied_all, in_states, the
from stanchion_testing.clock import VirtualClock

TARGETS: tuple[State | None, ...] = (*State, None)
CLOCKS: dict[str, Keep | timedelta | None] = {"keep": KEEP, "none": None, "later": timedelta(minutes=7)}


class Walking(Ground):
    """Raw changes, legal by the table or not: a backend knows the states and not the machine."""

    def test_a_job_found_in_another_state_is_never_changed(self, backend: Backend) -> None:
        """Every pair of different states is refused, and the store is byte for byte as it was."""
        found = in_states(backend, {state.value: state for state in State})
        before = self.dump(backend)
        pairs = [(job, named) for job in found.values() for named in State if named is not job.state]
        answers = applied_all(
            backend,
            (
                a_change(
                    job,
                    TARGETS[n % len(TARGETS)],
                    guards={"state": named},
                    clock=WAIT,
                    notes={"note": b"x"},
                    append={"log": b"x"},
                    head={"unique": "digest", "place": Place.TAIL, "priority": 9},
                )
                for n, (job, named) in enumerate(pairs)
            ),
        )

        assert answers == [Refused(Refusal.STATE, job) for job, _ in pairs]
        assert self.dump(backend) == before

    @pytest.mark.parametrize("why", [Refusal.CLAIM, Refusal.DUE, Refusal.REVISION])
    def test_a_change_whose_guard_does_not_hold_changes_nothing(self, backend: Backend, why: Refusal) -> None:
        """In every state, for every target: a stale claim, a clock that has not run out, a stale revision."""
        found = in_states(backend, {state.value: state for state in State})
        guards: dict[Refusal, dict[str, Any]] = {
            Refusal.CLAIM: {"claim": "stale"},
            Refusal.DUE: {"if_due": True},
            Refusal.REVISION: {"revision": 99},
        }
        pairs = [(job, to) for job in found.values() for to in TARGETS]
        before = self.dump(backend)
        answers = applied_all(
            backend,
            (a_change(job, to, guards=guards[why], notes={"n": b"x"}, clock=None) for job, to in pairs),
        )

        assert answers == [Refused(why, job) for job, _ in pairs]
        assert self.dump(backend) == before

    @pytest.mark.parametrize("given", CLOCKS)
    def test_an_accepted_change_does_what_the_model_says(
        self, backend: Backend, clock: VirtualClock, given: str
    ) -> None:
        """From every state into every state, and out of the store: what is read equals `changes.applied`."""
        pairs = [(state, to) for state in State for to in TARGETS if _sensible(state, to, CLOCKS[given])]
        found = in_states(backend, {f"{state}-{to}": state for state, to in pairs})
        clock.advance(timedelta(seconds=90))
        changes = [_full_change(found[f"{state}-{to}"], to, CLOCKS[given]) for state, to in pairs]
        answers = applied_all(backend, changes)

        for change, answer in zip(changes, answers, strict=True):
            job = found[change.job_id.partition(":")[2]]
            (after,) = backend.get([job.id])
            assert answer == Applied(clock.now(), job.revision + 1)
            assert after == applied(job, change, now=clock.now(), tail=_place_of(after)), change

    def test_jobs_queued_by_changes_go_to_the_tail_in_order(self, backend: Backend) -> None:
        """Whatever state they come from, in one call or in several."""
        found = in_states(backend, {state.value: state for state in State})
        order = [job for job in reversed(found.values()) if job.state is not State.QUEUED]
        answers = applied_all(
            backend, (a_change(job, State.QUEUED, head={"place": Place.TAIL}) for job in order)
        )
        places = [the(backend, job.id.partition(":")[2]).place for job in (found["queued"], *order)]

        assert all(isinstance(answer, Applied) for answer in answers)
        assert places == sorted(set(places))


def _sensible(state: State, to: State | None, clock: Keep | timedelta | None) -> bool:
    """Only a claim makes a job running, and a running job has a lease."""
    return to is not State.RUNNING or (state is State.RUNNING and clock is not None)


def _full_change(job: Record, to: State | None, clock: Keep | timedelta | None) -> Change:
    """A change that uses every field of a move."""
    return a_change(
        job,
        to,
        guards={"revision": job.revision},
        clock=clock,
        head={"priority": -3, "unique": f"digest-{job.id}", "place": Place.TAIL},
        notes={"note": b"\xff", "at": NOW, "absent": None},
        append={"log": b"one", "history": b"two"},
    )


def _place_of(record: Record | None) -> Callable[[], int]:
    """Its own place: which one is the tail, a backend alone knows."""
    return lambda: record.place if record else 0
