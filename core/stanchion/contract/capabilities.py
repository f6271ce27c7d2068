"""Capabilities: what some backends can do beyond the contract, found by `isinstance`; core has a way without each."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Protocol, runtime_checkable

from stanchion.contract.answers import Inserted
from stanchion.contract.backend import AsyncBackend, Backend
from stanchion.contract.requests import Insert
from stanchion.model.changes import Topic


class Watch(Protocol):
    """Notifies of jobs from the moment it was opened."""

    def next(self, timeout: timedelta) -> frozenset[str]:
        """Return the ids published since the last call, waiting for one up to the timeout.

        Args:
            timeout: How long to wait at most.

        Returns:
            A hint: some may be missing.
        """
        ...

    def close(self) -> None:
        """Stop listening, from any thread; a waiting `next` returns."""
        ...


class AsyncWatch(Protocol):
    """The same for one asyncio loop; the docstrings of `Watch` hold."""

    async def next(self, timeout: timedelta) -> frozenset[str]: ...  # noqa: D102
    async def close(self) -> None: ...  # noqa: D102


@runtime_checkable
class WatchesJobs(Protocol):
    """Can notify at once when jobs end or are touched; without it, callers poll."""

    def watch(self, queues: Sequence[str], topic: Topic) -> Watch:
        """Subscribe to what is published in these queues from now on.

        Args:
            queues: The queues.

            topic: What to be notified of.

        Returns:
            An open watch.
        """
        ...


@runtime_checkable
class Quarantines(Protocol):
    """Can hold records that it cannot read; others never do."""

    def quarantined(self, queues: Sequence[str]) -> Mapping[str, int]:
        """Return how many records of each queue are quarantined.

        Args:
            queues: The queues.

        Returns:
            The numbers by queue; queues without such records may be left out.
        """
        ...


@runtime_checkable
class HasAsync(Protocol):
    """Has asynchronous verbs of its own; without it, they run inline on the loop."""

    def to_async(self) -> AsyncBackend:
        """Return an async backend on the same store, for the running loop.

        Returns:
            The backend; if this one watches jobs, so does it.
        """
        ...


@runtime_checkable
class HasDeadlines(Protocol):
    """Talks to a store that may not answer."""

    def within(self, deadline: timedelta) -> Backend:
        """Return a backend on the same store whose calls give up after a deadline.

        Args:
            deadline: How long a call may take.

        Returns:
            The backend; it may have connections of its own, and closing it leaves this one open.
        """
        ...


@runtime_checkable
class MayWait(Protocol):
    """Has calls that wait while others use the store."""

    def impatient(self) -> Backend:
        """Return the same backend, whose calls raise `Busy` instead of waiting.

        Returns:
            The backend; closing it leaves this one open.
        """
        ...


@runtime_checkable
class JoinsTransactions(Protocol):
    """Keeps jobs in an SQL database, and can insert them inside a transaction of the caller's own."""

    def insert_joined(self, request: Insert, connection: Any) -> Sequence[Inserted]:
        """Create jobs as `insert` does, on a connection of the caller's to the same database.

        The jobs appear if and only if that transaction commits; until then only that connection sees them. One is
        begun if none is open. A call that raises has done nothing, and leaves the transaction as it was.

        Args:
            request: The jobs.

            connection: The connection.

        Returns:
            An answer for each item, in that order.

        Raises:
            InvalidArgument: It is not a connection to this database, or it commits each statement by itself.
        """
        ...
