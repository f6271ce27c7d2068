"""For how long one wait for a result lasts, by numbers."""

from contextlib import suppress
from datetime import timedelta
from types import SimpleNamespace

import pytest

from stanchion.engine import waiting as results
from stanchion.engine.operations import Call, Pause
from stanchion.engine.waiting import POLL, POLL_BLIND, wait_for_end
from stanchion.errors import BackendError, JobNotFound, ResultTimeout
from stanchion.model.states import State
from stanchion_memory import MemoryBackend
from support.factories import NOW, a_record

START = 1000.0


class Waiting:
    """Somebody who waits for the end of a job, driven by hand on a clock that stands still."""

    def __init__(self, monkeypatch, timeout=None):
        self.now, self.job = START, a_record(State.RUNNING)
        self.asked = []
        self._can_be_watched = True
        monkeypatch.setattr(results, "time", SimpleNamespace(monotonic=lambda: self.now))
        self._steps = wait_for_end(MemoryBackend(), "mail:1", timeout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with suppress(TimeoutError):  # whoever waits is interrupted, and closes the watch
            self._until_it_waits(self._steps.throw(TimeoutError()))

    def cannot_be_watched(self):
        """Let the backend refuse the watch."""
        self._can_be_watched = False
        return self

    def step(self):
        """The first step that waits."""
        return self._until_it_waits(next(self._steps))

    def passed(self, seconds):
        """The next one, when that has lasted so long without any news."""
        self.now += seconds
        return self._until_it_waits(self._steps.send(frozenset()))

    def _until_it_waits(self, step):
        while isinstance(step, Call) and step.verb != "next":
            self.asked.append(step.verb)
            if step.verb == "watch" and not self._can_be_watched:
                step = self._steps.throw(BackendError("no more watches"))
            else:
                step = self._steps.send([self.job] if step.verb == "get" else step.verb)
        return step


@pytest.mark.parametrize(
    ("timeout", "waits"),
    [(None, POLL), (timedelta(hours=1), POLL), (timedelta(seconds=2), timedelta(seconds=2))],
    ids=str,
)
def test_a_wait_for_news_ends_with_the_timeout(monkeypatch, timeout, waits):
    """And after a while in any case, since a message may be lost."""
    with Waiting(monkeypatch, timeout) as waiting:
        step = waiting.step()

    assert (step.verb, step.of, step.args) == ("next", "watch", (waits,))


@pytest.mark.parametrize(
    ("timeout", "pauses"),
    [(None, POLL_BLIND), (timedelta(milliseconds=30), timedelta(milliseconds=30))],
    ids=str,
)
def test_a_pause_where_nothing_can_be_watched_ends_with_the_timeout(monkeypatch, timeout, pauses):
    """A result is asked for now and then."""
    with Waiting(monkeypatch, timeout) as waiting:
        step = waiting.cannot_be_watched().step()

    assert isinstance(step, Pause)
    assert step.seconds == pytest.approx(pauses.total_seconds())


def test_a_result_that_does_not_come_in_time_is_given_up(monkeypatch):
    """Once the timeout is over, and the watch is closed."""
    waiting = Waiting(monkeypatch, timedelta(seconds=2))
    waiting.step()

    with pytest.raises(ResultTimeout):
        waiting.passed(2)
    assert waiting.asked[-1] == "close"


def test_a_job_that_was_read_before_the_watch_was_opened_is_read_again(monkeypatch):
    """It may have ended in between; nobody would hear of that."""
    with Waiting(monkeypatch) as waiting:
        waiting.step()

    assert waiting.asked == ["get", "watch", "get", "close"]


def test_the_result_of_another_job_of_the_same_id_is_not_waited_for(monkeypatch):
    """The first one is gone, and its end will never be heard of."""
    waiting = Waiting(monkeypatch)
    waiting.step()
    waiting.job = a_record(State.RUNNING, created_at=NOW + timedelta(seconds=1))

    with pytest.raises(JobNotFound):
        waiting.passed(1000)
