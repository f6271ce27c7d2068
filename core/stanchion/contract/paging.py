"""Paging: how large a page is, and one page of a listing for backends that hold heads in this process."""

from collections.abc import Iterator
from itertools import islice

from stanchion.contract.answers import Page
from stanchion.contract.backend import Limits
from stanchion.contract.requests import List
from stanchion.model.ordering import cursor_of
from stanchion.model.records import Head, head_of
from stanchion.model.selection import is_selected


def size_of_page(request: List, limits: Limits) -> int:
    """Return how many heads a page has at most.

    Args:
        request: What is asked.

        limits: The sizes of the backend.

    Returns:
        As many as are asked for, at most a batch; a batch if the request says nothing.
    """
    return min(request.limit or limits.batch, limits.batch)


def page_of(heads: Iterator[Head], request: List, limits: Limits) -> Page:
    """Return a page of jobs.

    Args:
        heads: The jobs after the request's cursor, from the end that it asks for.

        request: What is asked.

        limits: The sizes of the backend.

    Returns:
        As many heads as were asked for and found among those that may be looked at.
    """
    limit = size_of_page(request, limits)
    found: list[Head] = []
    last: Head | None = None
    for last in islice(heads, limits.looks):
        if is_selected(last, request.where, request.tag):
            found.append(head_of(last))
        if len(found) == limit:
            break
    more = last is not None and next(heads, None) is not None
    return Page(heads=found, cursor=cursor_of(last) if more and last is not None else None)
