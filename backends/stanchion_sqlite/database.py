"""The file, and this process's connections to it: one that writes and one that reads."""

import fcntl
import os
import sqlite3
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.resources import files
from pathlib import Path
from time import monotonic
from typing import Final, TypeVar

from stanchion.errors import BackendError, Busy
from stanchion_sqlite.connections import connect, transact, translated
from stanchion_sqlite.forks import give, take
from stanchion_sqlite.guard import Guard
from stanchion_sqlite.locks import SET, descriptors_of, is_open_without_name
from stanchion_sqlite.log import Log, log_of, lost
from stanchion_sqlite.tables import bring_up_to_date, is_outdated
from stanchion_sqlite.text import read_any_text
from stanchion_sqlite.turns import BOTH_FREE, Turns

PATIENCE: Final = 10.0
"""Seconds that a call waits for others who write, in all, before it gives up."""

MOMENT: Final = 0.001
"""Seconds that a call which may not wait does wait for another thread of this process: most are done by then."""

T = TypeVar("T")
Act = Callable[[sqlite3.Cursor], T]


@cache
def statement(name: str) -> str:
    """The text of statements/<name>.sql."""
    return (files("stanchion_sqlite") / "statements" / f"{name}.sql").read_text("utf-8")


class Database:
    """A file, and this process's two connections to it, each behind a lock.

    They are opened when they are first needed. See `stanchion_sqlite.forks` for what becomes of them at a fork, and
    `stanchion_sqlite.connections` for why there are functions to do things with, and no context managers.

    Args:
        path: The file.

        synchronous: SQLite's pragma of that name: `full` or `normal`.
    """

    def __init__(self, path: Path, synchronous: str) -> None:
        self.path = path
        self._synchronous = synchronous
        self._closed = False
        self._guard = Guard()
        weakref.finalize(self, self._guard.release)  # so that SQLite tidies up if nobody closes this
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._write_lock, self._read_lock = threading.Lock(), threading.Lock()
        self._stopped: list[threading.Lock] = []
        """Those of the locks that a fork holds."""
        self._writer: sqlite3.Cursor | None = None
        self._reader: sqlite3.Cursor | None = None
        self._log: Log
        self._turns: Turns

    def before_fork(self) -> None:
        """See `stanchion_sqlite.forks`."""
        take([self._read_lock, self._write_lock], self._stopped)
        self._disconnect()

    def after_fork(self, *, in_child: bool) -> None:
        """See `stanchion_sqlite.forks`."""
        if in_child:
            self._begin()
        else:
            give(self._stopped)

    def write(self, act: Act[T], patience: float | None = None) -> T:
        """Do something in a transaction in which nobody else writes; it is made whole, or not at all.

        Args:
            act: What to do. It is done again, in a new transaction, if there is text that cannot be read.

            patience: Seconds to wait for the other threads of this process and for other processes, in all.

        Raises:
            Busy: Others wrote all the time.
        """
        patience = PATIENCE if patience is None else patience
        end, seconds = monotonic() + patience, max(patience, MOMENT)
        return self._in_place(
            lambda: self._with(
                self._write_lock, seconds, "wrote to", lambda: self._write(act, end, patience)
            ),
            patience,
        )

    def read(self, act: Act[T], patience: float | None = None) -> T:
        """Do something with a cursor for SELECTs. Each sees everything that was committed before it.

        Args:
            act: What to do. It is done again if there is text that cannot be read.

            patience: Seconds to wait for the other threads of this process; for as long as they take by default.
        """
        seconds = -1 if patience is None else max(patience, MOMENT)
        return self._in_place(
            lambda: self._with(self._read_lock, seconds, "read", lambda: self._read(act, patience)),
            PATIENCE if patience is None else patience,
        )

    def prepare(self, patience: float | None = None) -> None:
        """Make the file and the tables, if that was not done, and see whether the log is where it was."""
        patience = PATIENCE if patience is None else patience
        self._in_place(lambda: self._prepare(patience), patience)

    def _prepare(self, patience: float) -> None:
        end = monotonic() + patience
        self._with(self._write_lock, patience, "wrote to", lambda: self._writable(end, patience))

    def watch_log(self) -> None:
        """See that a connection of the caller's writes to the log that others have.

        Raises:
            BackendError: It may write to one that was removed.
        """
        misplaced = self._writer is not None and not self._log.is_in_place()
        if misplaced or is_open_without_name(log_of(self.path)):
            raise lost(self.path)

    def version(self) -> int:
        """Return a number that is another one after any commit to the file, whoever made it."""
        number: int = self.read(lambda cursor: cursor.execute("PRAGMA data_version").fetchone()[0])
        return number

    def close(self) -> None:
        """Close the connections; the last one of all processes tidies up the files beside the database."""
        self._closed = True
        if os.getpid() != self._pid:
            return
        with self._read_lock, self._write_lock:
            self._disconnect()

    def _with(self, lock: threading.Lock, seconds: float, verb: str, act: Callable[[], T]) -> T:
        self._look_around()
        held: list[bool] = []
        try:
            # In one call, so that no interrupt comes between having the lock and knowing that.
            held.extend(map(lock.acquire, (True,), (seconds,)))
            if not held[0]:
                raise Busy(f"other threads of this process {verb} {self.path} for {seconds:g} s")
            self._look_around()
            return act()
        except sqlite3.Error as error:
            raise translated(error, self.path, f"{PATIENCE if seconds < 0 else seconds:g} s") from error
        finally:
            if held and held[0]:
                lock.release()

    def _in_place(self, use: Callable[[], T], patience: float) -> T:
        """Use the file; if its log was removed, and nothing is lost by that, open it anew and use it then."""
        try:
            return use()
        except _Misplaced:
            self._with(
                self._read_lock,
                patience,
                "read",
                lambda: self._with(self._write_lock, patience, "wrote to", self._let_go),
            )
        try:
            return use()
        except _Misplaced:
            raise lost(self.path) from None

    def _write(self, act: Act[T], end: float, patience: float) -> T:
        writer = self._writable(end, patience)
        turns = self._turns
        try:
            if not turns.take(end):
                raise Busy(f"other processes wrote to {self.path} for {patience:g} s")
            answer = read_any_text(writer.connection, lambda: transact(writer, end, act))
        finally:
            if SET is not None:
                fcntl.fcntl(turns.descriptor, SET, BOTH_FREE)
        if self._log.is_removed() and not self._is_saved():
            raise lost(self.path)
        return answer

    def _read(self, act: Act[T], patience: float | None) -> T:
        if self._reader is None:
            if self._writer is None:  # else nobody is waited for who writes
                self._prepare(PATIENCE if patience is None else patience)
            self._reader = connect(self.path, self._synchronous, monotonic() + PATIENCE).cursor()
            self._reader.execute("PRAGMA query_only = ON")
            self._guard.hold(self._log.file, self._log.index)
        reader = self._reader
        if not self._log.was_in_place():
            raise _Misplaced
        return read_any_text(reader.connection, lambda: act(reader))

    def _writable(self, end: float, patience: float) -> sqlite3.Cursor:
        """Return the cursor of the connection that writes."""
        if self._writer is None:
            if patience == 0:
                raise Busy(f"{self.path} is not open yet")
            self._writer = self._opened(end)
        elif not self._log.was_in_place():
            raise _Misplaced
        return self._writer

    def _opened(self, end: float) -> sqlite3.Cursor:
        connection = connect(self.path, self._synchronous, end)
        writer = connection.cursor()
        try:
            self._log = Log(self.path)
            self._turns = Turns(self._log.descriptor)
            self._guard.hold(self._log.file, self._log.index)
            if not any(
                descriptors_of(self._log.index)
            ):  # another connection of this process keeps another one
                raise lost(self.path)
            if is_outdated(writer, self.path):
                transact(writer, end, lambda cursor: bring_up_to_date(cursor, self.path))
            writer.execute("PRAGMA busy_timeout = 0")  # from now on `transact` waits
        except BaseException:
            self._guard.release()
            connection.close()
            raise
        return writer

    def _let_go(self) -> None:
        """Close what is open on a log that is gone; what was committed to it is in the file.

        Raises:
            BackendError: Not all of that is, or the file itself was removed.
        """
        if self._writer is None or self._log.is_in_place():
            return
        if not self._log.has_its_database():
            raise BackendError(f"{self.path} was removed or replaced while it was open: restart what uses it")
        if not self._is_saved():
            raise lost(self.path)
        self._disconnect()

    def _is_saved(self) -> bool:
        """Return whether everything that was committed to the log is in the file, moving it there if that is safe."""
        if not self._log.has_its_database():
            return False
        if self._guard.everything_is_in_the_file():
            return True
        if self._writer is None or not (self._guard.holds and self._log.has_no_successor()):
            return False
        with self._guard.shut():
            busy, frames, moved = self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return not busy and frames == moved

    def _disconnect(self) -> None:
        if self._writer is None:
            return
        if self._log.is_in_place():
            self._guard.release()
        else:
            with suppress(sqlite3.Error):
                self._is_saved()
            self._guard.abandon()
        for cursor in (self._reader, self._writer):
            if cursor is not None:
                cursor.connection.close()
        self._log.close()
        self._reader = self._writer = None

    def _look_around(self) -> None:
        if self._closed:
            raise BackendError(f"the backend on {self.path} is closed")
        if os.getpid() != self._pid:
            raise BackendError(
                f"the process was forked behind Python's back while {self.path} was open: open it after the fork"
            )


class _Misplaced(Exception):
    """The database, its log or its index is not the file of its name any more."""
