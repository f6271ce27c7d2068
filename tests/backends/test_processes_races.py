"""Everything that can happen to a running job at once, from several threads on a real server."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

from stanchion import IllegalTransition, Job, Stanchion, State
from stanchion.codec.specs import policy_of
from stanchion.contract.requests import Check
from stanchion.engine.reporting import Report
from stanchion.errors import LeaseLost
from stanchion.model.changes import Applied
from stanchion.model.history import Failure
from stanchion.model.records import Record
from stanchion.model.signals import Beaten, CancelAsked, Completed, Failed, TimedOut
from stanchion.model.states import FINAL

ROUNDS = 800
LEASE = timedelta(milliseconds=1)
SETTLED = {"complete", "fail", "time_out"}
_ASK = CancelAsked(reason="enough")


def test_a_race_has_one_winner(redis_url: str) -> None:
    """Per claim at most one outcome is accepted, no request to cancel is lost, and the store stays sound."""
    with Stanchion(redis_url, namespace="races") as app, ThreadPoolExecutor(7) as threads:

        @app.task(retries=2, max_lost=2)
        def contested() -> None: ...

        ended: Counter[State] = Counter()
        happened: set[str] = set()
        for _ in range(ROUNDS):
            job = contested.enqueue()
            ended[_race(app, threads, job)] += 1
            happened |= {one.event for one in job.history}
            job.delete()

        assert happened == {"complete", "fail", "time_out", "lose", "cancel"}  # each of them won sometimes
        assert sum(ended.values()) == ROUNDS
        assert ended.keys() <= {State.CANCELLED, State.COMPLETED}
        assert len(ended) == 2
        assert app.engine.backend.check(Check("default")).findings == []
        assert app.queue("default").forget() is None


def _race(app: Stanchion, threads: ThreadPoolExecutor, job: Job[None]) -> State:
    """One round; the job's state when all is over."""
    (held,) = _claim(app)
    failure = Failure("race", "lost by a hair", run=held.run)
    barrier = Barrier(7)
    asked = threads.submit(_at, barrier, lambda: _cancel(job))
    others = [
        threads.submit(_at, barrier, act)
        for act in (
            lambda: _report(app, held, Completed(result=b"1")),
            lambda: _report(app, held, Failed(failure=failure)),
            lambda: _report(app, held, TimedOut(failure=failure)),
            lambda: _report(app, held, Beaten(lease=LEASE)),
            lambda: app.engine.call(app.engine.sweep(["default"])),
            lambda: _claim(app),
        )
    ]
    taken, answers = asked.result(), [one.result() for one in others]
    accepted = [type(answer) for answer in answers[:3]]

    record = job.refresh().record
    assert record is not None
    outcomes = Counter(one.by for one in job.history if one.event in SETTLED)
    assert accepted.count(Applied) <= 1
    assert set(accepted) <= {Applied, LeaseLost}
    assert all(count == 1 for count in outcomes.values())
    assert record.cancel is not None or not taken
    return _end(app, job)


def _end(app: Stanchion, job: Job[None]) -> State:
    """Let what is still running be lost, and cancel what waits; a job with a request has ended by then."""
    while job.refresh().state not in FINAL:
        requested = job.record.cancel is not None
        app.engine.call(app.engine.sweep(["default"]))
        if not requested and job.refresh().state not in FINAL:
            _cancel(job)
        assert not requested or job.refresh().state in {State.RUNNING, State.CANCELLED}
    return job.state


def _at(barrier: Barrier, act: Callable[[], object]) -> object:
    barrier.wait(10)
    return act()


def _claim(app: Stanchion) -> list[Record]:
    return app.engine.call(app.engine.claim(["default"], 1, "racer", LEASE)).records


def _report(app: Stanchion, held: Record, signal: object) -> Applied | LeaseLost:
    (answer,) = app.engine.call(app.engine.report([Report(held, signal, policy_of(held.policy))]))
    return answer


def _cancel(job: Job[None]) -> bool:
    """Whether the request was taken; otherwise the job had ended."""
    try:
        job._engine.call(job._engine.ask(job.id, _ASK))
    except IllegalTransition:
        return False
    return True
