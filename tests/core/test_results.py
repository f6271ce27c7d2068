"""For how long one wait for a result lasts, by numbers."""

from contextlib import suppress
from datetime import timedelta
from types import SimpleNamespace

import pytest

from stanchion import results
from stanchion.errors import BackendError, ResultTimeout
from stanchion.results import POLL, POLL_BLIND, ended
from stanchion.states import State
from stanchion.steps import Call, Pause
from stanchion_memory import MemoryBackend
from support.factories import a_record

START = 1000.0


class Waiting:
    """Somebody who waits for the end of a job, driven by hand on a clock that stands still."""

    def __init__(self, monkeypatch, timeout):
        self.now, self._can_be_watched = START, True
        monkeypatch.setattr(results, "time", SimpleNamespace(monotonic=lambda: self.now))
        self._steps = ended(MemoryBackend(), "mail:1", timeout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with suppress(TimeoutError):  # whoever waits is interrupted, and closes the watch
            self._steps.throw(TimeoutError())
            self._steps.send(None)

    def cannot_be_watched(self):
        """Let the backend refuse the watch."""
        self._can_be_watched = False
        return self

    def step(self):
        """The next step that waits; whatever comes before is answered: the job still runs."""
        step = next(self._steps)
        while isinstance(step, Call) and step.verb != "next":
            if step.verb == "watch" and not self._can_be_watched:
                step = self._steps.throw(BackendError("no more watches"))
            else:
                step = self._steps.send([a_record(State.RUNNING)] if step.verb == "get" else step.verb)
        return step

    def passed(self, seconds):
        """Let that step have lasted so long, without any news."""
        self.now += seconds
        step = self._steps.send(frozenset())
        while isinstance(step, Call):
            step = self._steps.send([a_record(State.RUNNING)] if step.verb == "get" else None)


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
