"""The keeper's duties one by one: sweeping in a ring, complaints, and threads that nothing ends."""

import threading
from datetime import timedelta
from types import SimpleNamespace

import pytest

from stanchion.engine.engine import Engine
from stanchion.errors import Unavailable
from stanchion.model.states import State
from stanchion.plugins.manager import Plugins
from stanchion.worker.keeper import duties
from stanchion.worker.keeper.duties import COMPLAINT, Complaints, DutyThread
from stanchion.worker.keeper.guard import Guard, Pulse
from stanchion.worker.keeper.sweeping import Ring, Sweep
from stanchion.worker.keeper.table import Table
from stanchion_memory import MemoryBackend
from stanchion_testing.clock import VirtualClock
from support.factories import LEASE, an_item
from support.waiting import eventually


def swept(ring, *, more=()):
    """The queues in the order in which they are swept in one period; those of `more` always have more."""
    seen = []
    while (queues := ring.next()) is not None and len(seen) < 20:
        seen.append(queues)
        ring.done(more=bool(set(more) & set(queues)))
    return seen


def test_each_period_sweeps_every_queue_once():
    """In chunks, in their order."""
    ring = Ring(["a", "b", "c"], size=2)
    ring.begin()

    assert swept(ring) == [("a", "b"), ("c",)]
    assert ring.next() is None


def test_a_backlog_does_not_starve_the_others():
    """A queue that has more comes again, but behind all others."""
    ring = Ring(["backlog", "b", "c"], size=1)
    ring.begin()

    assert swept(ring, more=["backlog"])[:5] == [("backlog",), ("b",), ("c",), ("backlog",), ("backlog",)]


def test_queues_that_take_longer_than_a_period_are_all_swept():
    """A new period does not begin the line anew: it puts behind it what is not in there."""
    ring = Ring(["a", "b", "c", "d"], size=1)
    seen = []
    for _ in range(8):
        ring.begin()
        seen.append(ring.next())
        ring.done(more=False)

    assert seen == [("a",), ("b",), ("c",), ("d",)] * 2


def test_a_chunk_that_has_more_begins_at_another_queue():
    """So the first of its queues does not take the whole batch each time."""
    ring = Ring(["a", "b", "c"])
    ring.begin()

    assert swept(ring, more=["a"])[:4] == [("a", "b", "c"), ("b", "c", "a"), ("c", "a", "b"), ("a", "b", "c")]


def test_a_failure_that_goes_on_is_complained_of_now_and_then(monkeypatch, caplog):
    """The log is not filled by what is tried again each moment; another duty is heard."""
    now = [1000.0]
    monkeypatch.setattr(duties, "monotonic", lambda: now[0])
    complaints = Complaints()
    for seconds in (0.0, 1.0, COMPLAINT - 1.1, 0.2):
        now[0] += seconds
        complaints.make("renew leases", ValueError("no"))
    complaints.make("sweep queues", ValueError("no"))

    assert caplog.text.count("could not renew leases: no") == 2
    assert caplog.text.count("could not sweep queues: no") == 1


class Panic(BaseException):
    """What native extensions raise."""


@pytest.mark.parametrize(
    "error", [ValueError("no"), Panic("no"), SystemExit(1), KeyboardInterrupt()], ids=repr
)
def test_a_thread_goes_round_its_duties_whatever_they_raise(error):
    """To the last BaseException."""
    ending = threading.Event()

    class Raises:
        name = "raise"
        calls = 0

        def __call__(self):
            self.calls += 1
            raise error

    class Sleeps:
        name = "sleep"

        def __call__(self):
            ending.wait(0.001)

    raises = Raises()
    thread = DutyThread("a thread", [raises, Sleeps()], ending)
    thread.start()
    eventually(lambda: raises.calls >= 3)
    ending.set()

    eventually(lambda: not thread.is_alive)


def test_a_loop_that_does_not_answer_is_silent():
    """From when it was asked first, until it answers."""
    posted = []
    pulse = Pulse(lambda call: posted.append(call) or True)
    pulse.ask(100.0)
    pulse.ask(101.0)
    silent = pulse.silent_for(103.0)
    for answer in posted:
        answer()

    assert silent == 3.0
    assert len(posted) == 1
    assert pulse.silent_for(104.0) == 0.0


def test_a_queue_with_more_than_one_answer_holds_is_swept_again_at_once():
    """However few jobs that are: large ones fill an answer by their bytes."""
    clock = VirtualClock()
    engine = Engine(MemoryBackend(clock=clock), Plugins([]))
    large = b"x" * (engine.backend.limits.bytes - 10_000)
    made = [an_item(id=f"mail:{n}", state=State.SCHEDULED, due=LEASE, args=large) for n in range(3)]
    engine.call(engine.insert(made))
    clock.advance(hours=1)
    table = SimpleNamespace(queues=["mail"], engine=engine, observer=None, post=lambda _: None)
    sweep = Sweep(table, timedelta(hours=1), lambda: None)
    for _ in made:
        sweep()

    assert engine.call(engine.counts("mail"))[State.QUEUED] == 3


@pytest.mark.parametrize(("lease", "pause"), [(0.6, 0.05), (3600, 0.25)])
def test_the_guard_looks_often_enough(lease, pause):
    """Twelve times in a lease, and four times a second if that is more: time limits are shorter than leases."""
    paused = []
    table = SimpleNamespace(post=None, lease=timedelta(seconds=lease))
    guard = Guard(table, [], [], failed=None, blocked=None)
    guard._ending = SimpleNamespace(wait=lambda seconds: paused.append(seconds) or True)
    guard._work()

    assert paused == pytest.approx([pause])


def test_a_closed_loop_is_not_silent():
    """Nobody is there to answer any more, and nothing hangs on it."""
    pulse = Pulse(lambda call: False)
    pulse.ask(100.0)

    assert pulse.silent_for(200.0) == 0.0


def test_a_process_that_was_frozen_was_not_blocked(monkeypatch):
    """The guard itself was away: the loop has had no time to answer."""
    blocked = []
    table = SimpleNamespace(post=lambda call: True, lease=timedelta(seconds=30))
    guard = Guard(table, [], [], failed=blocked.append, blocked=blocked.append)
    start = guard._looked_at
    guard.look(start)
    guard.look(start + 0.25)
    guard.look(start + 3600)
    guard.look(start + 3600.25)

    assert blocked == [0.25, 0.25]


def test_a_queue_that_goes_wrong_in_any_way_does_not_keep_back_the_others():
    """Not only by what a backend may raise."""
    table = Table(None, {}, None, [], timedelta(1), None, None, Complaints())
    with table.apart("sweep queues"):
        raise ValueError("a bug")
    with pytest.raises(Unavailable), table.apart("sweep queues"):
        raise Unavailable("away")
