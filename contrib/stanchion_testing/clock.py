"""Time for tests: it stands still until it is moved."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from stanchion.errors import InvalidArgument

START: Final = datetime(2030, 1, 1, 12, tzinfo=UTC)
"""When a virtual clock starts; a round instant makes failures readable."""

_MILLISECOND: Final = timedelta(milliseconds=1)


class VirtualClock:
    """A `stanchion.contract.backend.Clock` in whole milliseconds; safe to use from any thread."""

    def __init__(self, start: datetime = START) -> None:
        self._now = start.replace(microsecond=start.microsecond // 1000 * 1000)
        self._subscribers: dict[object, Callable[[], object]] = {}
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """The instant it is."""
        return self._now

    def subscribe(self, wake: Callable[[], object]) -> Callable[[], None]:
        """Call `wake` whenever the time was moved; the answer ends that."""
        ticket = object()
        with self._lock:
            self._subscribers[ticket] = wake

        def forget() -> None:
            with self._lock:
                self._subscribers.pop(ticket, None)

        return forget

    def advance(self, by: float | timedelta = 0, **units: float) -> datetime:
        """Move the time on, then call everyone who subscribed; the instant it is then.

        Args:
            by: How far: seconds or a timedelta. A part of a millisecond is cut off.

            **units: More of it, as `timedelta` takes it: `hours=1, milliseconds=5`.

        Raises:
            InvalidArgument: That would move it back.
        """
        span = (by if isinstance(by, timedelta) else timedelta(seconds=by)) + timedelta(**units)
        if span < timedelta(0):
            raise InvalidArgument(f"a clock moves on, not back by {-span}")
        with self._lock:
            self._now = now = self._now + span // _MILLISECOND * _MILLISECOND
            subscribers = list(self._subscribers.values())
        for wake in subscribers:
            wake()
        return now

    def __repr__(self) -> str:
        return f"<VirtualClock {self._now.isoformat()}>"
