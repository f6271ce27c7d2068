"""Inserting inside a transaction of the caller's own, on a connection of his."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stanchion.errors import InvalidArgument
from stanchion_sqlite.database import Database, bring_up_to_date, translated


@contextmanager
def joined(connection: object, database: Database) -> Iterator[sqlite3.Connection]:
    """A part of the caller's transaction: made whole or not at all, and committed by nobody but him.

    Raises:
        InvalidArgument: It is no connection to this file, or it commits each statement by itself.
    """
    path = database.path
    try:
        connected = _checked(connection, path)
        with _plain(connected), _begun(connected, database), _savepoint(connected):
            _lock(connected)
            bring_up_to_date(connected, path)
            yield connected
    except sqlite3.Error as error:
        raise translated(error, path, "longer than the connection waits") from error


@contextmanager
def _begun(connection: sqlite3.Connection, database: Database) -> Iterator[None]:
    """A transaction: his own, or one that is begun as the driver does before his first statement that writes."""
    if connection.in_transaction:
        yield
        return
    database.prepare()
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _savepoint(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("SAVEPOINT stanchion")
    try:
        yield
    except BaseException:
        if connection.in_transaction:  # some errors, such as a full disk, end it
            connection.execute("ROLLBACK TO stanchion")
            connection.execute("RELEASE stanchion")
        raise
    connection.execute("RELEASE stanchion")


def _lock(connection: sqlite3.Connection) -> None:
    """Begin by writing: a transaction that has read cannot write once others have written, and no waiting helps."""
    try:
        connection.execute("UPDATE stanchion_schema SET version = version WHERE 0")
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            raise


@contextmanager
def _plain(connection: sqlite3.Connection) -> Iterator[None]:
    """Let the connection give tuples of text and numbers meanwhile, whatever its owner made of it."""
    own = connection.row_factory, connection.text_factory
    connection.row_factory, connection.text_factory = None, str
    try:
        yield
    finally:
        connection.row_factory, connection.text_factory = own


def _checked(connection: object, path: Path) -> sqlite3.Connection:
    if not isinstance(connection, sqlite3.Connection):
        raise InvalidArgument(
            f"jobs in {path} join a transaction of a sqlite3.Connection, not of {connection!r}"
        )
    if not connection.in_transaction and _commits_by_itself(connection):
        raise InvalidArgument("the connection commits each statement by itself: BEGIN a transaction first")
    with _plain(connection):
        (main,) = (row[2] for row in connection.execute("PRAGMA database_list") if row[1] == "main")
    if not main or Path(main).resolve() != path.resolve():
        raise InvalidArgument(
            f"the connection is to {main or 'a database in memory'}, the jobs are in {path}"
        )
    return connection


def _commits_by_itself(connection: sqlite3.Connection) -> bool:
    legacy = -1  # sqlite3.LEGACY_TRANSACTION_CONTROL, which Python 3.11 does not know
    mode = getattr(connection, "autocommit", legacy)
    return connection.isolation_level is None if mode == legacy else bool(mode)
