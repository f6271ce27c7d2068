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
    """Mark a test after which the store cannot be checked.

    Returns:
        A decorator.
    """

    def mark(test: F) -> F:
        test.unchecked = reason  # type: ignore[attr-defined]  # functions take attributes
        return test

    return mark


def lacks(backend: object, capability: type) -> str:
    """Return the reason why a claim about a capability is skipped.

    Returns:
        A sentence that names backend and capability.
    """
    meaning = (capability.__doc__ or "").partition("\n")[0]
    return f"{called(backend)} does not have the capability {capability.__name__} ({meaning})"


class Ground:
    """The fixtures and hooks of a backend's suite. A subclass must give the fixture `backend`."""

    TITLE: ClassVar[str] = ""
    """The name of the backend in reports. Defaults to the name of the test class."""

    @pytest.fixture
    def clock(self) -> VirtualClock:
        """The time; the fixture `backend` injects it into what it opens."""
        return VirtualClock()

    def reopen(self, backend: Backend, namespace: str) -> Backend | None:
        """Open another backend on the same store, in another namespace.

        Returns:
            That backend; `None` where a store cannot be shared.
        """
        return None

    def address(self, backend: Backend) -> tuple[str, str] | None:
        """Return where another process opens the same store, as `stanchion.contract.opening.open_backend` takes it.

        There the backend goes by its own clock.

        Returns:
            URL and namespace; `None` if no other process can open the store.
        """
        return None

    def connect(self, backend: Backend) -> Any:
        """Open a caller's own connection to the database that the jobs are in, which begins transactions by itself.

        Override it where a backend joins transactions.

        Returns:
            The connection. Defaults to `None`.
        """
        return None

    def damage(self, backend: Backend, job_id: str) -> bool:
        """Damage a job's record behind the backend's back, so that it cannot be read any more.

        Returns:
            `True` if that was done. Not overridden, a record cannot be damaged, and claims about that are skipped.
        """
        return False

    def mend(self, backend: Backend, job_id: str) -> bool:
        """Repair what `damage` did to a job's record, behind the backend's back.

        Returns:
            `True` if that was done. Not overridden, a record cannot be repaired, and claims about that are skipped.
        """
        return False

    def dump(self, backend: Backend) -> Any:
        """Read everything in the store, to be compared.

        Returns:
            Anything with `==`. Defaults to as much as the contract shows.
        """
        return everything(backend)

    @pytest.fixture(autouse=True)
    def _sound(self, backend: Backend, request: pytest.FixtureRequest) -> Iterator[None]:
        """After each test the store has no damage and keeps all invariants."""
        yield
        if not hasattr(request.function, "unchecked"):
            assert broken(backend) == []
