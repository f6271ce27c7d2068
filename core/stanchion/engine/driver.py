"""The driver: calls a backend for operations, from threads and from loops."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from datetime import timedelta
from os import urandom
from typing import Any, Final, Self, cast

from stanchion.codec.specs import policy_of
from stanchion.contract.backend import Backend
from stanchion.contract.capabilities import HasAsync, HasDeadlines
from stanchion.engine.operations import ONCE, PATIENT, Pauses, Steps, T, adrive, drive
from stanchion.errors import BackendError
from stanchion.model.changes import Change
from stanchion.model.decisions import ROLLED, decide
from stanchion.model.policies import Policy
from stanchion.model.records import Head
from stanchion.model.signals import Signal
from stanchion.plugins.manager import Plugins

PATIENCE: Final = timedelta(seconds=2)
"""For how long a change is decided again that conflicts with other changes."""


def _roll() -> float:
    """Return a random number in [0, 1)."""
    return int.from_bytes(urandom(6), "big") / (1 << 48)


class _OutOfReach:
    """Stands in for a backend that must not be called."""

    def __init__(self, why: str) -> None:
        self._why = why

    def __getattr__(self, verb: str) -> Any:
        raise BackendError(self._why)


class Driver:
    """A backend, the plugins that are notified of what happens on it, and how both are called.

    Args:
        backend: The backend.

        plugins: The plugins.

        roll: Gives random numbers in [0, 1), for jitter.

        pauses: How a call whose outcome is unknown is repeated.

        patience: For how long a change is decided again that conflicts with other changes.
    """

    def __init__(
        self,
        backend: Backend,
        plugins: Plugins,
        *,
        roll: Callable[[], float] = _roll,
        pauses: Pauses = PATIENT,
        patience: timedelta = PATIENCE,
    ) -> None:
        self.backend = backend
        self.plugins = plugins
        self.roll = roll
        self.patience = patience
        self._pauses = pauses
        self._async_backends: dict[Any, Any] = {}

    def call(self, steps: Steps[T]) -> T:
        """Run an operation in this thread.

        Args:
            steps: The operation.

        Returns:
            What it answers.
        """
        return drive(steps, self.backend, self._pauses)

    async def acall(self, steps: Steps[T]) -> T:
        """Run an operation on the running loop.

        Args:
            steps: The operation.

        Returns:
            What it answers.
        """
        return await adrive(steps, self.async_backend(), self._pauses)

    def async_backend(self) -> Any:
        """Return the async backend of the running loop.

        Returns:
            The backend's own, or an adapter that calls the backend inline.
        """
        import asyncio

        loop = asyncio.get_running_loop()
        found = self._async_backends.get(loop)
        if found is None:
            from stanchion.engine.async_adapter import Inline

            # A loop that is closed can close nothing any more: its connections end with the last reference.
            kept = [pair for pair in list(self._async_backends.items()) if not pair[0].is_closed()]
            found = self.backend.to_async() if isinstance(self.backend, HasAsync) else Inline(self.backend)
            self._async_backends = {**dict(kept), loop: found}
        return found

    async def release_async_backend(self) -> None:
        """Close the async backend of the running loop, if it has connections of its own."""
        import asyncio

        found = self._async_backends.pop(asyncio.get_running_loop(), None)
        if found is not None and isinstance(self.backend, HasAsync):
            await found.close()

    @contextmanager
    def out_of_reach(self, why: str) -> Iterator[None]:
        """Keep every call from the backend for a while, even those of handles and workers made before.

        Args:
            why: What the `BackendError` says that they raise.
        """
        backend, others = self.backend, self._async_backends
        self.backend, self._async_backends = cast("Backend", _OutOfReach(why)), {}
        try:
            yield
        finally:
            self.backend, self._async_backends = backend, others

    def within(self, deadline: timedelta) -> Self:
        """Return a driver on the same store that tries each call once, up to a deadline.

        Args:
            deadline: How long a call may take, and a change that is decided again.

        Returns:
            Another driver of the same kind.
        """
        other = copy(self)
        if isinstance(self.backend, HasDeadlines):
            other.backend = self.backend.within(deadline)
        other._pauses, other.patience, other._async_backends = ONCE, min(self.patience, deadline), {}
        return other

    def decide(self, head: Head, signal: Signal, by: str = "", policy: Policy | None = None) -> Change:
        """Return the change that a signal makes to a job; see `stanchion.model.decisions.decide`.

        Args:
            head: The job as last read.

            signal: What happened to it.

            by: An id of the call that asks for it.

            policy: The job's policy, if it was decoded before.

        Returns:
            The change.
        """
        roll = self.roll() if signal.event in ROLLED else 0.0
        return decide(head, signal, roll=roll, policy=policy or policy_of(head.policy), by=by)
