"""How outcomes reach the backend: together, bounded, and none of them lost on the way."""

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from types import SimpleNamespace

import pytest

from stanchion.errors import BackendError, Contended, LeaseLost, Unavailable
from stanchion.model.changes import Applied
from stanchion.model.signals import Completed, Failed, Released
from stanchion.model.states import Event, State
from stanchion.worker import settling
from stanchion.worker.runs import Act, Lease, Run
from stanchion.worker.settling import Settler, size_of
from support.factories import NOW, a_failure, a_policy, a_record
from support.waiting import aeventually

BATCH, BYTES = 100, 1000


class Recorder:
    """An engine that answers reports as a test says, and keeps what it was asked."""

    def __init__(self, answer=None):
        self.backend = SimpleNamespace(limits=SimpleNamespace(batch=BATCH, bytes=BYTES))
        self.groups = []
        self._answer = answer or (lambda group: [Applied(NOW, 1)] * len(group))

    def report(self, reports, *, observer):
        return list(reports)

    async def acall(self, reports):
        keys = [report.job.id.partition(":")[2] for report in reports]
        self.groups.append(keys)
        await asyncio.sleep(0)
        answer = self._answer(keys)
        if isinstance(answer, BaseException):
            raise answer
        return answer


def a_run(key):
    run = Run(a_record(State.RUNNING, id=f"mail:{key}"), Lease(0, 30), 0)
    run.move(Act.ENTER)
    run.move(Act.LEAVE)
    return run


@asynccontextmanager
async def settling_with(engine, runs, signal=None):
    """A settler that works beside the test, and was given these outcomes; yields what it has settled."""
    settled = []
    settler = Settler(engine, lambda run: settled.append(run.record.id.partition(":")[2]), lambda *_: None)
    for run in runs:
        settler.put(run, signal or Completed(result=b"1"))
    delivery = asyncio.create_task(settler.deliver())
    try:
        yield settler, settled
    finally:
        delivery.cancel()


def settled_by(engine, keys, signal=None):
    """Everything that a settler has settled, in order."""

    async def story():
        async with settling_with(engine, map(a_run, keys), signal) as (settler, settled):
            await asyncio.wait_for(settler.emptied(), 10)
            return settled

    return asyncio.run(story())


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(settling, "PAUSES", (0.0,))


def test_outcomes_are_recorded_together():
    """Those that are there go in one round trip, in their order."""
    engine = Recorder()

    assert settled_by(engine, "abc") == ["a", "b", "c"]
    assert engine.groups == [["a", "b", "c"]]


def test_a_round_trip_carries_at_most_a_batch():
    """The others follow."""
    engine = Recorder()
    keys = [f"{number}" for number in range(BATCH + 7)]

    assert settled_by(engine, keys) == keys
    assert list(map(len, engine.groups)) == [BATCH, 7]


def test_a_round_trip_carries_a_bounded_number_of_bytes():
    """A result that is too large for any group goes alone."""
    engine = Recorder()
    settled_by(engine, "abcd", Completed(result=b"x" * (BYTES // 2)))
    large = Recorder()
    settled_by(large, "ab", Completed(result=b"x" * (BYTES + 1)))

    assert engine.groups == [["a", "b"], ["c", "d"]]
    assert large.groups == [["a"], ["b"]]


@pytest.mark.parametrize(
    ("signal", "size"),
    [
        (Completed(result=b"12345"), 5),
        (Completed(result=b"12345", notes={"saved": b"123"}, append={"log": b"12"}), 10),
        (Failed(failure=a_failure(message="12", traceback="345")), 5),
        (Released(), 0),
    ],
    ids=repr,
)
def test_the_size_of_a_report_is_that_of_its_payloads(signal, size):
    """Results, notes, log lines and errors."""
    report = SimpleNamespace(signal=signal)

    assert size_of(report) == size


def test_what_gathers_during_a_round_trip_that_fails_is_not_lost():
    """Nor is the order."""

    async def story():
        answers = iter([Unavailable("away"), Unavailable("away")])
        engine = Recorder(lambda group: next(answers, None) or [Applied(NOW, 1)] * len(group))
        async with settling_with(engine, [a_run("a")]) as (settler, settled):
            await aeventually(lambda: engine.groups)
            settler.put(a_run("b"), Completed(result=b"1"))
            await asyncio.wait_for(settler.emptied(), 10)
            return settled

    assert asyncio.run(story()) == ["a", "b"]


def test_a_group_that_was_not_answered_is_halved():
    """Until it is small enough; once that is answered, groups grow again."""
    engine = Recorder(
        lambda group: Unavailable("too much") if len(group) > 2 else [Applied(NOW, 1)] * len(group)
    )
    keys = list("abcdefgh")

    assert settled_by(engine, keys) == keys
    assert [len(group) for group in engine.groups[:4]] == [8, 4, 2, 4]


def test_one_outcome_that_is_refused_does_not_keep_back_the_others():
    """It is tried again behind them."""
    refusals = [BackendError("no")] * 8
    engine = Recorder(
        lambda group: refusals.pop() if "c" in group and refusals else [Applied(NOW, 1)] * len(group)
    )
    settled = settled_by(engine, "abcdef")

    assert sorted(settled) == list("abcdef")
    assert settled[-1] == "c"


def test_a_contended_outcome_is_sent_again():
    """And is not settled before it is recorded; the others of its group are."""
    contended = [Contended("mail:b", Event.COMPLETE, 5)] * 2
    engine = Recorder(
        lambda group: [contended.pop() if key == "b" and contended else Applied(NOW, 1) for key in group]
    )

    assert settled_by(engine, "abc") == ["a", "c", "b"]
    assert engine.groups == [["a", "b", "c"], ["b"], ["b"]]


def test_an_outcome_that_came_too_late_is_settled(caplog):
    """There is nothing to be sent again; the log says what was not recorded."""
    engine = Recorder(lambda group: [LeaseLost("mail:a")])

    assert settled_by(engine, "a") == ["a"]
    assert "mail:a welcome run 1 lost its lease; outcome complete discarded" in caplog.text


def test_what_is_not_answered_is_known():
    """For a process that is about to end."""

    async def story():
        engine = Recorder(lambda group: Unavailable("away"))
        async with settling_with(engine, map(a_run, "ab")) as (settler, settled):
            await aeventually(lambda: len(engine.groups) >= 3)
            return [report.job.id for report in settler.unsent], settled

    assert asyncio.run(story()) == (["mail:a", "mail:b"], [])


def test_pauses_begin_anew_after_an_answer(monkeypatch):
    """They grow only while the backend stays away."""
    pauses = []
    monkeypatch.setattr(settling, "PAUSES", (7.0, 8.0, 9.0))
    sleep = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda seconds: pauses.append(seconds) or sleep(0))
    answers = iter(["away", "away", "here", "away", "away", "away", "away", "here"])
    engine = Recorder(
        lambda group: Unavailable("away") if next(answers, "") == "away" else [Applied(NOW, 1)] * len(group)
    )
    settled_by(engine, [f"{number}" for number in range(BATCH + 7)])

    assert [pause for pause in pauses if pause] == [7.0, 8.0, 7.0, 8.0, 9.0, 9.0]


def test_a_run_that_was_not_entered_goes_by_the_policy_of_its_job():
    """Which it has not read: a job that is cancelled meanwhile is kept for as long as it says."""
    run = Run(a_record(State.RUNNING, policy=a_policy(keep=timedelta(days=7))), Lease(0, 30), 0)
    settler = Settler(Recorder(), lambda run: None, lambda *_: None)
    settler.put(run, Released())

    assert settler.unsent[0].policy.keep == timedelta(days=7)


def test_the_time_of_a_run_goes_with_its_outcome():
    """Plugins hear how long the handler took."""

    async def story():
        reports = []
        engine = Recorder()
        engine.report = lambda found, observer: reports.extend(found) or found
        run = a_run("a")
        run.started_at, run.ended_at = 100.0, 107.5
        async with settling_with(engine, [run]) as (settler, _):
            await asyncio.wait_for(settler.emptied(), 10)
        return reports[0].elapsed

    assert asyncio.run(story()) == timedelta(seconds=7.5)
