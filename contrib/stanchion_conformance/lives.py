"""Lives: an id may be used again once its job is gone, and what was meant for one job never reaches the next."""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, cast

import pytest
from msgspec.structs import replace

from stanchion.codec.payloads import encode_policy, encode_spec
from stanchion.contract.backend import Backend, Limits
from stanchion.engine.engine import Engine, Report
from stanchion.errors import JobNotFound, Unavailable
from stanchion.model.changes import REPEATED, Refusal, Refused
from stanchion.model.decisions import CancelAsked, Completed, Deleted, Updated, decide, swept
from stanchion.model.policies import Policy
from stanchion.model.records import Item
from stanchion.model.states import FINAL, State
from stanchion.plugins.manager import Plugins
from stanchion_conformance.ground import Ground
from stanchion_conformance.making import (
    LEASE,
    POLICY,
    QUEUE,
    a_change,
    an_item,
    change,
    in_states,
    inserted,
    taken,
    the,
)
from stanchion_testing.clock import VirtualClock

ONCE = Policy(retries=0, max_lost=0, keep=timedelta(0), keep_failed=timedelta(0))
"""At most one start, and no time to be kept."""


class Forgetful:
    """A backend that loses its answer to the first call of a verb; before the call is made again, time passes.

    Args:
        backend: The backend.

        verb: Which verb.

        meanwhile: What happens before the call is repeated.
    """

    def __init__(self, backend: Backend, verb: str, meanwhile: Callable[[], object]) -> None:
        self._backend, self._verb, self._meanwhile = backend, verb, meanwhile
        self._lost = False

    @property
    def limits(self) -> Limits:
        """Return those of the backend."""
        return self._backend.limits

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        call: Callable[..., Any] = getattr(self._backend, verb)
        if verb != self._verb:
            return call

        def losing(*args: Any, **kwargs: Any) -> Any:
            answer = call(*args, **kwargs)
            if self._lost:
                return answer
            self._lost = True
            self._meanwhile()
            raise Unavailable("the answer was lost")

        return losing


def engine_that_loses(backend: Backend, verb: str, meanwhile: Callable[[], object]) -> Engine:
    """Return an engine that repeats a call whose answer was lost."""
    return Engine(
        cast(Backend, Forgetful(backend, verb, meanwhile)), Plugins(), roll=lambda: 0.5, pauses=(0.0, None)
    )


def by_call(item: Item, call: str, policy: Policy = POLICY) -> Item:
    """Return an item that a call of this name inserts."""
    return replace(item, spec=encode_spec(b"{}", encode_policy(policy), call))


class Lives(Ground):
    """What is meant for one job of an id never reaches the next."""

    @pytest.mark.parametrize("state", sorted(State))
    def test_a_change_meant_for_another_life_finds_no_job(self, backend: Backend, state: State) -> None:
        """Whatever else fits: it is refused as absent, and nothing is changed."""
        (job,) = in_states(backend, {"a": state}).values()
        guards = {"created_at": job.created_at - timedelta(milliseconds=1), "claim": job.claim}
        before = self.dump(backend)
        answer = change(backend, job, None, guards=guards)

        assert answer == Refused(Refusal.ABSENT, None)
        assert self.dump(backend) == before

    @pytest.mark.parametrize("state", sorted(State))
    def test_a_change_meant_for_this_life_is_made(self, backend: Backend, state: State) -> None:
        """The instant of its creation is the one that was read."""
        (job,) = in_states(backend, {"a": state}).values()
        change(backend, job, None, guards={"created_at": job.created_at})

        assert backend.get([job.id]) == [None]

    def test_one_call_may_name_different_lives(self, backend: Backend, clock: VirtualClock) -> None:
        """Each change has its own."""
        inserted(backend, an_item("a"))
        clock.advance(1)
        inserted(backend, an_item("b"))
        old, other = the(backend, "a"), the(backend, "b")
        change(backend, old, None)
        clock.advance(1)
        inserted(backend, an_item("a"))
        changes = [a_change(one, None, guards={"created_at": one.created_at}) for one in (old, other)]
        refused, _ = backend.apply(changes)

        assert refused == Refused(Refusal.ABSENT, None)
        assert [one is None for one in backend.get([old.id, other.id])] == [False, True]

    @pytest.mark.parametrize("asked", [Deleted(), CancelAsked(), Updated(priority=7)], ids=repr)
    def test_a_repeated_call_leaves_the_next_life_alone(
        self, backend: Backend, clock: VirtualClock, asked: Any
    ) -> None:
        """Its answer was lost; before it was asked again, somebody made a new job under the same key."""

        def meanwhile() -> None:
            clock.advance(milliseconds=50)
            backend.apply([a_change(one, None) for one in backend.get([job.id]) if one is not None])
            inserted(backend, by_call(an_item(), "second"))

        inserted(backend, by_call(an_item(), "first"))
        job = the(backend)
        engine = engine_that_loses(backend, "apply", meanwhile)
        with suppress(JobNotFound):
            engine.run(engine.ask(job.id, asked))

        after = the(backend)
        assert (after.state, after.revision, after.priority) == (State.QUEUED, 0, 0)
        assert after.created_at > job.created_at

    def test_a_sweep_that_saw_one_life_leaves_the_next_alone(
        self, backend: Backend, clock: VirtualClock
    ) -> None:
        """Although that is due as well."""
        (job,) = in_states(backend, {"a": State.COMPLETED}).values()
        clock.advance(days=1)
        (due,) = backend.due([QUEUE], 10).records
        change(backend, job, None)
        (second,) = in_states(backend, {"a": State.COMPLETED}).values()
        clock.advance(days=1)
        (answer,) = backend.apply([decide(due, swept(due), roll=0, policy=POLICY)])

        assert answer == Refused(Refusal.ABSENT, None)
        assert the(backend) == second

    def test_a_job_that_must_not_start_twice_does_not_although_its_enqueue_was_repeated(
        self, backend: Backend, clock: VirtualClock
    ) -> None:
        """It ran, ended and was swept, all before the repetition, and is to be kept for no time at all."""
        started: list[str] = []

        def work() -> None:
            workers = Engine(backend, Plugins(), roll=lambda: 0.5)
            for record in workers.run(workers.claim([QUEUE], 10, "worker", LEASE)).records:
                started.append(record.id)
                workers.run(workers.report([Report(record, Completed(result=b"1"), ONCE)]))
            clock.advance(REPEATED / 2)
            workers.run(workers.sweep([QUEUE]))

        engine = engine_that_loses(backend, "insert", work)
        (answer,) = engine.run(engine.insert([by_call(an_item(), "call", ONCE)]))
        work()

        assert started == ["mail:a"]
        assert answer.created

    def test_a_call_that_made_a_job_says_so_although_its_answer_was_lost(self, backend: Backend) -> None:
        """And one that found the job of another call under its key says that it did not."""
        engine = engine_that_loses(backend, "insert", lambda: None)
        (first,) = engine.run(engine.insert([by_call(an_item(), "first")]))
        (second,) = engine.run(engine.insert([by_call(an_item(), "second")]))

        assert (first.created, second.created) == (True, False)
        assert second.record == the(backend)

    def test_a_repeated_call_does_not_take_the_job_of_another_for_its_own(self, backend: Backend) -> None:
        """The other one was quicker."""
        inserted(backend, by_call(an_item(unique="digest"), "first"))
        engine = engine_that_loses(backend, "insert", lambda: None)
        answers = engine.run(
            engine.insert([by_call(an_item(), "second"), by_call(an_item("b", unique="digest"), "second")])
        )

        assert [answer.created for answer in answers] == [False, False]

    @pytest.mark.parametrize("state", sorted(FINAL))
    def test_a_final_job_holds_its_id(self, backend: Backend, state: State) -> None:
        """Until it is deleted, the same key makes no other job."""
        in_states(backend, {"a": state})
        (answer,) = inserted(backend, an_item())

        assert not answer.created
        assert the(backend).state is state

    def test_a_claim_names_one_life_by_itself(self, backend: Backend, clock: VirtualClock) -> None:
        """A run's outcome needs no instant: claim ids are never used again."""
        job = taken(backend)
        change(backend, job, None, guards={"claim": job.claim})
        clock.advance(1)
        taken(backend)
        late = decide(job, Completed(result=b"1"), roll=0, policy=POLICY)
        (answer,) = backend.apply([late])

        assert isinstance(answer, Refused)
        assert answer.why is Refusal.CLAIM
