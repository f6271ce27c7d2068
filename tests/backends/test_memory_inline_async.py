"""The memory backend keeps the contract on a loop, too."""

from collections.abc import Iterator

import pytest

from stanchion.contract.backend import Backend
from stanchion.engine.async_adapter import Inline
from stanchion_conformance import Smoke, blocking
from stanchion_memory import MemoryBackend
from stanchion_testing.clock import VirtualClock


class TestMemoryInline(Smoke):
    """Its verbs, made async by running inline."""

    @pytest.fixture
    def backend(self, clock: VirtualClock) -> Iterator[Backend]:
        """A store of its own, on a loop of its own."""
        with blocking(lambda: Inline(MemoryBackend(clock=clock))) as backend:
            yield backend
