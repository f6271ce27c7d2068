"""One connection to the file: how it is opened, and how a transaction runs on it.

An exception such as `KeyboardInterrupt` can come after any call returned and before any Python function begins. So
what must happen in any case stands first in an `except` or `finally` here, as a call of a C function: nothing can come
between. A context manager written in Python would not do.
"""

import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Final, TypeVar

from stanchion.errors import BackendError, Busy, StanchionError

PAUSES: Final = (0.0003, 0.004)
"""Seconds between two tries to begin while a program other than Stanchion writes: the first pause, and the longest."""

MODE: Final = 0o600
"""Of a new file: arguments and results are in it. SQLite gives the files beside it the same."""

PAGE: Final = 2048
"""Bytes of a page of a new file: a commit writes whole pages, and one of a single job is a tenth quicker than with
SQLite's 4096; with many jobs there is no difference."""

OLDEST: Final = (3, 35, 0)
"""The first SQLite that has RETURNING."""

T = TypeVar("T")


def connect(path: Path, synchronous: str, end: float) -> sqlite3.Connection:
    """Open the file in WAL mode; it is made if it does not exist.

    Args:
        path: The file.

        synchronous: SQLite's pragma of that name.

        end: When to stop waiting for others, on the monotonic clock.

    Returns:
        The connection.

    Raises:
        BackendError: The file cannot be made, or not be used so.
    """
    if sqlite3.sqlite_version_info < OLDEST:
        raise BackendError(
            f"SQLite {sqlite3.sqlite_version} is too old, 3.35 or newer is needed: use another Python build"
        )
    try:
        with suppress(FileExistsError):
            os.close(os.open(os.path.realpath(path), os.O_CREAT | os.O_EXCL | os.O_RDWR, MODE))
    except OSError as error:
        raise BackendError(
            f"cannot create {path}: {error.strerror}; its directory must exist and be writable"
        ) from error
    connection = sqlite3.connect(
        path,
        timeout=max(0.0, end - monotonic()),
        isolation_level=None,
        check_same_thread=False,
        cached_statements=128,
    )
    try:
        connection.execute(f"PRAGMA page_size = {PAGE}")
        _use_wal(connection, path, end)
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("SELECT 1 FROM sqlite_schema").fetchone()  # opens the log
    except BaseException:
        connection.close()
        raise
    return connection


def _use_wal(connection: sqlite3.Connection, path: Path, end: float) -> None:
    """Readers and a writer at the same time; waits by itself, since SQLite does not wait for this pragma."""
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            break
        except sqlite3.OperationalError as error:
            if not is_busy(error) or monotonic() > end:
                raise
            sleep(0.005)
    if mode != "wal":
        raise BackendError(
            f"cannot use a write-ahead log for {path}: put it on a local disk, network file systems are not supported"
        )


def transact(cursor: sqlite3.Cursor, end: float, act: Callable[[sqlite3.Cursor], T]) -> T:
    """Do something inside a transaction, which is made whole or not at all.

    Args:
        cursor: The one cursor of the connection. A statement that was interrupted reads on until its cursor is used
            again, and keeps the connection in the past: it cannot write any more.

        end: When to stop waiting for others, on the monotonic clock.

        act: What to do.

    Returns:
        What it returned.
    """
    connection = cursor.connection
    if connection.in_transaction:  # an interrupt came while another one was handled
        cursor.execute("ROLLBACK")
    try:
        _begin(cursor, end)
        answer = act(cursor)
        cursor.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            cursor.execute("ROLLBACK")
        raise
    return answer


def _begin(cursor: sqlite3.Cursor, end: float) -> None:
    """Begin to write: a transaction that begins by reading could not always go on to that.

    SQLite's own waiting sleeps for longer and longer, up to 100 ms, and so seldom gets a lock beside a program that
    writes without pause.
    """
    pause = PAUSES[0]
    while not cursor.connection.in_transaction:
        try:
            cursor.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not is_busy(error) or monotonic() >= end:
                raise
            sleep(pause)
            pause = min(pause * 1.5, PAUSES[1])


def is_busy(error: sqlite3.Error) -> bool:
    """Return whether another connection's lock is the reason.

    Returns:
        `True` for `SQLITE_BUSY` and `SQLITE_LOCKED`.
    """
    code: int = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest of the bits says more exactly why
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def translated(error: sqlite3.Error, path: Path, patience: str) -> StanchionError:
    """Translate what SQLite raised after that time. A failed transaction changed nothing.

    Returns:
        An error of the contract.
    """
    if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_BUSY_SNAPSHOT:
        return BackendError(
            f"cannot write to {path}: the transaction has read what others changed since; use BEGIN IMMEDIATE"
        )
    if is_busy(error):
        return Busy(
            f"other connections held {path} locked for {patience}: look for a program that keeps a transaction open"
        )
    return BackendError(f"{path}: {error}")
