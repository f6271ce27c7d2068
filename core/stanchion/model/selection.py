"""Selection: which jobs of a listing are meant. Pure."""

from datetime import datetime

import msgspec

from stanchion.model.records import Head


class Span(msgspec.Struct, frozen=True):
    """A span of time; an end that is `None` is open."""

    since: datetime | None = None
    """Its beginning; belongs to it."""

    until: datetime | None = None
    """Its end; does not belong to it."""

    def holds(self, at: datetime | None) -> bool:
        """Return whether an instant lies in it.

        Args:
            at: The instant; `None` lies in no span.

        Returns:
            `True` if it does.
        """
        if at is None or (self.since is not None and at < self.since):
            return False
        return self.until is None or at < self.until


class Where(msgspec.Struct, frozen=True, kw_only=True):
    """What a job's head must say; `None` and absent fields ask for nothing."""

    task: str | None = None
    """The name of its task."""

    worker: str | None = None
    """The worker that holds it or held it last."""

    created: Span | None = None
    """When it was created."""

    started: Span | None = None
    """When its current or last run started."""

    ended: Span | None = None
    """When it became final."""

    error: str | None = None
    """A string that its error contains, in the same case."""


def is_selected(head: Head, where: Where | None, tag: str | None = None) -> bool:
    """Return whether a job is meant.

    Args:
        head: The job's head.

        where: What its head must say; `None` means every job.

        tag: A tag that it must have, or `None`.

    Returns:
        `True` if it is.
    """
    if tag is not None and tag not in head.tags:
        return False
    return where is None or (
        where.task in (None, head.task)
        and where.worker in (None, head.worker)
        and (where.created is None or where.created.holds(head.created_at))
        and (where.started is None or where.started.holds(head.started_at))
        and (where.ended is None or where.ended.holds(head.ended_at))
        and (where.error is None or where.error in (head.error or ""))
    )
