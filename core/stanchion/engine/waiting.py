"""Waiting for the end of a job."""

import time
from datetime import datetime, timedelta
from typing import Any, Final

from stanchion.contract.backend import Backend
from stanchion.contract.capabilities import WatchesJobs
from stanchion.engine.finding import find
from stanchion.engine.operations import Call, Pause, Steps
from stanchion.errors import BackendError, JobNotFound, ResultTimeout
from stanchion.model.changes import Topic
from stanchion.model.records import Record
from stanchion.model.states import FINAL

POLL: Final = timedelta(seconds=5)
"""How often a result is asked for while a watch is open, in case a message was lost."""

POLL_BLIND: Final = timedelta(milliseconds=100)
"""How often a result is asked for where a backend cannot be watched."""


def _same(job_id: str, born: datetime) -> Steps[Record]:
    record = yield from find(job_id)
    if record.created_at != born:
        raise JobNotFound(job_id)
    return record


def wait_for_end(backend: Backend, job_id: str, timeout: timedelta | None) -> Steps[Record]:
    """Wait until a job is final.

    Args:
        backend: The backend.

        job_id: Which job.

        timeout: How long to wait at most; `None` waits forever.

    Returns:
        The job, head and body.

    Raises:
        JobNotFound: There is no such job, or no more: another one may have its id by now.
        ResultTimeout: It is not final after the timeout.
    """
    end = None if timeout is None else time.monotonic() + timeout.total_seconds()
    record = yield from find(job_id)
    if record.state in FINAL:
        return record
    born = record.created_at
    watch = yield from _watch(backend, record.queue)
    try:
        while (record := (yield from _same(job_id, born))).state not in FINAL:
            pause = POLL_BLIND if watch is None else POLL
            if end is not None:
                left = timedelta(seconds=end - time.monotonic())
                if timeout is not None and left <= timedelta(0):
                    raise ResultTimeout(job_id, record.state, timeout)
                pause = min(pause, left)
            yield from _pause(watch, job_id, pause)
        return record
    finally:
        if watch is not None:
            yield Call("close", of=watch)


def _watch(backend: Backend, queue: str) -> Steps[Any]:
    """Return a watch of the jobs that end; `None`: then a result is asked for now and then."""
    if not isinstance(backend, WatchesJobs):
        return None
    try:
        return (yield Call("watch", ([queue], Topic.ENDED)))
    except BackendError:
        return None


def _pause(watch: Any, job_id: str, pause: timedelta) -> Steps[None]:
    if watch is None:
        yield Pause(pause.total_seconds())
        return
    end = time.monotonic() + pause.total_seconds()
    while (left := end - time.monotonic()) > 0:
        if job_id in (yield Call("next", (timedelta(seconds=left),), of=watch)):
            return
