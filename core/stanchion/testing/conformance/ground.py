"""What every group of claims stands on: fixtures, hooks, and what is looked at after each test."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest

from stanchion.backend import Backend
from stanchion.testing.clock import VirtualClock
from stanchion.testing.conformance.invariants import broken, everything

F = TypeVar("F", bound=Callable[..., Any])


def unchecked(reason: str) -> Callable[[F], F]:
    """For a test after which the store cannot be looked at; says why."""

    def mark(test: F) -> F:
        test.unchecked = reason  # type: ignore[attr-defined]  # functions take attributes
        return test

    return mark


class Ground:
    """The fixtures and hooks of a backend's suite. A subclass must give the fixture `backend`."""

    @pytest.fixture
    def clock(self) -> VirtualClock:
        """The time; the fixture `backend` injects it into what it opens."""
        return VirtualClock()

    def reopen(self, backend: Backend, namespace: str) -> Backend | None:
        """Another backend on the same store, in another namespace; none where a store cannot be shared."""
        return None

    def dump(self, backend: Backend) -> Any:
        """Everything in the store, to be compared; as much as the contract shows, unless overridden."""
        return everything(backend)

    @pytest.fixture(autouse=True)
    def _sound(self, backend: Backend, request: pytest.FixtureRequest) -> Iterator[None]:
        """After each test the store has no damage and keeps all invariants."""
        yield
        if not hasattr(request.function, "unchecked"):
            assert broken(backend) == []
