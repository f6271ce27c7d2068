"""When the keeper sweeps and ticks, and what it does with queues that refuse it; by numbers, without waiting."""

from datetime import timedelta
from types import SimpleNamespace

import pytest

from stanchion.errors import BackendError, Unavailable
from stanchion.worker.keeper import sweeping
from stanchion.worker.keeper.duties import Complaints
from stanchion.worker.keeper.sweeping import Sweep, Tick
from stanchion.worker.keeper.table import Table
from support.factories import LEASE

START = 1000.0
PERIOD = timedelta(seconds=5)


class Engine:
    """Answers sweeps as a test says, and keeps what was asked and told."""

    def __init__(self):
        self.plugins, self.swept, self.told = self, [], []
        self.answer = lambda queues: (0, False)

    def sweep_once(self, queues, *, observer):
        return list(queues)

    def call(self, queues):
        self.swept.append(queues)
        answer = self.answer(queues)
        if isinstance(answer, BackendError):
            raise answer
        return answer

    def notify(self, hook, **arguments):
        self.told.append((hook, arguments))


class Scene:
    """A sweeper on a clock that stands still."""

    def __init__(self, monkeypatch):
        self.now = START
        monkeypatch.setattr(sweeping, "monotonic", lambda: self.now)
        self.engine, self.posted, self.waited = Engine(), [], []
        loop = SimpleNamespace(call_soon_threadsafe=self.posted.append)
        self.table = Table(self.engine, {}, loop, ["a", "bad", "c"], LEASE, None, None, Complaints())
        self.sweep = Sweep(self.table, PERIOD, "queued")

    def at(self, seconds):
        """Sweep when so many seconds have passed; what was swept by then."""
        self.now = START + seconds
        self.sweep()
        return len(self.engine.swept)


@pytest.fixture
def scene(monkeypatch):
    return Scene(monkeypatch)


def test_queues_are_swept_once_in_a_period(scene):
    """It sleeps until the next one begins."""
    assert [scene.at(seconds) for seconds in (0, 1, 4.99, 5, 9.99, 10)] == [1, 1, 1, 2, 2, 3]
    scene.now += 2
    assert scene.sweep.pause == 3


def test_a_queue_that_refuses_does_not_keep_back_the_others(scene):
    """They are swept one by one; what was moved in them is told."""
    scene.engine.answer = lambda queues: BackendError("damaged") if "bad" in queues else (2, False)
    scene.at(0)

    assert scene.engine.swept == [["a", "bad", "c"], ["a"], ["bad"], ["c"]]
    assert scene.engine.told == [("swept", {"count": 2})] * 2
    assert scene.posted == ["queued"] * 2


def test_a_store_that_cannot_be_reached_is_not_asked_for_each_queue(scene):
    """Each call might wait for its whole deadline; the next period tries again."""
    scene.engine.answer = lambda queues: Unavailable("away")
    with pytest.raises(Unavailable):
        scene.at(0)

    assert scene.engine.swept == [["a", "bad", "c"]]
    assert scene.sweep.pause == PERIOD.total_seconds()


def test_nobody_is_told_of_a_sweep_that_moved_nothing(scene):
    """The worker need not look for jobs."""
    scene.at(0)

    assert (scene.posted, scene.engine.told) == ([], [])


@pytest.mark.parametrize(("pause", "waits"), [(60.0, 1.0), (0.25, 0.25)])
def test_the_hook_tick_is_called_once_a_second(scene, pause, waits):
    """In between it sleeps, until something else is due."""
    tick = Tick(scene.table, SimpleNamespace(wait=scene.waited.append), lambda: pause)
    for seconds in (0, 0.5, 0.99, 1, 1.5, 2):
        scene.now = START + seconds
        tick()

    assert scene.engine.told == [("tick", {})] * 3
    assert scene.waited[0] == waits
