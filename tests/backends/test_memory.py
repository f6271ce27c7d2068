"""The memory backend keeps the contract."""

from collections.abc import Iterator

import pytest

from stanchion_conformance import BackendSuite
from stanchion_memory import MemoryBackend
from stanchion_testing.clock import VirtualClock


class TestMemory(BackendSuite):
    """Its sync verbs."""

    @pytest.fixture
    def backend(self, clock: VirtualClock) -> Iterator[MemoryBackend]:
        """A store of its own."""
        backend = MemoryBackend(clock=clock)
        yield backend
        backend.close()
