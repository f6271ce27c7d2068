"""The file: reading it and writing to it, in turn with the other threads and processes that do."""

import fcntl
import os
import sqlite3
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Final, TypeVar

from stanchion.errors import BackendError, Busy
from stanchion_sqlite.connections import transact, translated
from stanchion_sqlite.forks import give, take
from stanchion_sqlite.guard import Guard
from stanchion_sqlite.locks import SET
from stanchion_sqlite.log import lost
from stanchion_sqlite.pair import Misplaced, Pair
from stanchion_sqlite.text import read_any_text
from stanchion_sqlite.turns import BOTH_FREE

PATIENCE: Final = 10.0
"""Seconds that a call waits for others who write, in all, before it gives up."""

MOMENT: Final = 0.001
"""Seconds that a call which may not wait does wait for another thread of this process: most are done by then."""

T = TypeVar("T")
Act = Callable[[sqlite3.Cursor], T]


class Database:
    """A file, and this process's two connections to it, each behind a lock.

    They are opened when they are first needed, and closed around a fork: see `stanchion_sqlite.forks`, and
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
        self.pair = Pair(self.path, self._synchronous, self._guard)

    def before_fork(self) -> None:
        """See `stanchion_sqlite.forks`."""
        take([self._read_lock, self._write_lock], self._stopped)
        self.pair.close()

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

            patience: Seconds to wait for the other threads of this process and for other processes, in all; defaults to
                `PATIENCE`.

        Returns:
            What it returned.

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

            patience: Seconds to wait for the other threads of this process; defaults to as long as they take.

        Returns:
            What it returned.
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
        self._with(self._write_lock, patience, "wrote to", lambda: self.pair.writing(end, patience))

    def version(self) -> int:
        """Return the version of the file.

        Returns:
            A number that differs after any commit to the file, by any process.
        """
        number: int = self.read(lambda cursor: cursor.execute("PRAGMA data_version").fetchone()[0])
        return number

    def close(self) -> None:
        """Close the connections; the last one of all processes tidies up the files beside the database."""
        self._closed = True
        if os.getpid() != self._pid:
            return
        with self._read_lock, self._write_lock:
            self.pair.close()

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
        except Misplaced:
            self._with(
                self._read_lock,
                patience,
                "read",
                lambda: self._with(self._write_lock, patience, "wrote to", self.pair.leave_removed_log),
            )
        try:
            return use()
        except Misplaced:
            raise lost(self.path) from None

    def _write(self, act: Act[T], end: float, patience: float) -> T:
        writer = self.pair.writing(end, patience)
        turns = self.pair.turns
        try:
            if not turns.take(end):
                raise Busy(f"other processes wrote to {self.path} for {patience:g} s")
            answer = read_any_text(writer.connection, lambda: transact(writer, end, act))
        finally:
            if SET is not None:
                fcntl.fcntl(turns.descriptor, SET, BOTH_FREE)
        self.pair.check_committed()
        return answer

    def _read(self, act: Act[T], patience: float | None) -> T:
        if self.pair.writer is None:  # else nobody is waited for who writes
            self._prepare(PATIENCE if patience is None else patience)
        reader = self.pair.reading(monotonic() + PATIENCE)
        return read_any_text(reader.connection, lambda: act(reader))

    def _look_around(self) -> None:
        if self._closed:
            raise BackendError(f"the backend on {self.path} is closed")
        if os.getpid() != self._pid:
            raise BackendError(
                f"cannot use {self.path}: it was open when the process forked without os.fork; open it anew"
            )
