"""A memory backend whose async verbs let the loop turn before and after each call, as one over a network does."""

import asyncio
from typing import Any, Final

from stanchion.engine.async_adapter import Inline
from stanchion_memory import MemoryBackend

TURNS: Final = 2
"""How many turns of the loop a request takes, and again its answer."""


class Yielding:
    """An `AsyncBackend` over a local backend, between whose request and answer other tasks run."""

    def __init__(self, backend: MemoryBackend) -> None:
        self._inline = Inline(backend)

    @property
    def limits(self) -> Any:
        """Those of the backend."""
        return self._inline.limits

    def __getattr__(self, verb: str) -> Any:
        call = getattr(self._inline, verb)

        async def yielding(*args: Any, **kwargs: Any) -> Any:
            for _ in range(TURNS):
                await asyncio.sleep(0)
            answer = await call(*args, **kwargs)
            for _ in range(TURNS):
                await asyncio.sleep(0)
            return answer

        return yielding

    async def close(self) -> None:
        """Nothing of its own is open; the store stays, as a server does."""


class YieldingMemory(MemoryBackend):
    """A memory backend with such an async backend: what happens between two calls can happen to its workers."""

    def to_async(self) -> Yielding:
        """See `stanchion.contract.capabilities.HasAsync`."""
        return Yielding(self)
