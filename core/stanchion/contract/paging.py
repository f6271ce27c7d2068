"""Paging: one page of a listing, for backends that hold heads in this process."""

from collections.abc import Iterator
from itertools import islice

from stanchion.contract.answers import Page
from stanchion.contract.backend import Limits
from stanchion.contract.requests import List
from stanchion.model.ordering import cursor_of
from stanchion.model.records import Head, head_of
from stanchion.model.selection import is_selected


def page_of(heads: Iterator[Head], request: List, limits: Limits) -> Page:
    """Return a page of jobs.

    Args:
        heads: The jobs after the request's cursor, from the end that it asks for.

        request: What is asked.

        limits: The sizes of the backend.

    Returns:
        As many heads as were asked for and found among those that may be looked at.
    """
    limit = min(request.limit or limits.batch, limits.batch)
    found: list[Head] = []
    last: Head | None = None
    for last in islice(heads, limits.looks):
        if is_selected(last, request.where, request.tag):
            found.append(head_of(last))
        if len(found) == limit:
            break
    more = last is not None and next(heads, None) is not None
    return Page(heads=found, cursor=cursor_of(last) if more and last is not None else None)
