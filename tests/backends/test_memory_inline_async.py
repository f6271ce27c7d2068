"""The memory backend keeps the contract on a loop, too."""

from collections.abc import Iterator

import pytest

from stanchion.backend import Backend
from stanchion.inline import Inline
from stanchion.testing.clock import VirtualClock
from stanchion.testing.conformance import BackendSuite, blocking
from stanchion_memory import MemoryBackend


class TestMemoryInline(BackendSuite):
    """Its verbs, made async by running inline."""

    RACERS = 5
    STORIES = 20

    @pytest.fixture
    def backend(self, clock: VirtualClock) -> Iterator[Backend]:
        """A store of its own, on a loop of its own."""
        with blocking(lambda: Inline(MemoryBackend(clock=clock))) as backend:
            yield backend
