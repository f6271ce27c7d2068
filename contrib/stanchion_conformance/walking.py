"""The walk: every pair of a state found and a state named, and every row of the table, against the model."""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

import pytest

from stanchion.contract.backend import Backend
from stanchion.contract.requests import Get
from stanchion.model.changes import TAIL, UNCHANGED, Applied, Change, Refusal, Unchanged
from stanchion.model.effects import apply_change, refuse
from stanchion.model.records import Record
from stanchion.model.states import ROWS, Event, Row, State
from stanchion_conformance.ground import Ground
from stanchion_conformance.making import WAIT, a_change, applied_all, in_states, the
from stanchion_testing.clock import VirtualClock

Due = Unchanged | timedelta | None

DEADLINES: Final[dict[str, Due]] = {"unchanged": UNCHANGED, "none": None, "later": timedelta(minutes=7)}


def walks() -> Iterator[tuple[State, Event, State | None]]:
    """Yield every row that a change can take, and a change in every state that leaves it there.

    Returns:
        State, event and new state of each.
    """
    for state, event, to in sorted(ROWS, key=str):
        if state is not None and event not in (Event.CLAIM, Event.QUARANTINE):
            yield state, event, to
    for state in State:
        yield state, Event.BEAT if state is State.RUNNING else Event.UPDATE, state


class Walking(Ground):
    """Raw changes, sensible or not: a backend knows the states and the rows, and not what leads to them."""

    def test_a_job_found_in_another_state_is_never_changed(self, backend: Backend) -> None:
        """Every row of every other state is refused, and the store is byte for byte as it was."""
        found = in_states(backend, {state.value: state for state in State})
        before = self.dump(backend)
        pairs = [(job, walk) for job in found.values() for walk in walks() if walk[0] is not job.state]
        changes = (_full_change(job, walk, WAIT, guards={"state": walk[0]}) for job, walk in pairs)
        answers = applied_all(backend, changes)

        assert answers == [refuse(Refusal.STATE, job) for job, _ in pairs]
        assert self.dump(backend) == before

    @pytest.mark.parametrize("why", [Refusal.CLAIM, Refusal.DUE, Refusal.REVISION])
    def test_a_change_whose_guard_does_not_hold_changes_nothing(self, backend: Backend, why: Refusal) -> None:
        """In every state, over every row: a stale claim, a deadline that has not passed, a stale revision."""
        found = in_states(backend, {state.value: state for state in State})
        guards: dict[Refusal, dict[str, Any]] = {
            Refusal.CLAIM: {"claim": "stale"},
            Refusal.DUE: {"if_due": True},
            Refusal.REVISION: {"revision": 99},
        }
        pairs = [(job, walk) for job in found.values() for walk in walks() if walk[0] is job.state]
        before = self.dump(backend)
        answers = applied_all(
            backend, (_full_change(job, walk, WAIT, guards=guards[why]) for job, walk in pairs)
        )

        assert answers == [refuse(why, job) for job, _ in pairs]
        assert self.dump(backend) == before

    @pytest.mark.parametrize("given", DEADLINES)
    def test_an_accepted_change_does_what_the_model_says(
        self, backend: Backend, clock: VirtualClock, given: str
    ) -> None:
        """Over every row of the table: what is read equals what `stanchion.model.effects` makes of the job."""
        chosen = [walk for walk in walks() if _sensible(walk, DEADLINES[given])]
        found = in_states(backend, {key_of_walk(walk): walk[0] for walk in chosen})
        clock.advance(timedelta(seconds=90))
        jobs = [found[key_of_walk(walk)] for walk in chosen]
        changes = [
            _full_change(
                job, walk, DEADLINES[given], guards={"revision": job.revision, "created_at": job.created_at}
            )
            for job, walk in zip(jobs, chosen, strict=True)
        ]
        answers = applied_all(backend, changes)

        for change, answer in zip(changes, answers, strict=True):
            job = found[change.job_id.partition(":")[2]]
            (after,) = backend.get(Get([job.id]))
            assert answer == Applied(clock.now(), job.revision + 1)
            assert after == apply_change(job, change, now=clock.now(), tail=_place_of(after)), change

    def test_jobs_queued_by_changes_go_to_the_tail_in_order(self, backend: Backend) -> None:
        """Whatever state they come from, in one call or in several."""
        found = in_states(backend, {state.value: state for state in State})
        order = [job for job in reversed(found.values()) if job.state is not State.QUEUED]
        answers = applied_all(backend, (a_change(job, State.QUEUED, place=TAIL) for job in order))
        places = [the(backend, job.id.partition(":")[2]).place for job in (found["queued"], *order)]

        assert all(isinstance(answer, Applied) for answer in answers)
        assert places == sorted(set(places))


def key_of_walk(walk: Row) -> str:
    """Return a key for the job that takes it.

    Returns:
        The key.
    """
    return "-".join(map(str, walk))


def _sensible(walk: Row, due: Due) -> bool:
    """A running job has a lease."""
    return walk[2] is not State.RUNNING or due is not None


def _full_change(job: Record, walk: Row, due: Due, guards: Mapping[str, Any]) -> Change:
    """Return a change that uses every field of a move."""
    return a_change(
        job,
        walk[2],
        event=walk[1],
        guards=guards,
        due=due,
        priority=-3,
        unique=f"digest-{job.id}",
        place=TAIL,
        tags=("one", f"two: {walk[0]}"),
        cancel="enough",
        error="ValueError: no",
        counters={"attempts": 3, "lost": 0},
        notes={"note": b"\xff", "absent": None},
        append={"log": b"one", "history": b"two"},
    )


def _place_of(record: Record | None) -> Callable[[], int]:
    """Return its own place: which one is the tail, a backend alone knows."""
    return lambda: record.place if record else 0
