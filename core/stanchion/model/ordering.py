"""Ordering: the place of a job among those of its state, and the cursors of listings. Pure."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final, TypeVar

from stanchion.model.records import Head
from stanchion.model.states import State

H = TypeVar("H", bound=Head)

Place = tuple[int, int, str]
"""The place of a job; its id is the last part."""

_NO_DEADLINE: Final = 1 << 52
"""Comes after every deadline in milliseconds."""

_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_MILLISECOND: Final = timedelta(milliseconds=1)


def place_of(head: Head) -> Place:
    """Return the place of a job among those of its state.

    Args:
        head: The job.

    Returns:
        A place by deadline, creation and id; of a queued one by priority and place. Those without one come last.
    """
    if head.state is State.QUEUED:
        return (-head.priority, head.place, head.id)
    if head.due_at is None:
        return (_NO_DEADLINE, _ms(head.ended_at or head.created_at), head.id)
    return (_ms(head.due_at), _ms(head.created_at), head.id)


def _ms(instant: datetime) -> int:
    return (instant - _EPOCH) // _MILLISECOND


def is_due(head: Head, now: datetime) -> bool:
    """Return whether a job's deadline has passed.

    Args:
        head: The job.

        now: The backend's time.

    Returns:
        `True` at that instant, and after it; `False` if it has none.
    """
    return head.due_at is not None and head.due_at <= now


def cursor_of(head: Head) -> str:
    """Return a job's place as text, for the page after it.

    Args:
        head: The last job of a page.

    Returns:
        What `place_at` reads.
    """
    return "{} {} {}".format(*place_of(head))


def place_at(cursor: str) -> Place:
    """Return the place that a cursor names.

    Args:
        cursor: What `cursor_of` answered.

    Returns:
        The place, whether a job is there or not.
    """
    major, minor, job_id = cursor.split(" ")
    return (int(major), int(minor), job_id)


def behind(ordered: Iterable[H], cursor: str | None, *, newest: bool) -> Iterator[H]:
    """Return the jobs after a cursor, for backends that look through all of them.

    Args:
        ordered: The jobs of a state by their place.

        cursor: The cursor; `None` for all.

        newest: Whether to begin at the other end.

    Returns:
        The jobs in the order of the listing.
    """
    last = None if cursor is None else place_at(cursor)
    for head in reversed(list(ordered)) if newest else ordered:
        place = place_of(head)
        if last is None or (place < last if newest else place > last):
            yield head
