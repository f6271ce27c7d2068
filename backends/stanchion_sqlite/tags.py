"""The index of tags: where jobs with a tag are, and how many there are in each state.

It is brought up to date at the end of a transaction, from the jobs as they are written: so it cannot disagree with
them. A job without tags is not in it, and costs nothing here.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from stanchion_sqlite.rows import Row, as_json
from stanchion_sqlite.statements import statement

_TAGS: Final = msgspec.json.Decoder(frozenset[str])


def index(cursor: sqlite3.Cursor, rowids: Iterable[int]) -> None:
    """Bring the index up to date.

    Args:
        cursor: The cursor of the transaction.

        rowids: The jobs that have tags or had some, and were changed, created, deleted or quarantined.
    """
    changed = as_json(list(rowids))
    left = cursor.execute(statement("untag"), (changed,)).fetchall()
    entries = list(_entries(cursor, changed))
    cursor.executemany(statement("tag"), entries)
    more: Counter[Row] = Counter(entry[:3] for entry in entries)
    more.subtract(left)
    differing = [(*place, number) for place, number in more.items() if number]
    cursor.executemany(statement("count_tags"), differing)
    fewer = [place for place, number in more.items() if number < 0]
    cursor.executemany(statement("forget_tag"), fewer)


def missing(cursor: sqlite3.Cursor, rowids: Iterable[int]) -> set[int]:
    """Return those jobs that the index does not have where they are.

    Args:
        cursor: A cursor that reads.

        rowids: Jobs that have tags.

    Returns:
        Their rows.
    """
    wanted = as_json(list(rowids))
    there = set(cursor.execute(statement("entries"), (wanted,)).fetchall())
    return {entry[-1] for entry in _entries(cursor, wanted) if entry not in there}


def _entries(cursor: sqlite3.Cursor, rowids: str) -> Iterator[Row]:
    """Return what the index is to have of jobs: queue, state, tag, major, minor, row.

    Python takes the tags apart: SQLite's `json_each` cuts a text off at a NUL.
    """
    for queue, state, tags, *place in cursor.execute(statement("tagged"), (rowids,)).fetchall():
        for tag in _TAGS.decode(tags):
            yield (queue, state, tag, *place)
