"""Locks that keep the log in its place while a process has the file open.

A process that closes the file asks for SQLite's exclusive lock on it. If it gets that, it is the last one: it moves
what is in the log to the file, and removes the log. It gets the lock by mistake once another process has lost its own
(how, is said in `stanchion_sqlite.locks`), and what that one commits from then on goes into a file without a name. So
we add locks that are not lost. They are set through SQLite's own descriptors: to close one of our own would take the
process's locks away as well.
"""

import fcntl
import os
from collections.abc import Iterable
from struct import unpack_from
from typing import Final

from stanchion_sqlite.locks import SET, Identity, descriptors_of, is_set, lock

_PENDING: Final = 0x40000000
"""The byte that each connection locks for a moment when it begins to read, by SQLite's `os.h`."""

_SHARED: Final = (_PENDING + 2, 510)
"""The bytes that each connection has locked while it is open in WAL mode."""

_IN_USE: Final = (128, 1)
"""The byte of the `-shm` file that says so too, by SQLite's `os_unix.c`."""

_guarded: Final[dict[int, Identity]] = {}
"""The files that are guarded, by guard."""


class Guard:
    """Keeps one file's log in its place, for one `Database`."""

    def __init__(self) -> None:
        self._index: Identity | None = None

    def hold(self, file: Identity, index: Identity) -> None:
        """Set the locks on all connections of this process to a file, and on the `-shm` file that is its index."""
        _guarded[id(self)], self._index = file, index
        _change(fcntl.F_RDLCK, file)
        for descriptor in descriptors_of(index):
            is_set(descriptor, lock(fcntl.F_RDLCK, *_IN_USE))

    def release(self) -> None:
        """Give the locks up, before the connections are closed, unless another guard needs them."""
        file = _guarded.pop(id(self), None)
        if file is None:
            return
        _change(fcntl.F_UNLCK, file)
        if file in _guarded.values():
            _change(fcntl.F_RDLCK, file)

    def abandon(self) -> None:
        """Keep the locks until the connections are closed: then SQLite neither tidies up nor removes anything."""
        _guarded.pop(id(self), None)

    @property
    def holds(self) -> bool:
        """Whether others cannot have removed the log by closing the file."""
        return SET is not None and id(self) in _guarded

    def everything_is_in_the_file(self) -> bool:
        """Return whether all that was committed to the log was moved to the file.

        Returns:
            What the log's index says; `False` if it cannot be read.
        """
        for descriptor in descriptors_of(self._index) if self._index else ():
            head = os.pread(descriptor, 100, 0)
            if len(head) == 100:
                frames, moved = unpack_from("=I", head, 16)[0], unpack_from("=I", head, 96)[0]
                return bool(frames == moved)  # mxFrame and nBackfill of SQLite's `wal.c`
        return False

    def shut(self) -> "_Shut":
        """Keep all others from opening the file meanwhile; they wait.

        Returns:
            A context manager.
        """
        return _Shut(_guarded.get(id(self)))


class _Shut:
    def __init__(self, file: Identity | None) -> None:
        self._file = file

    def __enter__(self) -> None:
        for descriptor in self._descriptors():
            if is_set(descriptor, lock(fcntl.F_WRLCK, _PENDING, 1)):
                return

    def __exit__(self, *_: object) -> None:
        for descriptor in self._descriptors():
            is_set(descriptor, lock(fcntl.F_UNLCK, _PENDING, 1))

    def _descriptors(self) -> Iterable[int]:
        return descriptors_of(self._file) if self._file else ()


def _change(kind: int, file: Identity) -> None:
    for descriptor in descriptors_of(file):
        is_set(descriptor, lock(kind, *_SHARED))
