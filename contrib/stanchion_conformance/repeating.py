"""Repetition: every call is made, its answer lost, and made again by the engine, which must not be seen."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final, cast

import pytest

from stanchion.contract.backend import Backend, Limits
from stanchion.contract.requests import Configure, Forget, Get
from stanchion.engine.engine import Engine
from stanchion.engine.reporting import Report
from stanchion.errors import LeaseLost, Unavailable
from stanchion.model.changes import HISTORY, Applied
from stanchion.model.history import Failure, history_of
from stanchion.model.ids import new_key
from stanchion.model.queues import QueueSettings
from stanchion.model.records import Record, head_of
from stanchion.model.signals import (
    CancelAsked,
    Cancelled,
    Completed,
    Deleted,
    Ended,
    Failed,
    Released,
    RetryAsked,
    Snoozed,
    TimedOut,
    Updated,
)
from stanchion.model.states import FINAL, State
from stanchion.plugins.manager import Plugins
from stanchion_conformance.ground import Ground
from stanchion_conformance.invariants import listed
from stanchion_conformance.making import (
    LEASE,
    POLICY,
    QUEUE,
    a_claim,
    an_item,
    in_states,
    inserted,
    items,
    keys_of,
    taken,
    the,
)

_FAILURE: Final = Failure(type="ValueError")
_ENDS: Final[dict[State, Ended]] = {
    State.COMPLETED: Completed(result=b"1"),
    State.RETRYING: Failed(failure=_FAILURE),
    State.FAILED: Failed(failure=_FAILURE, for_good=True),
    State.CANCELLED: Cancelled(),
    State.QUEUED: Released(),
    State.SCHEDULED: Snoozed(until=timedelta(minutes=1)),
}


class Stuttering:
    """A backend each of whose calls takes effect twice: the first answer is lost, and asked for again."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._lost = False

    @property
    def limits(self) -> Limits:
        """Those of the backend."""
        return self._backend.limits

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        call: Callable[..., Any] = getattr(self._backend, verb)

        def stuttering(*args: Any, **kwargs: Any) -> Any:
            answer = call(*args, **kwargs)
            self._lost = not self._lost
            if self._lost:
                raise Unavailable("the answer was lost")
            return answer

        return stuttering


class Repeating(Ground):
    """Enqueue, claim, settle, cancel, delete and pause may be repeated after an unknown outcome."""

    @pytest.fixture
    def engine(self, backend: Backend) -> Engine:
        """An engine all of whose calls are made twice."""
        return Engine(cast(Backend, Stuttering(backend)), Plugins(), roll=lambda: 0.5, pauses=(0.0, None))

    def test_a_repeated_insert_creates_each_job_once(self, backend: Backend, engine: Engine) -> None:
        """Answer with the jobs, in order."""
        keys = [new_key() for _ in range(backend.limits.batch + 3)]
        answers = engine.call(engine.insert(items(keys)))

        assert keys_of(listed(backend, QUEUE, State.QUEUED)) == keys
        assert [answer.created for answer in answers] == [True] * len(keys)

    def test_a_repeated_insert_with_a_unique_key_holds_it_once(
        self, backend: Backend, engine: Engine
    ) -> None:
        """Do not refuse a job since its own first time holds the key."""
        (answer,) = engine.call(engine.insert([an_item(unique="digest", scope="end")]))

        assert answer.created
        assert the(backend).unique == "digest"

    def test_a_repeated_claim_takes_its_jobs_once(self, backend: Backend, engine: Engine) -> None:
        """Answer with what the first time took, and no more."""
        inserted(backend, *items("abcd"))
        claimed = engine.call(engine.claim([QUEUE], 2, "worker", LEASE))

        assert keys_of(claimed.records) == ["a", "b"]
        assert keys_of(listed(backend, QUEUE, State.RUNNING)) == ["a", "b"]
        assert [job.run for job in claimed.records] == [1, 1]

    @pytest.mark.parametrize("to", _ENDS)
    def test_a_repeated_settlement_is_accepted_once(
        self, backend: Backend, engine: Engine, to: State
    ) -> None:
        """Answer the worker that it was accepted, and write one history entry."""
        job = taken(backend)
        (answer,) = engine.call(engine.report([Report(job, _ENDS[to], POLICY)]))
        after = the(backend)

        assert isinstance(answer, Applied)
        assert after.state is to
        assert len(_history(after)) == 1
        assert after.count("attempts") <= 1

    def test_repeated_settlements_of_one_call_are_each_accepted_once(
        self, backend: Backend, engine: Engine
    ) -> None:
        """Also with those among them that come too late."""
        jobs = [taken(backend, key) for key in "abc"]
        engine.call(engine.ask("mail:b", CancelAsked()))
        late = Report(jobs[2], TimedOut(failure=_FAILURE), POLICY)
        engine.call(engine.report([Report(jobs[2], Completed(result=b"1"), POLICY)]))
        reports = [
            Report(jobs[0], _ENDS[State.FAILED], POLICY),
            Report(jobs[1], _ENDS[State.RETRYING], POLICY),
            late,
        ]
        answers = engine.call(engine.report(reports))

        assert [type(answer) for answer in answers] == [Applied, Applied, LeaseLost]
        assert [the(backend, key).state for key in "abc"] == [State.FAILED, State.CANCELLED, State.COMPLETED]

    @pytest.mark.parametrize("state", sorted(set(State) - FINAL))
    def test_a_repeated_cancel_is_one_cancel(self, backend: Backend, engine: Engine, state: State) -> None:
        """Do not refuse it since the job is cancelled already: it was this caller."""
        (job,) = in_states(backend, {"a": state}).values()
        after = engine.call(engine.ask(job.id, CancelAsked(reason="enough")))

        assert after is not None
        assert head_of(after) == head_of(the(backend))
        assert len(_history(the(backend))) == 1
        assert after.revision == job.revision + 1

    @pytest.mark.parametrize("state", sorted(FINAL))
    def test_a_repeated_retry_is_one_retry(self, backend: Backend, engine: Engine, state: State) -> None:
        """Queue the job once, and answer it as it is."""
        (job,) = in_states(backend, {"a": state}).values()
        after = engine.call(engine.ask(job.id, RetryAsked(force=True)))

        assert after is not None
        assert head_of(after) == head_of(the(backend))
        assert (after.state, after.revision) == (State.QUEUED, job.revision + 1)
        assert keys_of(a_claim(backend).records) == ["a"]

    def test_a_repeated_update_is_one_update(self, backend: Backend, engine: Engine) -> None:
        """Though the job is in the same state as before."""
        inserted(backend, an_item())
        after = engine.call(engine.ask("mail:a", Updated(priority=5)))

        assert after is not None
        assert head_of(after) == head_of(the(backend))
        assert (after.priority, after.revision) == (5, 1)

    @pytest.mark.parametrize("state", sorted(set(State) - {State.RUNNING}))
    def test_a_repeated_delete_is_one_delete(self, backend: Backend, engine: Engine, state: State) -> None:
        """Raise no error since the job is gone."""
        (job,) = in_states(backend, {"a": state}).values()

        assert engine.call(engine.ask(job.id, Deleted())) is None
        assert backend.get(Get([job.id])) == [None]

    def test_a_repeated_sweep_moves_each_job_once(self, backend: Backend, engine: Engine) -> None:
        """Nothing is lost twice."""
        taken(backend, lease=timedelta(0))
        engine.call(engine.sweep([QUEUE]))
        after = the(backend)

        assert (after.state, after.count("lost")) == (State.QUEUED, 1)
        assert len(_history(after)) == 1

    def test_repeated_settings_are_set_once(self, backend: Backend, engine: Engine) -> None:
        """Pausing, resuming and forgetting."""
        stuttering = engine.backend
        for paused in (True, False):
            request = Configure(queue=QUEUE, set={"paused": paused})
            with pytest.raises(Unavailable):
                stuttering.configure(request)
            assert stuttering.configure(request).after.paused is paused
            assert backend.queues() == {QUEUE: QueueSettings(paused=paused)}
        with pytest.raises(Unavailable):
            stuttering.forget(Forget(QUEUE))

        assert stuttering.forget(Forget(QUEUE))
        assert dict(backend.queues()) == {}


def _history(job: Record) -> list[Any]:
    return history_of(job, job.lists.get(HISTORY, ()))
