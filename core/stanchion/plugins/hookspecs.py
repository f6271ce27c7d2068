"""The hooks of plugins, on one page.

Observing hooks are in the past tense: what they tell of has happened, and nothing they do can change or lose it.
They run on whichever thread changed the job, so they must be thread-safe and do no I/O; collect, and flush in
`tick`. A hook that raises is logged with its plugin's name and counted, and the next one is called. That holds for
whatever it raises, `SystemExit` and `CancelledError` as well; only a Ctrl-C is passed on to who called `enqueue`.

A plugin is an object or module whose functions carry `@hookimpl` and the names below; each may take fewer
arguments than its specification.

| hook | arguments | when |
|---|---|---|
| job_enqueued | job: Item | a job was created |
| job_claimed | job: Record, worker: str | a worker took it |
| job_completed | job, elapsed: timedelta | its handler returned and the result was recorded |
| job_failed | job, elapsed | it is final: failed |
| job_retrying | job, elapsed | a run failed, timed out or was lost again, another will follow |
| job_timed_out | job, elapsed | it is final: timed out |
| job_lost | job | its worker's lease lapsed; it is queued again or failed |
| job_released | job | its worker handed it back |
| job_cancelled | job | it is final: cancelled |
| job_expired | job | its record was deleted because it had been kept long enough |
| worker_started, worker_stopped | worker: str | |
| swept | count: int | a sweep of a worker changed this many jobs |
| tick | | once a second on the keeper's thread of each worker; may do I/O, briefly |
| around_job | job: RunningJob | deciding: returns a context manager around the handler |

`job` is the record as it was read before the change; `elapsed` is how long the run took on the worker's clock,
zero where no run ended.
"""

from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, Final

import pluggy

from stanchion.context import RunningJob
from stanchion.model.records import Item, Record

hookspec: Final = pluggy.HookspecMarker("stanchion")
hookimpl: Final = pluggy.HookimplMarker("stanchion")
"""Marks a plugin's function as an implementation of the hook of its name."""


@hookspec
def job_enqueued(job: Item) -> None:
    """A job was created; not called for one that existed already."""


@hookspec
def job_claimed(job: Record, worker: str) -> None:
    """A worker took the job; its handler will start."""


@hookspec
def job_completed(job: Record, elapsed: timedelta) -> None:
    """The handler returned, and the backend accepted the result."""


@hookspec
def job_failed(job: Record, elapsed: timedelta) -> None:
    """The job is final: no attempt left, not to be retried, or lost too often."""


@hookspec
def job_retrying(job: Record, elapsed: timedelta) -> None:
    """A run failed, timed out or was lost more than once, and another will follow after a while."""


@hookspec
def job_timed_out(job: Record, elapsed: timedelta) -> None:
    """The job is final: its last attempt ran past its time limit."""


@hookspec
def job_lost(job: Record) -> None:
    """The lease of the job's worker lapsed."""


@hookspec
def job_released(job: Record) -> None:
    """A worker handed the job back, unfinished."""


@hookspec
def job_cancelled(job: Record) -> None:
    """The job is final: cancelled."""


@hookspec
def job_expired(job: Record) -> None:
    """The record was deleted because it had been kept for as long as it was to be."""


@hookspec
def worker_started(worker: str) -> None:
    """A worker begins to claim."""


@hookspec
def worker_stopped(worker: str) -> None:
    """A worker has stopped: what it held is settled or handed back, but for threads that did not return."""


@hookspec
def swept(count: int) -> None:
    """A worker's sweep moved this many jobs whose clock had run out."""


@hookspec
def tick() -> None:
    """A second has passed; the place to flush what other hooks collected."""


@hookspec
def around_job(job: RunningJob) -> AbstractContextManager[Any]:
    """Wrap the handler: the context manager is entered in its own task or thread, and sees its exception.

    The first plugin listed is the outermost. What it raises fails the attempt as if the handler had raised it.
    """
    raise AssertionError("a specification is not called")
