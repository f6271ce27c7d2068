"""Whose turn it is to write, among the processes that use a file.

SQLite lets one write at a time, but keeps no line of those who wait: who has just written is the quickest to write
again, and the others starve. So who wants to write takes two locks on the log: first the one of the next in line, then
the one of the writer, and then gives the first to whoever waits behind it. Between two turns of one process there is
one of another that waits. Both locks end with the process that holds them.

It is a courtesy, not what keeps the file sound: SQLite's own lock does that. Who has waited for long goes on without.
"""

import fcntl
from time import monotonic, sleep
from typing import Final

from stanchion_sqlite.locks import SET, is_set, lock

PAUSES: Final = (0.0001, 0.004)
"""Seconds between two tries: the first pause, and the longest."""

GROWTH: Final = 1.02
"""Of the pauses: those who wait for some ten milliseconds try about equally often, so that each gets the lock."""

COURTESY: Final = 1.0
"""Seconds after which a process that has had no turn goes on without: who holds the lock may have been stopped."""

ASLEEP: Final = 0.05
"""Seconds after which the next in line is taken to be stopped too, if it is not even in line that one can get."""

_NEXT: Final = lock(fcntl.F_WRLCK, 0, 1)
_NEXT_FREE: Final = lock(fcntl.F_UNLCK, 0, 1)
_WRITER: Final = lock(fcntl.F_WRLCK, 1, 1)
_BOTH: Final = lock(fcntl.F_WRLCK, 0, 2)
BOTH_FREE: Final = lock(fcntl.F_UNLCK, 0, 2)
"""What ends a turn: set it on `Turns.descriptor`."""


class Turns:
    """The turns of one `Database`, whose threads take turns by themselves.

    Args:
        log: A descriptor of the write-ahead log. SQLite sets no locks on it.
    """

    def __init__(self, log: int) -> None:
        self.descriptor = log

    def take(self, end: float) -> bool:
        """Wait for a turn; set `BOTH_FREE` at its end, whatever happens.

        Args:
            end: When to stop waiting, on the monotonic clock.

        Returns:
            `False` if there was none before the end.
        """
        if SET is None:
            return True
        try:
            fcntl.fcntl(self.descriptor, SET, _BOTH)
            fcntl.fcntl(self.descriptor, SET, _NEXT_FREE)
        except OSError:
            pass  # another process has one of them
        else:
            return True
        now = monotonic()
        return now < end and self._wait(self.descriptor, now, end)

    def _wait(self, descriptor: int, began: float, end: float) -> bool:
        pause, is_next = PAUSES[0], False
        while (waited := monotonic() - began) < COURTESY:
            is_next = is_next or is_set(descriptor, _NEXT)
            if (is_next or waited > ASLEEP) and is_set(descriptor, _WRITER):
                break
            if began + waited > end:
                return False
            sleep(pause)
            pause = min(pause * GROWTH, PAUSES[1])
        is_set(descriptor, _NEXT_FREE)
        return True
