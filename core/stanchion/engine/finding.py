"""Finding: jobs, pages of jobs, queues and their numbers."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from stanchion.contract.answers import Configured, Counts, Page
from stanchion.contract.requests import Configure, Count, Forget, Get, List, ReadLedger
from stanchion.engine.operations import Call, Steps
from stanchion.errors import JobNotFound, QueueNotEmpty
from stanchion.model.ledger import Books
from stanchion.model.queues import QueueSettings, is_reserved
from stanchion.model.records import Record
from stanchion.model.selection import is_selected


def find(job_id: str) -> Steps[Record]:
    """Read a job.

    Args:
        job_id: Which job.

    Returns:
        The job, head and body.

    Raises:
        JobNotFound: There is no such job.
    """
    (record,) = yield Call("get", (Get([job_id]),))
    if record is None:
        raise JobNotFound(job_id)
    there: Record = record
    return there


def page(request: List) -> Steps[Page]:
    """Read one page of a queue's jobs in a state.

    Args:
        request: Which jobs.

    Returns:
        The page. Filters are applied again, since a backend may not know them.
    """
    found: Page = yield Call("list", (request,))
    if request.where is None and request.tag is None:
        return found
    return replace(found, heads=[one for one in found.heads if is_selected(one, request.where, request.tag)])


def queues() -> Steps[Mapping[str, QueueSettings]]:
    """Read the queues that exist.

    Returns:
        Their settings, sorted by name; reserved ones are hidden.
    """
    found: Mapping[str, QueueSettings] = yield Call("queues")
    return {name: settings for name, settings in found.items() if not is_reserved(name)}


def configure(queue: str, settings: Mapping[str, Any]) -> Steps[Configured]:
    """Change some settings of a queue.

    Args:
        queue: The queue.

        settings: New values by name.

    Returns:
        The settings before and after.
    """
    answer: Configured = yield Call("configure", (Configure(queue=queue, set=settings),))
    return answer


def counts(queue: str, tag: str | None = None) -> Steps[Counts]:
    """Count a queue's jobs.

    Args:
        queue: The queue.

        tag: Only jobs with this tag.

    Returns:
        How many are in each state.
    """
    found: Mapping[str, Counts] = yield Call("count", (Count([queue], tag),))
    return found[queue]


def ledger(queue: str, since: datetime | None = None, *, hourly: bool = False) -> Steps[Books]:
    """Read a queue's ledger.

    Args:
        queue: The queue.

        since: With the snapshots since then.

        hourly: Whether the last snapshot of each hour is enough.

    Returns:
        Its totals and snapshots.
    """
    books: Books = yield Call("ledger", (ReadLedger(queue=queue, since=since, hourly=hourly),))
    return books


def forget(queue: str) -> Steps[None]:
    """Remove an empty queue.

    Args:
        queue: The queue.

    Raises:
        QueueNotEmpty: It has jobs.
    """
    if not (yield Call("forget", (Forget(queue),))):
        raise QueueNotEmpty(queue)
