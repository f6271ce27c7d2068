"""Which leases the keeper extends, and which runs it hands back or abandons; all by numbers, without waiting."""

from contextlib import suppress

import pytest

from stanchion.context import StopReason
from stanchion.errors import BackendError, Contended, LeaseLost, Unavailable
from stanchion.model.changes import Applied
from stanchion.model.policies import Policy
from stanchion.model.signals import Beaten, Released, TimedOut
from stanchion.model.states import Event, State
from stanchion.worker.keeper import leases
from stanchion.worker.keeper.duties import Complaints
from stanchion.worker.keeper.leases import AbandonRuns, RenewLeases
from stanchion.worker.keeper.table import Table
from stanchion.worker.keeper.timeouts import RecordTimeouts, TimeLimits
from stanchion.worker.runs import Act, Lease, Phase, Run
from support.factories import LEASE, NOW, a_record

START = 1000.0
"""When all of these runs were claimed, and their claims answered."""

SECONDS = LEASE.total_seconds()


class Loop:
    """A loop that does at once what it is asked."""

    def call_soon_threadsafe(self, call, *args):
        call(*args)


class Backend:
    """Answers reports as a test says, and keeps what was reported."""

    def __init__(self):
        self.reports = []
        self.answer = lambda report: Applied(NOW, report.job.revision)

    def report(self, reports, *, observer):
        return list(reports)

    def call(self, reports):
        self.reports += reports
        answers = [self.answer(report) for report in reports]
        for answer in answers:
            if isinstance(answer, BackendError | ValueError):
                raise answer
        return answers


class Scene:
    """Some runs, and a keeper's view of them at a time that stands still."""

    def __init__(self, monkeypatch):
        self.now = START
        monkeypatch.setattr(leases, "monotonic", lambda: self.now)
        self.backend, self.settled, self.touched = Backend(), [], []
        self.runs = {}
        self.table = Table(
            self.backend,
            self.runs,
            Loop(),
            ["mail"],
            LEASE,
            self.settled.append,
            lambda *_: None,
            Complaints(),
        )
        self.renew = RenewLeases(self.table, self.touched.extend)

    def a_run(self, key="a", *, queue="mail", entered=True):
        run = Run(a_record(State.RUNNING, id=f"{queue}:{key}", revision=3), Lease(START, SECONDS), START)
        run.open(Policy())
        if entered:
            run.move(Act.ENTER)
            run.started_at = START
        self.runs[key] = run
        return run

    def at(self, seconds):
        """Let this many seconds have passed since the claim, and renew what is due."""
        self.now = START + seconds
        self.renew()
        return [type(report.signal) for report in self.backend.reports]


@pytest.fixture
def scene(monkeypatch):
    return Scene(monkeypatch)


def test_a_lease_is_extended_when_a_third_of_it_is_over(scene):
    """And counts from then."""
    run = scene.a_run()

    assert scene.at(SECONDS / 3 - 0.01) == []
    assert scene.at(SECONDS / 3) == [Beaten]
    assert run.lease.ends == START + SECONDS / 3 + SECONDS
    assert scene.backend.reports[0].signal.lease == LEASE


def test_a_lease_counts_from_when_its_beat_was_sent(scene):
    """The backend counts from when it answered, which was later: the worker lets go no later than it."""
    run = scene.a_run()

    def late(report):
        scene.now += 3
        return Applied(NOW, report.job.revision)

    scene.backend.answer = late
    scene.at(SECONDS / 3)

    assert run.lease.ends == START + SECONDS / 3 + SECONDS


def test_what_a_handler_wrote_is_sent_at_once(scene):
    """Log lines alone as well; it does not wait for the beat."""
    scene.a_run().job.log("a line")

    assert scene.at(0.1) == [Beaten]
    assert scene.backend.reports[0].signal.append == {"log": b"a line"}


def test_what_a_handler_writes_after_its_time_was_up_is_not_sent(scene):
    """The run's outcome is decided, and carries what was written before."""
    run = scene.a_run()
    run.move(Act.OVERRULE)
    run.job.log("too late")

    assert scene.at(0.1) == []


def test_what_a_handler_wrote_is_sent_again_after_a_beat_that_failed(scene):
    """A twelfth of the lease later, together with what was written since."""
    run = scene.a_run()
    run.job.save("first")
    scene.backend.answer = lambda report: Unavailable("away")
    with pytest.raises(Unavailable):
        scene.at(1)
    run.job.log("second")
    scene.backend.answer = lambda report: Applied(NOW, 3)
    scene.at(1 + SECONDS / 12)
    signal = scene.backend.reports[-1].signal

    assert (signal.notes, signal.append) == ({"saved": b'"first"'}, {"log": b"second"})


@pytest.mark.parametrize(
    "answer", [Contended("mail:a", Event.BEAT, 5), LeaseLost("mail:a"), ValueError("a bug")], ids=repr
)
def test_what_a_handler_wrote_is_kept_whatever_came_of_its_beat(scene, answer):
    """It goes with the next beat, or with the outcome."""
    run = scene.a_run()
    run.job.save("kept")
    scene.backend.answer = lambda report: answer
    with suppress(ValueError):
        scene.at(1)

    assert run.job.unsent.take_all() == ({"saved": b'"kept"'}, {})


def test_a_beat_that_failed_is_tried_again_a_twelfth_later(scene):
    """The lease still ends when it did."""
    run = scene.a_run()
    scene.backend.answer = lambda report: Unavailable("away")
    with pytest.raises(Unavailable):
        scene.at(SECONDS / 3)

    assert run.lease.beat_at == pytest.approx(START + SECONDS / 3 + SECONDS / 12)
    assert run.lease.ends == START + SECONDS


def test_a_run_that_does_not_start_is_handed_back(scene):
    """Its handler would be kept for ever by a loop that is blocked, or by threads that cannot be started."""
    run = scene.a_run(entered=False)

    assert scene.at(SECONDS / 3 - 0.01) == []
    assert scene.at(SECONDS / 3) == [Released]
    assert (run.phase, scene.settled) == (Phase.OVER, [run])
    assert run.move(Act.ENTER) is None


def test_a_run_that_could_not_be_handed_back_is_not_kept(scene):
    """It is tried again, and its lease is not extended meanwhile."""
    run = scene.a_run(entered=False)
    scene.backend.answer = lambda report: Unavailable("away")
    for _ in range(2):
        with pytest.raises(Unavailable):
            scene.at(SECONDS / 3)
    scene.backend.answer = lambda report: Applied(NOW, 3)

    assert scene.at(SECONDS / 3) == [Released] * 3
    assert (scene.settled, run.lease.ends) == ([run], START + SECONDS)


def test_a_run_whose_claim_was_just_answered_is_extended(scene):
    """It was asked for long ago, and its handler has had no time to start."""
    run = scene.a_run(entered=False)
    run.known_at = START + SECONDS / 3 - 0.1

    assert scene.at(SECONDS / 3) == [Beaten]
    assert run.phase is Phase.CLAIMED


def test_an_outcome_that_waits_keeps_its_lease(scene):
    """It may take a while until the backend is there again."""
    scene.a_run().move(Act.LEAVE)

    assert scene.at(SECONDS / 3) == [Beaten]


def test_a_job_that_was_changed_from_outside_is_looked_at(scene):
    """A cancel shows in the revision, even if nobody was told of it."""
    run, other = scene.a_run("a"), scene.a_run("b")
    scene.backend.answer = lambda report: Applied(NOW, 4 if report.job is run.record else 3)
    scene.at(SECONDS / 3)

    assert scene.touched == [run]
    assert other.lease.ends == run.lease.ends


def test_a_run_whose_job_is_lost_is_given_up(scene):
    """Its handler is asked to stop, and nothing is recorded."""
    run = scene.a_run()
    scene.backend.answer = lambda report: LeaseLost(report.job.id)
    scene.at(SECONDS / 3)

    assert (run.phase, run.stop, scene.settled) == (Phase.LINGERING, StopReason.LEASE, [run])


def test_an_outcome_that_was_quicker_than_the_beat_is_left_alone(scene):
    """Its own answer will say what became of it; no further beat is sent until one would be due again."""
    run = scene.a_run()
    run.move(Act.LEAVE)
    scene.backend.answer = lambda report: LeaseLost(report.job.id)
    scene.at(SECONDS / 3)
    sent = scene.at(SECONDS * 2 / 3 - 0.01)

    assert (run.phase, run.stop, scene.settled) == (Phase.DECIDED, None, [])
    assert sent == [Beaten]


def test_one_queue_that_refuses_beats_does_not_keep_back_another(scene):
    """Each queue's runs beat in a call of their own."""
    scene.a_run("a", queue="bad")
    good = scene.a_run("b", queue="good")
    scene.backend.answer = lambda report: (
        BackendError("damaged") if report.job.queue == "bad" else Applied(NOW, 3)
    )
    scene.at(SECONDS / 3)

    assert good.lease.ends == START + SECONDS / 3 + SECONDS


# Letting go


def test_a_handler_is_stopped_a_sixth_before_its_lease_is_over(scene):
    """So that it has left when another worker may have the job."""
    run, guard = scene.a_run(), AbandonRuns(scene.table)
    guard.look(START + SECONDS * 5 / 6 - 0.01)
    before = run.phase
    guard.look(START + SECONDS * 5 / 6)

    assert before is Phase.IN_HANDLER
    assert (run.phase, run.stop, scene.settled) == (Phase.LINGERING, StopReason.LEASE, [run])


def test_a_run_that_was_not_entered_is_abandoned_as_well(scene):
    """It never will be."""
    run = scene.a_run(entered=False)
    AbandonRuns(scene.table).look(START + SECONDS)

    assert (run.phase, run.move(Act.ENTER)) == (Phase.OVER, None)


def test_a_decided_outcome_is_not_abandoned(scene):
    """It may still be accepted, if nobody swept the job."""
    run = scene.a_run()
    run.move(Act.LEAVE)
    AbandonRuns(scene.table).look(START + SECONDS * 2)

    assert (run.phase, run.stop, scene.settled) == (Phase.DECIDED, None, [])


# Time limits


def test_a_run_past_its_limit_is_recorded_with_what_it_wrote(scene):
    """What a handler wrote before its time was up is not lost."""
    run, limits = scene.a_run(), TimeLimits(scene.table)
    run.job.save("so far")
    limit = run.policy.timeout.total_seconds()
    limits.look(START + limit - 0.01)
    early = list(limits.late)
    limits.look(START + limit)
    RecordTimeouts(scene.table, limits.late)()
    (report,) = scene.backend.reports

    assert early == []
    assert isinstance(report.signal, TimedOut)
    assert report.signal.notes == {"saved": b'"so far"'}
    assert (run.stop, scene.settled, list(limits.late)) == (StopReason.TIMEOUT, [run], [])


@pytest.mark.parametrize("answer", [Contended("mail:a", Event.TIME_OUT, 5), Unavailable("away")], ids=repr)
def test_a_limit_that_was_not_recorded_is_recorded_again(scene, answer):
    """With what the handler had written by then."""
    run, limits = scene.a_run(), TimeLimits(scene.table)
    run.job.save("so far")
    limits.look(START + run.policy.timeout.total_seconds())
    record = RecordTimeouts(scene.table, limits.late)
    scene.backend.answer = lambda report: answer
    if isinstance(answer, Unavailable):
        with pytest.raises(Unavailable):
            record()
    else:
        record()
    waiting = list(limits.late)
    scene.backend.answer = lambda report: Applied(NOW, 3)
    record()

    assert waiting == [run]
    assert scene.settled == [run]
    assert scene.backend.reports[-1].signal.notes == {"saved": b'"so far"'}


def test_a_handler_on_the_loop_is_cancelled_there(scene):
    """One in a thread is only asked."""
    cancelled = []
    run = scene.a_run()
    run.can_be_interrupted(lambda: cancelled.append(run))
    TimeLimits(scene.table).look(START + run.policy.timeout.total_seconds())

    assert cancelled == [run]
