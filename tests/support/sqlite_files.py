"""Looking at SQLite files without Stanchion."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any


def asked(path: str | Path, *statements: str) -> list[Any]:
    """The rows that the last of some statements answers, on a connection of its own that commits."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return [connection.execute(statement).fetchall() for statement in statements][-1]


def trouble_with(path: str | Path) -> list[str]:
    """What SQLite finds wrong with a file, in words."""
    return [words for (words,) in asked(path, "PRAGMA integrity_check") if words != "ok"]


def tables_of(path: str | Path) -> dict[str, list[Any]]:
    """All rows of all tables."""
    names = asked(path, "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
    return {name: asked(path, f"SELECT * FROM {name}") for (name,) in names}
