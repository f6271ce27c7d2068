"""Listing the jobs of a state, page by page."""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from stanchion.contract.answers import Page
from stanchion.contract.paging import size_of_page
from stanchion.contract.requests import List
from stanchion.model.records import Head
from stanchion.model.selection import is_selected
from stanchion_sqlite.rows import Row, Unreadable, as_json, found
from stanchion_sqlite.transaction import LIMITS

_END: Final = 1 << 62
"""Behind every place; its negative is before every place."""

Place = tuple[int, int, int]
"""Where a job stands in its state: major, minor and row."""


def read_page(request: List, read: Callable[[Place, int], Sequence[Row]]) -> Page:
    """Read one page.

    Args:
        request: What is asked for.

        read: Reads rows that follow a place, as many as it is asked for; each ends with major and minor.

    Returns:
        The page; one that looks for jobs whose head says something may be short, and go on.
    """
    most = size_of_page(request, LIMITS)
    at_once = LIMITS.batch if request.where else most
    heads: list[Head] = []
    place = _start(request)
    for _ in range(LIMITS.looks // LIMITS.batch if request.where else 1):
        rows = read(place, at_once)
        for row in rows:
            place = row[-2], row[-1], row[0]
            head = _head(request, row)
            if head is not None and is_selected(head, request.where, request.tag):
                heads.append(head)
            if len(heads) == most:
                return Page(heads=heads, cursor=as_json(place))
        if len(rows) < at_once:
            return Page(heads=heads, cursor=None)
    return Page(heads=heads, cursor=as_json(place))


def _start(request: List) -> Place:
    if request.cursor is not None:
        place: Place = msgspec.json.decode(request.cursor, type=Place)
        return place
    return (_END, 0, 0) if request.newest else (-_END, 0, 0)


def _head(request: List, row: Row) -> Head | None:
    """Return the head of a row; `None` if it cannot be read, or another program moved the job without its tags."""
    try:
        head: Head = found(request.queue, row[:-2]).head
    except Unreadable:
        return None
    return head if head.state is request.state else None
