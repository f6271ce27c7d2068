"""The file: how it is opened, made and brought up to date, and how transactions are run on it."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.resources import files
from pathlib import Path
from time import monotonic, sleep
from typing import Final

from stanchion.errors import BackendError, StanchionError, Unavailable

PATIENCE: Final = 10.0
"""Seconds that a transaction waits while other processes write, before it gives up."""

PAUSES: Final = (0.0003, 0.004)
"""Seconds between two tries to begin while another process writes: the first pause, and the longest."""

MODE: Final = 0o600
"""Of a new file: arguments and results are in it. SQLite gives the files beside it the same."""

PAGE: Final = 2048
"""Bytes of a page of a new file: a commit writes whole pages, and one of a single job is a tenth quicker than with
SQLite's 4096; with many jobs there is no difference."""

OLDEST: Final = (3, 35, 0)
"""The first SQLite that has RETURNING."""


@cache
def statement(name: str) -> str:
    """The text of statements/<name>.sql."""
    return (files("stanchion_sqlite") / "statements" / f"{name}.sql").read_text("utf-8")


@cache
def schema() -> tuple[str, ...]:
    """The steps that make the tables from nothing, oldest first: the files of schema/, by number."""
    steps = sorted(
        (files("stanchion_sqlite") / "schema").iterdir(), key=lambda step: int(step.name.split(".")[0])
    )
    return tuple(step.read_text("utf-8") for step in steps)


class Database:
    """A file, and this process's two connections to it: one that writes and one that reads, each behind a lock.

    They are opened when they are first needed. See `stanchion_sqlite.forks` for what becomes of them at a fork.

    Args:
        path: The file.

        synchronous: SQLite's pragma of that name: `full` or `normal`.
    """

    def __init__(self, path: Path, synchronous: str) -> None:
        self.path = path
        self._synchronous = synchronous
        self._closed = False
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._write_lock, self._read_lock = threading.Lock(), threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        """Which file it is, whatever its name."""

    def before_fork(self) -> None:
        """See `stanchion_sqlite.forks`."""
        self._read_lock.acquire()
        self._write_lock.acquire()
        self._disconnect()

    def after_fork(self, *, in_child: bool) -> None:
        """See `stanchion_sqlite.forks`."""
        if in_child:
            self._begin()
        else:
            self._write_lock.release()
            self._read_lock.release()

    @contextmanager
    def writing(self, patience: float | None = None) -> Iterator[sqlite3.Connection]:
        """A transaction in which nobody else writes; it is made whole, or not at all.

        Args:
            patience: Seconds to wait for the other threads of this process, and then for other processes.
        """
        patience = PATIENCE if patience is None else patience
        self._look_around()
        if not self._write_lock.acquire(timeout=patience):
            raise Unavailable(f"other threads of this process wrote to {self.path} for {patience:g} s")
        try:
            with self._translated(patience):
                self._writer = self._writer or self._opened()
                self._insist_on_file()
                with _transaction(self._writer, patience):
                    yield self._writer
        finally:
            self._write_lock.release()

    @contextmanager
    def reading(self, patience: float | None = None) -> Iterator[sqlite3.Connection]:
        """A connection for SELECTs. Each sees everything that was committed before it.

        Args:
            patience: Seconds to wait for the other threads of this process; for as long as they take, if none.
        """
        self._look_around()
        if not self._read_lock.acquire(timeout=-1 if patience is None else patience):
            raise Unavailable(f"other threads of this process read {self.path} for {patience:g} s")
        try:
            with self._translated():
                if self._reader is None:
                    self.prepare()
                    self._insist_on_file()  # else a new one would be made
                    self._reader = self._connected()
                    self._reader.execute("PRAGMA query_only = ON")
                self._insist_on_file()
                yield self._reader
        finally:
            self._read_lock.release()

    def prepare(self) -> None:
        """Make the file and the tables, if that was not done."""
        self._look_around()
        with self._write_lock, self._translated():
            self._writer = self._writer or self._opened()

    def version(self) -> int:
        """A number that is another one after any commit to the file, whoever made it."""
        with self.reading() as connection:
            number: int = connection.execute("PRAGMA data_version").fetchone()[0]
            return number

    def close(self) -> None:
        """Close the connections; the last one of all processes tidies up the files beside the database."""
        self._closed = True
        if os.getpid() != self._pid:
            return
        with self._read_lock, self._write_lock:
            self._disconnect()

    def _disconnect(self) -> None:
        for connection in (self._reader, self._writer):
            if connection is not None:
                connection.close()
        self._reader = self._writer = None

    def _look_around(self) -> None:
        if self._closed:
            raise BackendError(f"the backend on {self.path} is closed")
        if os.getpid() != self._pid:
            raise BackendError(
                f"the process was forked behind Python's back while {self.path} was open: open it after the fork"
            )

    @contextmanager
    def _translated(self, patience: float | None = None) -> Iterator[None]:
        if self._closed:
            raise BackendError(f"the backend on {self.path} is closed")
        try:
            yield
        except sqlite3.Error as error:
            raise translated(error, self.path, f"{PATIENCE if patience is None else patience:g} s") from error

    def _insist_on_file(self) -> None:
        """What is written to a file without a name is lost, though SQLite does not mind."""
        try:
            there = self.path.stat()
        except FileNotFoundError:
            there = None
        if there is None or (there.st_dev, there.st_ino) != self._file:
            raise BackendError(f"{self.path} was removed or replaced while it was open: restart what uses it")

    def _opened(self) -> sqlite3.Connection:
        connection = self._connected()
        try:
            if is_outdated(connection, self.path):
                with _transaction(connection, PATIENCE):
                    bring_up_to_date(connection, self.path)
            connection.execute("PRAGMA busy_timeout = 0")  # from now on `_transaction` waits
        except BaseException:
            connection.close()
            raise
        return connection

    def _connected(self) -> sqlite3.Connection:
        if sqlite3.sqlite_version_info < OLDEST:
            raise BackendError(
                f"SQLite {sqlite3.sqlite_version} is too old, 3.35 or newer is needed: use another Python build"
            )
        try:
            with suppress(FileExistsError):
                os.close(os.open(os.path.realpath(self.path), os.O_CREAT | os.O_EXCL | os.O_RDWR, MODE))
        except OSError as error:
            raise BackendError(
                f"cannot make the database {self.path}: {error.strerror}; its directory must exist and be writable"
            ) from error
        connection = sqlite3.connect(
            self.path, timeout=PATIENCE, isolation_level=None, check_same_thread=False, cached_statements=64
        )
        there = self.path.stat()
        self._file = (there.st_dev, there.st_ino)
        try:
            connection.execute(f"PRAGMA page_size = {PAGE}")
            _use_wal(connection, self.path)
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.execute("PRAGMA trusted_schema = OFF")
        except BaseException:
            connection.close()
            raise
        return connection


def _use_wal(connection: sqlite3.Connection, path: Path) -> None:
    """Readers and a writer at the same time; waits by itself, since SQLite does not wait for this pragma."""
    end = monotonic() + PATIENCE
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            break
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or monotonic() > end:
                raise
            sleep(0.005)
    if mode != "wal":
        raise BackendError(
            f"{path} cannot have a write-ahead log; put it on a local disk, network file systems are not supported"
        )


@contextmanager
def _transaction(connection: sqlite3.Connection, patience: float) -> Iterator[None]:
    try:  # from the start: a signal may raise between this statement and the next
        _begin(connection, monotonic() + patience)
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _begin(connection: sqlite3.Connection, end: float) -> None:
    """Begin to write: a transaction that begins by reading could not always go on to that.

    SQLite's own waiting sleeps for longer and longer, up to 100 ms, and so seldom gets its turn beside a process that
    writes without pause.
    """
    pause = PAUSES[0]
    while not connection.in_transaction:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or monotonic() > end:
                raise
            sleep(pause)
            pause = min(pause * 1.5, PAUSES[1])


def is_outdated(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether tables are to be made.

    Raises:
        BackendError: A newer Stanchion has changed them.
    """
    made, known = _version(connection), len(schema())
    if made > known:
        raise BackendError(
            f"{path} was made by a newer Stanchion: its schema is {made}, this one knows {known}; upgrade Stanchion"
        )
    return made < known


def bring_up_to_date(connection: sqlite3.Connection, path: Path) -> None:
    """Inside a transaction, make the tables, or what is missing of them."""
    if not is_outdated(connection, path):
        return  # another process has done it meanwhile
    for step in schema()[_version(connection) :]:
        for one in _statements(step):
            connection.execute(one)
    connection.execute("DELETE FROM stanchion_schema")
    connection.execute("INSERT INTO stanchion_schema (version) VALUES (?)", (len(schema()),))


def _version(connection: sqlite3.Connection) -> int:
    there = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'stanchion_schema'").fetchone()
    row = connection.execute("SELECT version FROM stanchion_schema").fetchone() if there else None
    return int(row[0]) if row else 0


def _statements(script: str) -> Iterator[str]:
    """The statements of a script: `executescript` would commit before it."""
    lines: list[str] = []
    for line in script.splitlines(keepends=True):
        lines.append(line)
        if sqlite3.complete_statement("".join(lines)):
            yield "".join(lines)
            lines = []


def _is_busy(error: sqlite3.Error) -> bool:
    code: int = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest of the bits says more exactly why
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def translated(error: sqlite3.Error, path: Path, patience: str) -> StanchionError:
    """What SQLite raised after that time, as an error of the contract. A failed transaction has changed nothing."""
    if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_BUSY_SNAPSHOT:
        return BackendError(
            f"{path}: the transaction has read what others changed since, so it cannot write: use BEGIN IMMEDIATE"
        )
    if _is_busy(error):
        return Unavailable(
            f"other connections held {path} locked for {patience}: look for a program that keeps a transaction open"
        )
    return BackendError(f"{path}: {error}")
