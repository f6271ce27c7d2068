"""Interrupts at every place where Python can raise one, each once: no luck is needed to hit the worst of them."""

import gc
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

MOST = 3000
"""Places in one try; if there are more, each try leaves something behind that the next one stumbles over."""


class Interrupted(KeyboardInterrupt):
    """An interrupt of `interrupted`, and nobody else's."""


def interrupted(
    act: Callable[[], object], first: Callable[[], object] | None = None
) -> Iterator[BaseException | None]:
    """Do something again and again, interrupted at one place later each time, until it was not interrupted.

    A signal is noticed when a Python function begins, and after a C function has returned. What each try raised is
    answered: keep it, as a program may, so that nothing is cleaned up by chance.

    Args:
        act: What to do.

        first: What to do before it each time, without an interrupt.
    """
    place, over = 0, False
    while not over:
        place += 1
        if first is not None:
            first()
        raised = _try(act, place)
        over = raised is None
        assert place < MOST, f"{act!r} does more each time"
        yield raised


def _try(act: Callable[[], object], place: int) -> BaseException | None:
    left = place

    def profile(_: FrameType, event: str, __: Any) -> None:
        nonlocal left
        if event in ("call", "c_return"):
            left -= 1
            if left == 0:
                sys.setprofile(None)
                raise Interrupted

    gc.disable()  # an interrupt inside of somebody's gc callback would be ignored
    sys.setprofile(profile)
    try:
        act()
    except BaseException as error:  # noqa: BLE001  # some are translated on their way
        return error
    finally:
        sys.setprofile(None)
        gc.enable()
    return None
