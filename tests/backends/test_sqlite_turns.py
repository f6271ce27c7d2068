"""Processes that write to one SQLite file take turns."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from time import monotonic

import pytest

from stanchion_conformance.making import an_item, inserted
from stanchion_sqlite import SqliteBackend, locks, turns
from stanchion_sqlite.turns import BOTH_FREE, Turns
from support.hands import hands
from support.sqlite_deeds import backend_on
from support.waiting import eventually

pytestmark = pytest.mark.skipif(locks.SET is None, reason="only Linux has locks of open files")

LONG = 60.0
"""Seconds: longer than anybody waits who gets a turn."""


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[], Turns]]:
    """Makes one process's turns at a log."""
    descriptors: list[int] = []

    def another() -> Turns:
        descriptors.append(os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT))
        return Turns(descriptors[-1])

    yield another
    for descriptor in descriptors:
        os.close(descriptor)


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[SqliteBackend]:
    """A backend that has written."""
    with closing(backend_on(tmp_path / "jobs.db")) as backend:
        inserted(backend, an_item("a"))
        yield backend


def give_back(one: Turns) -> None:
    """End a turn."""
    assert locks.is_set(one.descriptor, BOTH_FREE)


def _nobody_is_next(looking: Turns) -> bool:
    """Look, and leave it so."""
    try:
        return locks.is_set(looking.descriptor, turns._NEXT)
    finally:
        give_back(looking)


def test_who_has_just_written_does_not_overtake_who_waits(opened) -> None:
    """The next in line has the lock of the next, and only he can get the other one."""
    busy, waiting, looking = opened(), opened(), opened()
    assert busy.take(0)
    with ThreadPoolExecutor(1) as threads:
        turn = threads.submit(waiting.take, monotonic() + LONG)
        eventually(lambda: not _nobody_is_next(looking))
        give_back(busy)
        overtaking = busy.take(0)
        waited = turn.result()

    assert not overtaking
    assert waited
    assert _nobody_is_next(looking)
    give_back(waiting)
    assert busy.take(0)


def test_a_turn_that_nobody_has_is_taken_without_waiting(opened) -> None:
    """Again and again by the same process, and by others."""
    for one in (opened(), opened()):
        for _ in range(3):
            assert one.take(0)
            give_back(one)


def test_a_turn_is_waited_for_until_the_deadline(opened) -> None:
    """Then there was none."""
    first, second = opened(), opened()
    first.take(0)

    assert not second.take(monotonic() + 0.02)
    assert not second.take(0)


def test_a_process_that_was_stopped_in_line_holds_up_nobody(opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it is the next, it does not take the turn that is there."""
    monkeypatch.setattr(turns, "COURTESY", LONG)
    stopped, other = opened(), opened()
    assert locks.is_set(stopped.descriptor, turns._NEXT)

    assert other.take(monotonic() + LONG / 2)


def test_a_process_that_was_stopped_behind_its_turn_holds_up_nobody(
    backend: SqliteBackend, opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the turn, but not SQLite's lock: the others write without one after a while."""
    monkeypatch.setattr(turns, "COURTESY", 0.02)
    log = os.open(backend._database.pair.log.name, os.O_RDWR)
    assert Turns(log).take(0)

    assert inserted(backend, an_item("b"))[0].created
    os.close(log)


def test_a_process_that_dies_gives_its_turn_back(backend: SqliteBackend) -> None:
    """Whoever waits has it then, and nobody needs to know of the dead one."""
    turn = backend._database.pair.turns
    with hands(1) as (hand,):
        assert hand.do("sqlite_deeds:take_turn", backend._database.path)
        assert not turn.take(0)

    assert eventually(lambda: turn.take(0))
    give_back(turn)


def test_a_call_that_fails_gives_its_turn_back(backend: SqliteBackend, opened) -> None:
    """Whatever it raises."""

    def fail(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backend._database.write(fail)
    log = os.open(backend._database.pair.log.name, os.O_RDWR)

    assert Turns(log).take(0)
    os.close(log)
