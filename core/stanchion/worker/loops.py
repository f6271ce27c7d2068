"""The loop of a worker that has a thread to itself: it ends even if a handler does not."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

ENDING: Final = 0.25
"""Seconds that tasks left on the loop have to end once they are cancelled; and again for async generators."""


def run_on_own_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a new loop, as `asyncio.run` does, but do not wait for tasks that swallow cancellation.

    Args:
        main: The coroutine.

    Returns:
        What the coroutine returns.
    """
    loop = asyncio.new_event_loop()
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(main)
    finally:
        try:
            loop.run_until_complete(_end(loop))
        finally:
            asyncio.set_event_loop(None)
            loop.close()


async def _end(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what is left, and wait a little; `loop.close` waits for no thread."""
    left = asyncio.all_tasks(loop) - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        _, stubborn = await asyncio.wait(left, timeout=ENDING)
        for task in stubborn:
            left_behind: Any = task
            left_behind._log_destroy_pending = False  # as asyncio itself does with tasks it leaves behind
    closing = asyncio.ensure_future(loop.shutdown_asyncgens())
    await asyncio.wait({closing}, timeout=ENDING)
