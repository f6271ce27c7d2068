"""This process's two connections to the file, one that writes and one that reads, and what guards them."""

import sqlite3
from contextlib import suppress
from pathlib import Path

from stanchion.errors import BackendError, Busy
from stanchion_sqlite.connections import connect, transact
from stanchion_sqlite.guard import Guard
from stanchion_sqlite.locks import descriptors_of, is_open_without_name
from stanchion_sqlite.log import Log, log_of, lost
from stanchion_sqlite.tables import bring_up_to_date, is_outdated
from stanchion_sqlite.turns import Turns


class Misplaced(Exception):
    """The database, its log or its index is not the file of its name any more."""


class Pair:
    """Two connections, which are opened when they are first needed; whoever uses one holds its lock.

    Args:
        path: The file.

        synchronous: SQLite's pragma of that name: `full` or `normal`.

        guard: Keeps the file's log in its place.
    """

    log: Log
    turns: Turns

    def __init__(self, path: Path, synchronous: str, guard: Guard) -> None:
        self._path, self._synchronous, self._guard = path, synchronous, guard
        self.writer: sqlite3.Cursor | None = None
        self.reader: sqlite3.Cursor | None = None

    def writing(self, end: float, patience: float) -> sqlite3.Cursor:
        """Return the cursor of the connection that writes.

        Args:
            end: When to stop waiting for others, on the monotonic clock.

            patience: How many seconds that was when the call began.

        Returns:
            The one cursor of that connection.

        Raises:
            Busy: The file is not open yet, and the call may not wait.
        """
        if self.writer is None:
            if patience == 0:
                raise Busy(f"{self._path} is not open yet")
            self.writer = self._opened(end)
        elif not self.log.was_in_place():
            raise Misplaced
        return self.writer

    def reading(self, end: float) -> sqlite3.Cursor:
        """Return the cursor of the connection that reads; the one that writes has been opened before.

        Args:
            end: When to stop waiting for others, on the monotonic clock.

        Returns:
            The one cursor of that connection.
        """
        if self.reader is None:
            self.reader = connect(self._path, self._synchronous, end).cursor()
            self.reader.execute("PRAGMA query_only = ON")
            self._guard.hold(self.log.file, self.log.index)
        reader = self.reader
        if not self.log.was_in_place():
            raise Misplaced
        return reader

    def watch_log(self) -> None:
        """See that a connection of the caller's writes to the log that others have.

        Raises:
            BackendError: It may write to one that was removed.
        """
        misplaced = self.writer is not None and not self.log.is_in_place()
        if misplaced or is_open_without_name(log_of(self._path)):
            raise lost(self._path)

    def check_committed(self) -> None:
        """See that what was committed just now is not lost.

        Raises:
            BackendError: It may be.
        """
        if self.log.is_removed() and not self._is_saved():
            raise lost(self._path)

    def leave_removed_log(self) -> None:
        """Close what is open on a log that is gone; what was committed to it is in the file.

        Raises:
            BackendError: Not all of that is, or the file itself was removed.
        """
        if self.writer is None or self.log.is_in_place():
            return
        if not self.log.has_its_database():
            raise BackendError(
                f"{self._path} was removed or replaced while it was open: restart what uses it"
            )
        if not self._is_saved():
            raise lost(self._path)
        self.close()

    def close(self) -> None:
        """Close both connections, if they are open."""
        if self.writer is None:
            return
        if self.log.is_in_place():
            self._guard.release()
        else:
            with suppress(sqlite3.Error):
                self._is_saved()
            self._guard.abandon()
        for cursor in (self.reader, self.writer):
            if cursor is not None:
                cursor.connection.close()
        self.log.close()
        self.reader = self.writer = None

    def _opened(self, end: float) -> sqlite3.Cursor:
        connection = connect(self._path, self._synchronous, end)
        writer = connection.cursor()
        try:
            self.log = Log(self._path)
            self.turns = Turns(self.log.descriptor)
            self._guard.hold(self.log.file, self.log.index)
            if not descriptors_of(self.log.index):  # another connection of this process keeps another one
                raise lost(self._path)
            if is_outdated(writer, self._path):
                transact(writer, end, lambda cursor: bring_up_to_date(cursor, self._path))
            writer.execute("PRAGMA busy_timeout = 0")  # from now on `transact` waits
        except BaseException:
            self._guard.release()
            connection.close()
            raise
        return writer

    def _is_saved(self) -> bool:
        """Return whether everything that was committed to the log is in the file, moving it there if that is safe."""
        if not self.log.has_its_database():
            return False
        if self._guard.everything_is_in_the_file():
            return True
        if self.writer is None or not (self._guard.holds and self.log.has_no_successor()):
            return False
        with self._guard.shut():
            busy, frames, moved = self.writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return not busy and frames == moved
