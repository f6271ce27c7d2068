"""The write-ahead log and its index, the files `-wal` and `-shm` beside the database: they are a part of it.

What is committed to a log that has lost its name is lost, though SQLite does not mind. So it is looked for before each
call, and again before a commit is acknowledged.
"""

import os
import weakref
from contextlib import suppress
from io import FileIO
from pathlib import Path
from time import monotonic
from typing import Final

from stanchion.errors import BackendError
from stanchion_sqlite.locks import Identity

FRESH: Final = 0.01
"""Seconds for which a look at the names holds: it costs some 4 microseconds, which calls in quick succession share.
What is committed meanwhile to a log that is gone is noticed at the commit, or saved by the next look."""


def log_of(path: Path) -> str:
    """Return the name of a database's log.

    Returns:
        A path beside the file itself, not beside a link to it.
    """
    return f"{os.path.realpath(path)}-wal"


def lost(path: Path) -> BackendError:
    """Return the error for a log that was removed.

    Returns:
        The error.
    """
    return BackendError(
        f"{log_of(path)} was removed or replaced while it was open, and with it what was written last: "
        "restart what uses it"
    )


class Log:
    """The log of a connection that was just opened.

    Args:
        path: The database.

    Raises:
        BackendError: It was removed already.
    """

    def __init__(self, path: Path) -> None:
        self.name = log_of(path)
        self._names = os.fspath(path), self.name, f"{os.path.realpath(path)}-shm"
        try:
            self._known = self._named()
            self._opened = FileIO(self.name, "rb+")  # SQLite sets no locks on it: it may be closed
        except FileNotFoundError as error:  # or a connection of this process has kept older ones open
            raise lost(path) from error
        self._file, self.index = (self._known[0], self._known[1]), (self._known[0], self._known[3])
        self._seen = 0.0
        self.descriptor = self._opened.fileno()
        self._link = f"/proc/self/fd/{self.descriptor}"
        weakref.finalize(self, self._opened.close).atexit = False

    @property
    def file(self) -> Identity:
        """The database."""
        return self._file

    def is_in_place(self) -> bool:
        """Return whether database, log and index are still the files of these names.

        Returns:
            `True` if all are.
        """
        try:
            there = self._named() == self._known
        except OSError:
            there = False
        self._seen = monotonic() if there else 0.0
        return there

    def was_in_place(self) -> bool:
        """Return the same, looked at within the last `FRESH` seconds.

        Returns:
            `True` if all were.
        """
        return monotonic() - self._seen < FRESH or self.is_in_place()

    def has_its_database(self) -> bool:
        """Return whether at least the database is still the file of its name.

        Returns:
            `True` if it is.
        """
        with suppress(OSError):
            there = os.stat(self._names[0])  # noqa: PTH116
            return (there.st_dev, there.st_ino) == self._file
        return False

    def is_removed(self) -> bool:
        """Return whether the log has no name any more: a quick look.

        Not by `fstat`: reading a file's times makes the next write to it slower, by 40 microseconds with fsync.

        Returns:
            `True` if its name was removed.
        """
        try:
            return os.readlink(self._link).endswith(" (deleted)")  # noqa: PTH115  # quicker than a Path's
        except OSError:  # there is no /proc
            return os.fstat(self.descriptor).st_nlink == 0

    def has_no_successor(self) -> bool:
        """Return whether no other log was made, or can have been written to.

        Returns:
            `True` if no file has its name, or an empty one beside the same index.
        """
        try:
            return os.stat(self.name).st_size == 0 and self._named()[3] == self._known[3]  # noqa: PTH116
        except FileNotFoundError:
            return True

    def close(self) -> None:
        """Forget it."""
        self._opened.close()

    def _named(self) -> tuple[int, int, int, int]:
        """The device, and the numbers of the three files: for each call, so it is spelled out, and without Paths."""
        database, log, index = self._names
        there = os.stat(database)  # noqa: PTH116
        return there.st_dev, there.st_ino, os.stat(log).st_ino, os.stat(index).st_ino  # noqa: PTH116
