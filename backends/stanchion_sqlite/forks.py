"""Around a fork: no connection of SQLite may live across one.

A child has none of its parent's locks on a file, but the library inside it believes that it has. When the parent
ends, it takes itself for the last user and removes the write-ahead log that the child writes to. So everything is
closed before a fork, and opened anew on both sides after it. Starting another program (`subprocess`) is no such fork.
"""

import os
import threading
from typing import Final, Protocol
from weakref import WeakValueDictionary


class Forkable(Protocol):
    """Something that has connections."""

    def before_fork(self) -> None:
        """Close them, and let nobody open any."""
        ...

    def after_fork(self, *, in_child: bool) -> None:
        """Let them be opened; the child has none of the threads that may have held a lock."""
        ...


_known: Final[WeakValueDictionary[int, Forkable]] = WeakValueDictionary()
_one_at_a_time: Final = threading.Lock()
_stopped: Final[list[Forkable]] = []


def remember(one: Forkable) -> None:
    """Tell it of each fork while it lives."""
    _known[id(one)] = one


def _before() -> None:
    _one_at_a_time.acquire()
    for reference in _known.valuerefs():
        one = reference()
        if one is not None:
            _stopped.append(one)
            one.before_fork()


def _after(*, in_child: bool) -> None:
    for one in _stopped:
        one.after_fork(in_child=in_child)
    _stopped.clear()
    _one_at_a_time.release()


os.register_at_fork(
    before=_before,
    after_in_parent=lambda: _after(in_child=False),
    after_in_child=lambda: _after(in_child=True),
)
