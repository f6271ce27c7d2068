"""Waiting for what another thread or process does: the one place where tests poll."""

import asyncio
import time
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

PATIENCE: Final = 20.0
"""Seconds until a condition counts as never met; long, because a busy machine is not a failure."""

INTERVAL: Final = 0.01
"""Seconds between two looks."""


def eventually(condition: Callable[[], T], *, within: float = PATIENCE) -> T:
    """What the condition answers once that is true.

    Raises:
        AssertionError: It was not, within that many seconds.
    """
    end = time.monotonic() + within
    while not (answer := condition()):
        assert time.monotonic() < end, f"this was not so within {within:g} s: {condition!r}"
        time.sleep(INTERVAL)
    return answer


async def aeventually(condition: Callable[[], T], *, within: float = PATIENCE) -> T:
    """`eventually`, leaving the loop to others between two looks."""
    end = time.monotonic() + within
    while not (answer := condition()):
        assert time.monotonic() < end, f"this was not so within {within:g} s: {condition!r}"
        await asyncio.sleep(INTERVAL)
    return answer
