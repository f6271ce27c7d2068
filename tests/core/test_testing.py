"""What tests stand on, under test: the virtual clock, and the invariants that the conformance suite looks for."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from stanchion.errors import InvalidArgument
from stanchion.model.states import State
from stanchion_conformance.invariants import broken
from stanchion_conformance.making import an_item, in_states, inserted
from stanchion_memory import MemoryBackend
from stanchion_testing.clock import START, VirtualClock


def test_the_clock_stands_still_until_it_is_moved() -> None:
    clock = VirtualClock()

    assert clock.now() == clock.now() == START


@pytest.mark.parametrize(
    ("given", "units", "moved"),
    [
        (30, {}, timedelta(seconds=30)),
        (timedelta(days=1), {}, timedelta(days=1)),
        (0, {"hours": 1, "milliseconds": 5}, timedelta(hours=1, milliseconds=5)),
        (0.0019, {}, timedelta(milliseconds=1)),
    ],
)
def test_the_clock_moves_on_in_whole_milliseconds(
    given: float | timedelta, units: dict[str, float], moved: timedelta
) -> None:
    assert VirtualClock().advance(given, **units) == START + moved


def test_the_clock_does_not_move_back() -> None:
    clock = VirtualClock()

    with pytest.raises(InvalidArgument, match="cannot set the clock back by"):
        clock.advance(-1)
    assert clock.now() == START


def test_who_subscribed_is_called_after_each_move_until_he_ends_it() -> None:
    clock = VirtualClock()
    seen: list[Any] = []
    end = clock.subscribe(lambda: seen.append(clock.now()))
    clock.advance(1)
    clock.advance(1)
    end()
    end()
    clock.advance(1)

    assert seen == [START + timedelta(seconds=1), START + timedelta(seconds=2)]


DAMAGES: dict[str, Callable[[Any], object]] = {
    "its run is 1, its claim None": lambda shelf: alter(shelf, "mail:running", claim=None),
    "its lease ends None": lambda shelf: alter(shelf, "mail:running", due_at=None),
    "its run is 0, its claim c": lambda shelf: alter(shelf, "mail:queued", claim="c"),
    "it has a deadline": lambda shelf: alter(shelf, "mail:queued", due_at=START),
    "it ended None": lambda shelf: alter(shelf, "mail:failed", ended_at=None),
    "it ended 2030": lambda shelf: alter(shelf, "mail:blocked", ended_at=START),
    "its revision is -1": lambda shelf: alter(shelf, "mail:blocked", revision=-1),
    "its run is 3 and it was started None": lambda shelf: alter(shelf, "mail:blocked", run=3),
    "hold the unique key digest": lambda shelf: alter(shelf, "mail:queued", unique="digest"),
    "whole milliseconds": lambda shelf: alter(
        shelf, "mail:failed", ended_at=START + timedelta(microseconds=1)
    ),
    "is listed as blocked and is scheduled": lambda shelf: alter(
        shelf, "mail:blocked", state=State.SCHEDULED
    ),
    "have the same place": lambda shelf: alter(shelf, "mail:u", place=shelf.records["mail:queued"].place),
}


def alter(shelf: Any, job_id: str, **fields: Any) -> None:
    """Change a record behind the backend's back."""
    shelf.records[job_id] = replace(shelf.records[job_id], **fields)


def a_store() -> MemoryBackend:
    """Jobs in all states."""
    backend = MemoryBackend(clock=VirtualClock())
    in_states(backend, {state.value: state for state in State})
    inserted(backend, an_item("u", unique="digest", scope="end"))
    return backend


@pytest.mark.parametrize("words", DAMAGES)
def test_broken_invariants_are_named(words: str) -> None:
    """A store that is sound but for one thing."""
    backend = a_store()
    assert broken(backend) == []
    DAMAGES[words](backend._shelves["mail"])

    assert any(words in found for found in broken(backend))
