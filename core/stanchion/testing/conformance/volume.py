"""A volume of stories: as many as are wanted, from a seed that a failure names."""

import re
from os import urandom
from typing import Any, Final

import hypothesis
from hypothesis import HealthCheck
from hypothesis.stateful import run_state_machine_as_test

from stanchion.backend import Backend
from stanchion.testing.clock import VirtualClock
from stanchion.testing.conformance.leading import SteeredStory
from stanchion.testing.conformance.stage import Tally

STEPS: Final = 50
"""Steps of one story; Hypothesis's own choice."""

_BLOB: Final = re.compile(r"@reproduce_failure\('[^']*', b'([^']*)'\)")


def tell(backend: Backend, clock: VirtualClock, stories: int, *, seed: str | None, blob: str | None) -> Tally:
    """Tell stories by chance, then lead jobs wherever none of them went.

    Args:
        backend: To whom.

        clock: Its time.

        stories: How many.

        seed: Where chance begins, if Hypothesis was told that; otherwise one is drawn.

        blob: One story to tell instead, as an earlier failure named it.

    Raises:
        AssertionError: A story did not go as the oracle says; its notes tell the shortest such one, and how to
            tell it again.
    """
    tally = Tally()
    drawn = int.from_bytes(urandom(4), "big")

    def begin() -> SteeredStory:
        return SteeredStory(backend, clock, tally)

    machine: Any = begin if seed else hypothesis.seed(drawn)(begin)
    if blob is not None:
        machine = hypothesis.reproduce_failure(hypothesis.__version__, blob.encode())(machine)
    settings = hypothesis.settings(
        max_examples=stories,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        derandomize=False,
        print_blob=True,
        report_multiple_bugs=False,
        suppress_health_check=[HealthCheck.too_slow],  # a store may be a server far away
    )
    try:
        run_state_machine_as_test(machine, settings=settings)
    except Exception as error:
        error.add_note(_how_to_repeat(error, seed or str(drawn)))
        raise
    _complete(begin())
    return tally


def _complete(story: SteeredStory) -> None:
    try:
        story.complete()
    finally:
        story.teardown()


def _how_to_repeat(error: Exception, seed: str) -> str:
    found = _BLOB.search("\n".join(getattr(error, "__notes__", ())))
    one = f"\nTo tell this story again: --stanchion-replay={found[1]}" if found else ""
    return f"To tell all of these stories again: --hypothesis-seed={seed}{one}"
