"""The tables: how they are made, and brought up to date."""

import sqlite3
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path

from stanchion.errors import BackendError


@cache
def schema() -> tuple[str, ...]:
    """Return the steps that create the tables from nothing.

    Returns:
        The files of schema/ by number, oldest first.
    """
    steps = sorted(
        (files("stanchion_sqlite") / "schema").iterdir(), key=lambda step: int(step.name.split(".")[0])
    )
    return tuple(step.read_text("utf-8") for step in steps)


def is_outdated(cursor: sqlite3.Cursor, path: Path) -> bool:
    """Return whether tables must be made.

    Args:
        cursor: A cursor that reads.

        path: The file, for messages.

    Returns:
        `True` if some are missing.

    Raises:
        BackendError: A newer Stanchion has changed them.
    """
    made, known = _version(cursor), len(schema())
    if made > known:
        raise BackendError(
            f"{path} was made by a newer Stanchion: its schema is {made}, this one knows {known}; upgrade Stanchion"
        )
    return made < known


def bring_up_to_date(cursor: sqlite3.Cursor, path: Path) -> None:
    """Inside a transaction, make the tables, or what is missing of them."""
    if not is_outdated(cursor, path):
        return  # another process has done it meanwhile
    for step in schema()[_version(cursor) :]:
        for one in _statements(step):
            cursor.execute(one)
    cursor.execute("DELETE FROM stanchion_schema")
    cursor.execute("INSERT INTO stanchion_schema (version) VALUES (?)", (len(schema()),))


def _version(cursor: sqlite3.Cursor) -> int:
    there = cursor.execute("SELECT 1 FROM sqlite_schema WHERE name = 'stanchion_schema'").fetchone()
    row = cursor.execute("SELECT version FROM stanchion_schema").fetchone() if there else None
    return int(row[0]) if row else 0


def _statements(script: str) -> Iterator[str]:
    """Split a script: `executescript` would commit before it."""
    lines: list[str] = []
    for line in script.splitlines(keepends=True):
        lines.append(line)
        if sqlite3.complete_statement("".join(lines)):
            yield "".join(lines)
            lines = []
