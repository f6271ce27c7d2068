"""What the keeper makes of a job that was changed from outside, and how long it sleeps; by numbers, without waiting."""

from types import SimpleNamespace

import pytest

from stanchion.context import StopReason
from stanchion.errors import JobNotFound, StanchionError
from stanchion.model.records import Cancel
from stanchion.model.states import State
from stanchion.worker.keeper import cancels
from stanchion.worker.keeper.cancels import PAUSE, WatchCancels
from stanchion.worker.runs import Act, Lease, Run
from stanchion_memory import MemoryBackend
from support.factories import LEASE, NOW, a_record

START = 1000.0
SECONDS = LEASE.total_seconds()
ASKED = Cancel(at=NOW)


class Table:
    """A keeper's view of some runs, whose jobs are now as a test says."""

    def __init__(self, *runs):
        self.engine, self.backend, self._runs = self, None, runs
        self.there = {}
        self.stopped = []

    def now(self):
        return list(self._runs)

    def get(self, job_id):
        return job_id

    def call(self, job_id):
        if job_id not in self.there:
            raise JobNotFound(job_id)
        return self.there[job_id]

    def stop(self, run, reason):
        run.ask_to_stop(reason)
        self.stopped.append((run, reason))


class Ending:
    """Says for how long it was waited for."""

    def __init__(self):
        self.waited = []

    def wait(self, seconds):
        self.waited.append(seconds)


def a_run(**fields):
    run = Run(a_record(State.RUNNING, **fields), Lease(START, SECONDS), START)
    run.open(run.policy)
    run.move(Act.ENTER)
    return run


def looked_at(run, **fields):
    """The table after a look at a run whose job is now like this."""
    table = Table(run)
    if fields:
        table.there[run.record.id] = a_record(State.RUNNING, **fields)
    WatchCancels(table, Ending(), lambda: False).look_at([run])
    return table


def test_a_handler_whose_job_is_to_be_cancelled_is_asked_to_stop():
    """And the revision is known from now on, so that it is looked at once."""
    run = a_run()
    table = looked_at(run, revision=4, cancel=ASKED)

    assert table.stopped == [(run, StopReason.CANCEL)]
    assert run.revision == 4


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"revision": 4},
        {"revision": 4, "claim": "claim-2", "cancel": ASKED},
    ],
    ids=["its job is gone", "another change", "another run of it is to be cancelled"],
)
def test_other_changes_stop_no_handler(fields):
    """Nor does a cancel that is meant for another run."""
    assert looked_at(a_run(), **fields).stopped == []


def test_a_handler_that_stops_for_another_reason_is_not_asked_again():
    """The first reason stays."""
    run = a_run()
    run.ask_to_stop(StopReason.TIMEOUT)

    assert looked_at(run, cancel=ASKED).stopped == []


@pytest.mark.parametrize(
    ("beat_in", "waiting", "pause"),
    [(SECONDS, False, PAUSE), (0.1, False, 0.1), (-1.0, False, 0.005), (SECONDS, True, 0.005)],
    ids=["nothing is due", "a beat is due soon", "a beat is late", "a time limit is to be recorded"],
)
def test_it_sleeps_until_something_is_due(monkeypatch, beat_in, waiting, pause):
    """But not for long, since what handlers write is to be sent as well."""
    monkeypatch.setattr(cancels, "monotonic", lambda: START)
    ending, run = Ending(), a_run()
    run.lease = SimpleNamespace(beat_at=START + beat_in)
    WatchCancels(Table(run), ending, lambda: waiting)()

    assert ending.waited == pytest.approx([pause])


def test_it_sleeps_although_it_cannot_listen(monkeypatch):
    """Else its thread would try again without end, as quickly as it can."""
    monkeypatch.setattr(cancels, "monotonic", lambda: START)
    table, ending = Table(), Ending()
    table.queues, table.backend = ["mail"], MemoryBackend()
    table.backend.close()
    with pytest.raises(StanchionError):
        WatchCancels(table, ending, lambda: False)()

    assert ending.waited == pytest.approx([PAUSE])
