"""Around a fork: no connection of SQLite may live across one.

A child has none of its parent's locks on a file, but the library inside it believes that it has. When the parent
ends, it takes itself for the last user and removes the write-ahead log that the child writes to. So everything is
closed before a fork, and opened anew on both sides after it. Starting another program (`subprocess`) is no such fork.
"""

import os
import threading
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import Final, Protocol
from weakref import WeakValueDictionary


class Forkable(Protocol):
    """Something that has connections."""

    def before_fork(self) -> None:
        """Close them, and let nobody open any. It may be called again, if an interrupt has ended it."""
        ...

    def after_fork(self, *, in_child: bool) -> None:
        """Let them be opened; the child has none of the threads that may have held a lock. It may be called again."""
        ...


_known: Final[WeakValueDictionary[int, Forkable]] = WeakValueDictionary()
_one_at_a_time: Final = threading.Lock()
_held: Final[list[threading.Lock]] = []
"""That lock, from a fork's beginning to its end."""
_stopped: Final[list[Forkable]] = []


def remember(one: Forkable) -> None:
    """Call it around each fork while it lives."""
    _known[id(one)] = one


def take(locks: Iterable[threading.Lock], held: list[threading.Lock]) -> None:
    """Acquire locks and note each, in one step: no interrupt comes between the two."""
    held.extend(filter(_acquire, [lock for lock in locks if lock not in held]))


def give(held: list[threading.Lock]) -> None:
    """Release the locks that were noted, and forget each, in one step."""
    with suppress(IndexError):  # there are no more
        deque(map(_release, iter(held.pop, None)), maxlen=0)


_acquire: Final = type(_one_at_a_time).acquire
_release: Final = type(_one_at_a_time).release


def _before() -> None:
    take([_one_at_a_time], _held)
    for reference in _known.valuerefs():
        one = reference()
        if one is not None:
            if one not in _stopped:
                _stopped.append(one)
            one.before_fork()


def _after(*, in_child: bool) -> None:
    if not _held:
        return
    while _stopped:
        _stopped[-1].after_fork(in_child=in_child)
        _stopped.pop()
    give(_held)


for _ in range(
    2
):  # an interrupt ends one of them, and Python goes on to the next: that does what is left to be done
    os.register_at_fork(
        before=_before,
        after_in_parent=lambda: _after(in_child=False),
        after_in_child=lambda: _after(in_child=True),
    )
