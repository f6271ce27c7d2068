"""The summary of a run of the demo, read back from the stored results."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from heapq import nlargest
from pathlib import Path
from typing import Any, Final, Protocol

from attrs import frozen

from stanchion.app.application import Stanchion
from stanchion.codec.payloads import decode
from stanchion.contract.answers import Page
from stanchion.contract.requests import Get, List
from stanchion.engine.operations import Call, Steps
from stanchion.errors.texts import shown
from stanchion.model.history import Failure, decode_list
from stanchion.model.records import Record
from stanchion.model.states import FINAL, State
from stanchion_demo.tasks import FileFacts

SLOWEST: Final = 5
"""How many of the slowest files are named."""


class TaskCounts(Protocol):
    """What the plugin `stats` counted of a task."""

    starts: int
    completed: int
    failed: int
    retrying: int
    lost: int
    runs: int
    mean: timedelta
    longest: timedelta


@frozen(kw_only=True)
class FileTime:
    """A file that was read, and how long that took."""

    path: str
    seconds: float
    size: int
    lines: int


@frozen(kw_only=True)
class FileFailure:
    """A file that could not be read, and why."""

    path: str
    cause: str


@frozen(kw_only=True)
class Summary:
    """All files of a directory, accounted for."""

    files: int
    """How many files there are."""

    earlier: int
    """How many of them an earlier run had done."""

    completed: int
    """How many were read."""

    bytes: int
    """How large those are together."""

    lines: int
    """How many lines those have."""

    slowest: list[FileTime]
    """Those that took longest."""

    failures: list[FileFailure]
    """Those that could not be read."""

    missing: list[str]
    """Files without a final job, although the queue has no other jobs: theirs were deleted."""

    unlisted: list[str]
    """Directories whose files are not known."""

    seconds: float
    """How long this run took."""

    tasks: Mapping[str, TaskCounts]
    """What the plugin `stats` counted in this process, by task."""

    @property
    def whole(self) -> bool:
        """Whether every file is accounted for, if only as a failure."""
        return not self.missing and not self.unlisted

    @property
    def causes(self) -> list[tuple[str, int, str]]:
        """Why files could not be read: the cause, how many files, and one of them; the most frequent first."""
        examples = {one.cause: one.path for one in reversed(self.failures)}
        counted = Counter(one.cause for one in self.failures).most_common()
        return [(cause, count, examples[cause]) for cause, count in counted]


def read_back(
    records: Iterable[Record],
    names: Mapping[str, str],
    *,
    unlisted: list[Path],
    since: datetime | None,
    seconds: float,
    tasks: Mapping[str, TaskCounts],
) -> Summary:
    """Make the summary from the records of final jobs.

    Args:
        records: The final jobs of the directory's queue.

        names: The files, by the ids of their jobs.

        unlisted: Directories whose files are not known.

        since: When this run began, by the backend's clock; `None` if it did not.

        seconds: How long it took.

        tasks: What the plugin `stats` counted.

    Returns:
        The summary.
    """
    ended = {record.id: record for record in records if record.id in names}
    read = {one.id: _facts(one) for one in ended.values() if one.state is State.COMPLETED}
    times = (_time(ended[job_id], names[job_id], facts) for job_id, facts in read.items())
    unread = [one for one in ended.values() if one.id not in read]
    return Summary(
        files=len(names),
        earlier=sum(_ended_before(one, since) for one in ended.values()),
        completed=len(read),
        bytes=sum(facts.size for facts in read.values()),
        lines=sum(facts.lines for facts in read.values()),
        slowest=nlargest(SLOWEST, times, key=lambda one: one.seconds),
        failures=[FileFailure(path=names[one.id], cause=_cause(one)) for one in unread],
        missing=[name for job_id, name in names.items() if job_id not in ended],
        unlisted=[shown(str(path)) for path in unlisted],
        seconds=seconds,
        tasks=tasks,
    )


def final_records(app: Stanchion, queue: str) -> Iterator[Record]:
    """Read the final jobs of a queue, a page at a time.

    Args:
        app: The application.

        queue: The queue.

    Returns:
        The jobs with their bodies.
    """
    for state in sorted(FINAL):
        cursor, more = None, True
        while more:
            request = List(queue=queue, state=state, cursor=cursor)
            records, cursor = app.engine.call(_page_with_bodies(request))
            yield from records
            more = cursor is not None


def _page_with_bodies(request: List) -> Steps[tuple[list[Record], str | None]]:
    page: Page = yield Call("list", (request,))
    found: Sequence[Record | None] = yield Call("get", (Get([head.id for head in page.heads]),))
    return [record for record in found if record is not None], page.cursor


def _ended_before(record: Record, since: datetime | None) -> bool:
    return since is None or (record.ended_at is not None and record.ended_at < since)


def _facts(record: Record) -> FileFacts:
    facts: FileFacts = decode(record.notes["result"], FileFacts)
    return facts


def _time(record: Record, name: str, facts: FileFacts) -> FileTime:
    seconds: Any = decode(record.notes.get("saved", b"0"), float)
    return FileTime(path=name, seconds=seconds, size=facts.size, lines=facts.lines)


def _cause(record: Record) -> str:
    """Return why a job did not complete: the reason of its handler, the type of its last error, or its state."""
    failures: list[Failure] = decode_list(record.lists, "errors", Failure)
    if not failures:
        return record.state
    last = failures[-1]
    return shown(last.type if last.type in ("lost", "timed_out") else f"{last.type}: {last.message}")
