"""Changing: what was decided is applied, and decided again when others changed the job meanwhile."""

import time
from collections.abc import Iterator, Sequence
from typing import Final

from stanchion.contract.requests import Apply
from stanchion.engine.batching import batches, change_size
from stanchion.engine.driver import Driver
from stanchion.engine.operations import Call, Steps
from stanchion.model.changes import Applied, Change, Refused

PAUSES: Final = (0.001, 0.02)
"""Seconds between two tries are random, up to the first, then up to twice as long each time, up to the second: callers
who change one job at the same time try again at different times. After each pause there are two tries without one
between them: the refusal of the first shows the job as it is now."""


def apply(driver: Driver, changes: Sequence[Change]) -> Steps[list[Applied | Refused]]:
    """Apply changes, in batches.

    Args:
        driver: Where.

        changes: The changes.

    Returns:
        An answer for each change, in that order.
    """
    answers: list[Applied | Refused] = []
    for batch in batches(changes, driver.backend.limits, change_size):
        answers += yield Call("apply", (Apply(batch),))
    return answers


def pauses(driver: Driver) -> Iterator[float]:
    """Return the pauses before a change is decided again, until the driver's patience is over.

    Args:
        driver: Who decides.

    Returns:
        Seconds; at least two pauses, and every other one is zero.
    """
    end, longest = time.monotonic() + driver.patience.total_seconds(), PAUSES[0]
    while True:
        yield 0.0
        yield longest * driver.roll()
        if time.monotonic() >= end:
            return
        longest = min(2 * longest, PAUSES[1])
