"""Lives: an id may be used again once its job is gone, and what was meant for one job never reaches the next."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final, cast

import pytest
from msgspec.structs import replace

from stanchion.codec.specs import encode_policy, name_call
from stanchion.contract.backend import Backend, Limits
from stanchion.contract.requests import Apply, FindDue, Get
from stanchion.engine.engine import Engine
from stanchion.engine.reporting import Report
from stanchion.errors import JobNotFound, Unavailable
from stanchion.model.changes import REPEATED, Applied, Refusal, Refused
from stanchion.model.decisions import decide
from stanchion.model.history import Failure
from stanchion.model.policies import Policy
from stanchion.model.records import Item, head_of
from stanchion.model.signals import (
    CancelAsked,
    Cancelled,
    Completed,
    Deleted,
    Ended,
    Failed,
    GivenUp,
    RetryAsked,
    TimedOut,
    Updated,
    signal_for,
)
from stanchion.model.states import FINAL, State
from stanchion.plugins.manager import Plugins
from stanchion_conformance.ground import Ground
from stanchion_conformance.making import (
    LEASE,
    POLICY,
    QUEUE,
    a_change,
    an_item,
    applied_all,
    change,
    in_states,
    inserted,
    taken,
    the,
)
from stanchion_testing.clock import VirtualClock

ENDS: Final[Mapping[str, Ended]] = {
    "complete": Completed(result=b"1"),
    "fail": Failed(failure=Failure(type="ValueError")),
    "time out": TimedOut(failure=Failure(type="timed_out")),
    "give up": GivenUp(),
    "cancel": Cancelled(),
}
"""How the only run of a job can end for good."""

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
    """Return an engine on which the first answer of a verb is lost.

    Returns:
        An engine that repeats the call.
    """
    return Engine(
        cast(Backend, Forgetful(backend, verb, meanwhile)), Plugins(), roll=lambda: 0.5, pauses=(0.0, None)
    )


def by_call(item: Item, call: str, policy: Policy = POLICY) -> Item:
    """Return an item that a call of this name inserts.

    Returns:
        The item, whose policy names the call.
    """
    return replace(item, policy=name_call(encode_policy(policy), call))


class Lives(Ground):
    """What is meant for one job of an id never reaches the next."""

    @pytest.mark.parametrize("state", sorted(State))
    def test_a_change_meant_for_another_life_finds_no_job(self, backend: Backend, state: State) -> None:
        """Whatever else fits: it is refused as absent, and nothing is changed."""
        (job,) = in_states(backend, {"a": state}).values()
        guards = {"created_at": job.created_at - timedelta(milliseconds=1), "claim": job.claim}
        before = self.dump(backend)
        answer = change(backend, job, State.FAILED if state is State.RUNNING else None, guards=guards)

        assert answer == Refused(Refusal.ABSENT, None)
        assert self.dump(backend) == before

    @pytest.mark.parametrize("state", sorted(State))
    def test_a_change_meant_for_this_life_is_made(self, backend: Backend, state: State) -> None:
        """Accept the instant of creation that was read."""
        (job,) = in_states(backend, {"a": state}).values()
        to = State.COMPLETED if state is State.RUNNING else None
        answer = change(backend, job, to, guards={"created_at": job.created_at})
        (after,) = backend.get(Get([job.id]))

        assert isinstance(answer, Applied)
        assert (after and after.state) == to

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
        refused, _ = backend.apply(Apply(changes))

        assert refused == Refused(Refusal.ABSENT, None)
        assert [one is None for one in backend.get(Get([old.id, other.id]))] == [False, True]

    @pytest.mark.parametrize("asked", [Deleted(), CancelAsked(), Updated(priority=7)], ids=repr)
    def test_a_repeated_call_leaves_the_next_life_alone(
        self, backend: Backend, clock: VirtualClock, asked: Any
    ) -> None:
        """Refuse a call whose answer was lost, once a second producer made a new job under the same key."""

        def meanwhile() -> None:
            clock.advance(milliseconds=50)
            applied_all(
                backend, (a_change(one, None) for one in backend.get(Get([job.id])) if one is not None)
            )
            inserted(backend, by_call(an_item(), "second"))

        inserted(backend, by_call(an_item(), "first"))
        job = the(backend)
        engine = engine_that_loses(backend, "apply", meanwhile)
        with suppress(JobNotFound):
            engine.call(engine.ask(job.id, asked))

        after = the(backend)
        assert (after.state, after.revision, after.priority) == (State.QUEUED, 0, 0)
        assert after.created_at > job.created_at

    @pytest.mark.parametrize("asked", [Deleted(), CancelAsked(), Updated(priority=7)], ids=repr)
    def test_what_is_asked_of_a_job_known_by_its_head_leaves_the_next_life_alone(
        self, backend: Backend, clock: VirtualClock, asked: Any
    ) -> None:
        """Refuse what was decided on an older head, once a second producer made a new job."""
        inserted(backend, by_call(an_item(), "first"))
        known = head_of(the(backend))
        change(backend, known, None)
        clock.advance(milliseconds=1)
        inserted(backend, by_call(an_item(), "second"))
        second = the(backend)
        engine = Engine(backend, Plugins(), roll=lambda: 0.5)
        with suppress(JobNotFound):
            engine.call(engine.ask(known.id, asked, known=known))

        assert the(backend) == second

    @pytest.mark.parametrize("state", sorted(FINAL))
    def test_a_repeated_retry_leaves_the_next_life_alone(
        self, backend: Backend, clock: VirtualClock, state: State
    ) -> None:
        """Refuse it once the job completed and was deleted, and another of its id ended as the first did."""

        def meanwhile() -> None:
            clock.advance(milliseconds=50)
            change(backend, the(backend), None)
            in_states(backend, {"a": state})

        (job,) = in_states(backend, {"a": state}).values()
        engine = engine_that_loses(backend, "apply", meanwhile)
        with suppress(JobNotFound):
            engine.call(engine.ask(job.id, RetryAsked(force=True)))

        after = the(backend)
        assert (after.state, after.created_at) == (state, clock.now())

    def test_a_sweep_that_saw_one_life_leaves_the_next_alone(
        self, backend: Backend, clock: VirtualClock
    ) -> None:
        """Although that is due as well."""
        (job,) = in_states(backend, {"a": State.COMPLETED}).values()
        clock.advance(days=1)
        (due,) = backend.due(FindDue([QUEUE], 10)).heads
        change(backend, job, None)
        (second,) = in_states(backend, {"a": State.COMPLETED}).values()
        clock.advance(days=1)
        (answer,) = backend.apply(Apply([decide(due, signal_for(due), roll=0, policy=POLICY)]))

        assert answer == Refused(Refusal.ABSENT, None)
        assert the(backend) == second

    @pytest.mark.parametrize("end", ENDS)
    def test_a_job_that_must_not_start_twice_does_not_although_its_enqueue_was_repeated(
        self, backend: Backend, clock: VirtualClock, end: str
    ) -> None:
        """Start it once, though it ran, ended and was swept before the repetition, with no retention at all."""
        started: list[str] = []

        def work() -> None:
            workers = Engine(backend, Plugins(), roll=lambda: 0.5)
            for record in workers.call(workers.claim([QUEUE], 10, "worker", LEASE)).records:
                started.append(record.id)
                workers.call(workers.report([Report(record, ENDS[end], ONCE)]))
            clock.advance(REPEATED / 2)
            workers.call(workers.sweep([QUEUE]))

        engine = engine_that_loses(backend, "insert", work)
        (answer,) = engine.call(engine.insert([by_call(an_item(), "call", ONCE)]))
        work()

        assert started == ["mail:a"]
        assert answer.created

    def test_a_call_that_made_a_job_says_so_although_its_answer_was_lost(self, backend: Backend) -> None:
        """And one that found the job of another call under its key says that it did not."""
        engine = engine_that_loses(backend, "insert", lambda: None)
        (first,) = engine.call(engine.insert([by_call(an_item(), "first")]))
        (second,) = engine.call(engine.insert([by_call(an_item(), "second")]))

        assert (first.created, second.created) == (True, False)
        assert second.head == head_of(the(backend))

    def test_a_repeated_call_does_not_take_the_job_of_another_for_its_own(self, backend: Backend) -> None:
        """Recognise the job of a caller that was quicker."""
        inserted(backend, by_call(an_item(unique="digest"), "first"))
        engine = engine_that_loses(backend, "insert", lambda: None)
        answers = engine.call(
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
        """Accept a run's outcome without an instant: claim ids are never used again."""
        job = taken(backend)
        change(backend, job, State.COMPLETED, guards={"claim": job.claim})
        change(backend, the(backend), None)
        clock.advance(1)
        taken(backend)
        late = decide(job, Completed(result=b"1"), roll=0, policy=POLICY)
        (answer,) = backend.apply(Apply([late]))

        assert isinstance(answer, Refused)
        assert answer.why is Refusal.CLAIM
