"""Time for tests: it stands still until a test advances it."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from stanchion.errors import InvalidArgument

START: Final = datetime(2030, 1, 1, 12, tzinfo=UTC)
"""The default instant at which a virtual clock starts; a round one makes failures readable."""

_MILLISECOND: Final = timedelta(milliseconds=1)


class VirtualClock:
    """A `stanchion.contract.backend.Clock` in whole milliseconds; safe to use from any thread.

    Args:
        start: The instant at which it starts. Defaults to `START`.
    """

    def __init__(self, start: datetime = START) -> None:
        self._now = start.replace(microsecond=start.microsecond // 1000 * 1000)
        self._subscribers: dict[object, Callable[[], object]] = {}
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """Return the current instant.

        Returns:
            An instant in whole milliseconds.
        """
        return self._now

    def subscribe(self, wake: Callable[[], object]) -> Callable[[], None]:
        """Call a function whenever the time was advanced.

        Args:
            wake: The function.

        Returns:
            A function that ends the subscription.
        """
        ticket = object()
        with self._lock:
            self._subscribers[ticket] = wake

        def forget() -> None:
            with self._lock:
                self._subscribers.pop(ticket, None)

        return forget

    def advance(self, by: float | timedelta = 0, **units: float) -> datetime:
        """Advance the time, then call all subscribers.

        Args:
            by: How far: seconds or a timedelta. A part of a millisecond is cut off.

            **units: Further spans, as `timedelta` takes them: `hours=1, milliseconds=5`.

        Returns:
            The new instant.

        Raises:
            InvalidArgument: The span is negative.
        """
        span = (by if isinstance(by, timedelta) else timedelta(seconds=by)) + timedelta(**units)
        if span < timedelta(0):
            raise InvalidArgument(f"cannot set the clock back by {-span}: advance it by zero or more")
        with self._lock:
            self._now = now = self._now + span // _MILLISECOND * _MILLISECOND
            subscribers = list(self._subscribers.values())
        for wake in subscribers:
            wake()
        return now

    def __repr__(self) -> str:
        return f"<VirtualClock {self._now.isoformat()}>"
