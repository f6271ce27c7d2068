"""Inserting inside a transaction of the caller's own, on the caller's connection.

What is undone in any case stands first in an `except` here; `stanchion_sqlite.connections` says why.
"""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from stanchion.errors import InvalidArgument
from stanchion_sqlite.connections import translated
from stanchion_sqlite.database import Database
from stanchion_sqlite.tables import bring_up_to_date

T = TypeVar("T")
Act = Callable[[sqlite3.Cursor], T]


def join(connection: object, database: Database, act: Act[T]) -> T:
    """Do something as a part of the caller's transaction: whole or not at all, and committed by the caller alone.

    Args:
        connection: The caller's connection.

        database: The file.

        act: What to do, with a cursor of that connection.

    Returns:
        What it returned.

    Raises:
        InvalidArgument: It is no connection to this file, or it commits each statement by itself.

        BackendError: The log that it writes to was removed.
    """
    path = database.path
    try:
        connected = _checked(connection, path)
        own = connected.row_factory, connected.text_factory
        try:
            connected.row_factory, connected.text_factory = None, str
            return _begun(connected, database, act)
        finally:
            connected.row_factory, connected.text_factory = own
    except sqlite3.Error as error:
        raise translated(error, path, "longer than the connection waits") from error


def _begun(connection: sqlite3.Connection, database: Database, act: Act[T]) -> T:
    """Do it in the open transaction, or in one that is begun as the driver does before a statement that writes."""
    if connection.in_transaction:
        database.pair.watch_log()
        return _inside(connection, database.path, act)
    database.prepare()
    database.pair.watch_log()
    try:
        connection.execute("BEGIN IMMEDIATE")
        return _inside(connection, database.path, act)
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _inside(connection: sqlite3.Connection, path: Path, act: Act[T]) -> T:
    cursor = connection.cursor()
    try:
        cursor.execute("SAVEPOINT stanchion")
        _lock(cursor)
        bring_up_to_date(cursor, path)
        answer = act(cursor)
        cursor.execute("RELEASE stanchion")
    except BaseException:
        _undo(cursor)
        raise
    finally:
        cursor.close()
    return answer


def _undo(cursor: sqlite3.Cursor) -> None:
    if cursor.connection.in_transaction:  # some errors, such as a full disk, end it
        with suppress(
            sqlite3.OperationalError
        ):  # an interrupt may come before the savepoint is made or after its end
            cursor.execute("ROLLBACK TO stanchion")
            cursor.execute("RELEASE stanchion")


def _lock(cursor: sqlite3.Cursor) -> None:
    """Begin by writing: a transaction that has read cannot write once others have written, and no waiting helps."""
    try:
        cursor.execute("UPDATE stanchion_schema SET version = version WHERE 0")
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            raise


def _checked(connection: object, path: Path) -> sqlite3.Connection:
    if not isinstance(connection, sqlite3.Connection):
        raise InvalidArgument(
            f"cannot enqueue jobs in {path} with {connection!r}: pass a sqlite3.Connection to that file"
        )
    if not connection.in_transaction and _commits_by_itself(connection):
        raise InvalidArgument(
            "cannot enqueue with connection=: it commits each statement by itself; BEGIN a transaction first"
        )
    own = connection.row_factory, connection.text_factory
    try:
        connection.row_factory, connection.text_factory = None, str
        (main,) = (row[2] for row in connection.execute("PRAGMA database_list") if row[1] == "main")
    finally:
        connection.row_factory, connection.text_factory = own
    if not main or Path(main).resolve() != path.resolve():
        raise InvalidArgument(
            f"cannot enqueue with connection=: it is to {main or 'a database in memory'}, the jobs are in {path}"
        )
    return connection


def _commits_by_itself(connection: sqlite3.Connection) -> bool:
    legacy = -1  # sqlite3.LEGACY_TRANSACTION_CONTROL, which Python 3.11 does not know
    mode = getattr(connection, "autocommit", legacy)
    return connection.isolation_level is None if mode == legacy else bool(mode)
