"""What every group of claims stands on: fixtures, hooks, and what is looked at after each test."""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, TypeVar

import pytest

from stanchion.contract.backend import Backend
from stanchion_conformance.blocking import called
from stanchion_conformance.invariants import broken, everything
from stanchion_testing.clock import VirtualClock

F = TypeVar("F", bound=Callable[..., Any])


def unchecked(reason: str) -> Callable[[F], F]:
    """For a test after which the store cannot be looked at; says why."""

    def mark(test: F) -> F:
        test.unchecked = reason  # type: ignore[attr-defined]  # functions take attributes
        return test

    return mark


def lacks(backend: object, capability: type) -> str:
    """The reason why a claim about a capability is skipped."""
    meaning = (capability.__doc__ or "").partition("\n")[0]
    return f"{called(backend)} does not have the capability {capability.__name__} ({meaning})"


class Ground:
    """The fixtures and hooks of a backend's suite. A subclass must give the fixture `backend`."""

    TITLE: ClassVar[str] = ""
    """What the backend is called in reports; the name of the test class unless given."""

    @pytest.fixture
    def clock(self) -> VirtualClock:
        """The time; the fixture `backend` injects it into what it opens."""
        return VirtualClock()

    def reopen(self, backend: Backend, namespace: str) -> Backend | None:
        """Another backend on the same store, in another namespace; none where a store cannot be shared."""
        return None

    def address(self, backend: Backend) -> tuple[str, str] | None:
        """The URL and the namespace by which another process opens the same store; none if none can.

        That is what `stanchion.app.config.open_backend` takes. There the backend goes by its own clock.
        """
        return None

    def connect(self, backend: Backend) -> Any:
        """A caller's own connection to the database that the jobs are in, which begins transactions by itself.

        None unless overridden; needed where a backend joins transactions.
        """
        return None

    def damage(self, backend: Backend, job_id: str) -> bool:
        """Damage a job's record behind the backend's back, so that it cannot be read any more.

        Returns:
            `True` if that was done; `False`, unless overridden, where a record cannot be damaged.
        """
        return False

    def dump(self, backend: Backend) -> Any:
        """Everything in the store, to be compared; as much as the contract shows, unless overridden."""
        return everything(backend)

    @pytest.fixture(autouse=True)
    def _sound(self, backend: Backend, request: pytest.FixtureRequest) -> Iterator[None]:
        """After each test the store has no damage and keeps all invariants."""
        yield
        if not hasattr(request.function, "unchecked"):
            assert broken(backend) == []
