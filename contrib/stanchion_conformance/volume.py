"""A volume of stories: as many as are wanted, from a seed that a failure names."""

import re
from collections.abc import Callable
from os import urandom
from typing import Any, Final

import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis.stateful import run_state_machine_as_test

from stanchion.contract.backend import Backend
from stanchion.model.states import State
from stanchion_conformance.leading import SteeredStory
from stanchion_conformance.stage import Coverage
from stanchion_testing.clock import VirtualClock

STEPS: Final = 30
"""Steps of one story: long enough to be surprising, short enough to be cut down quickly when it fails."""

CHAPTER: Final = 10
"""Stories played in one go. After so many, Hypothesis varies those it played; new ones find more."""

_BLOB: Final = re.compile(r"@reproduce_failure\('[^']*', b'([^']*)'\)")


def play(
    backend: Backend, clock: VirtualClock, stories: int, *, seed: str | None = None, blob: str | None = None
) -> Coverage:
    """Play stories by chance, then lead a job over every row of the table.

    Args:
        backend: On what.

        clock: Its time.

        stories: How many; rounded up to whole chapters.

        seed: Where chance begins; defaults to a random place.

        blob: One story to play instead, as an earlier failure named it.

    Returns:
        What the stories covered.

    Raises:
        AssertionError: A story did not go as the oracle says; its notes say the shortest such one, and how to
            repeat it.
    """
    coverage, chosen = Coverage(), seed or str(int.from_bytes(urandom(4), "big"))

    def begin() -> SteeredStory:
        return SteeredStory(backend, clock, coverage)

    try:
        if blob is not None:
            _play(hypothesis.reproduce_failure(hypothesis.__version__, blob.encode())(begin))
        else:
            for chapter in range(0, stories, CHAPTER):
                _play(hypothesis.seed(f"{chosen}, {chapter}")(begin))
    except Exception as error:
        error.add_note(_how_to_repeat(error, chosen))
        raise
    _lead(begin)
    return coverage


def _play(machine: Callable[[], Any]) -> None:
    settings = hypothesis.settings(
        max_examples=CHAPTER,
        stateful_step_count=STEPS,
        phases=set(hypothesis.settings().phases) - {Phase.explain},  # it traces each line, and takes minutes
        deadline=None,
        database=None,
        derandomize=False,
        print_blob=True,
        report_multiple_bugs=False,
        suppress_health_check=[HealthCheck.too_slow],  # a store may be a server far away
    )
    made: Any = machine  # what Hypothesis says is a class of machines may be any function that makes one
    run_state_machine_as_test(made, settings=settings)


def _lead(begin: Callable[[], SteeredStory]) -> None:
    """Lead a job over every row of the table, and try all that each state does not allow."""
    for state in State:
        story = begin()
        try:
            story.tour(state)
        finally:
            story.teardown()


def _how_to_repeat(error: Exception, seed: str) -> str:
    found = _BLOB.search("\n".join(getattr(error, "__notes__", ())))
    one = f"\nTo repeat this story: --stanchion-replay={found[1]}" if found else ""
    return f"To repeat all of these stories: --hypothesis-seed={seed}{one}"
