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
    connected = _checked(connection, path)
    try:
        if not connected.in_transaction:
            database.prepare()
            connected.execute("BEGIN IMMEDIATE")  # as the driver does before his first statement that writes
        connected.execute("SAVEPOINT stanchion")
        try:
            bring_up_to_date(connected, path)
            yield connected
        except BaseException:
            connected.execute("ROLLBACK TO stanchion")
            raise
        finally:
            connected.execute("RELEASE stanchion")
    except sqlite3.Error as error:
        raise translated(error, path, "longer than the connection waits") from error


def _checked(connection: object, path: Path) -> sqlite3.Connection:
    if not isinstance(connection, sqlite3.Connection):
        raise InvalidArgument(
            f"jobs in {path} join a transaction of a sqlite3.Connection, not of {connection!r}"
        )
    if not connection.in_transaction and _commits_by_itself(connection):
        raise InvalidArgument("the connection commits each statement by itself: BEGIN a transaction first")
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
