"""What a worker's log says of jobs: every retry, failure, time-out, loss and cancel."""

import logging
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from stanchion.codec.payloads import Unreadable, decode, policy_of
from stanchion.errors.logs import logger
from stanchion.errors.texts import shown
from stanchion.model.changes import Change
from stanchion.model.history import Failure
from stanchion.model.records import Record
from stanchion.model.states import Event, State

_log: Final = logger("stanchion.worker")

_ENDS: Final = frozenset({Event.FAIL, Event.TIME_OUT, Event.LOSE})
_WORDS: Final = {Event.FAIL: "failed", Event.TIME_OUT: "timed out", Event.LOSE: "was lost"}


def log_change(record: Record, change: Change, elapsed: timedelta) -> None:
    """Log a change that a worker made to a job.

    Args:
        record: The job as it was before.

        change: The change.

        elapsed: How long the run took.
    """
    if change.event is Event.COMPLETE:
        return  # most changes are
    with suppress(
        Exception
    ):  # what the application's own filters and handlers raise must not lose an outcome
        _log_change(record, change, elapsed)


def _log_change(record: Record, change: Change, elapsed: timedelta) -> None:
    if change.event in _ENDS and record.state is State.RUNNING:
        _log_failure(record, change)
    elif change.move.to is State.CANCELLED:
        _log.info("%s %s was cancelled after %.3g s", record.id, record.task, elapsed.total_seconds())


def _log_failure(record: Record, change: Change) -> None:
    failure = _failure(change)
    what = f"{failure.type}: {failure.message}".rstrip(": ") if failure else "its worker gave it up"
    job = (record.id, record.task, record.count("attempts") + 1, policy_of(record.spec).retries + 1)
    word = _WORDS[change.event]
    if change.move.to in (State.FAILED, State.TIMED_OUT):
        line = ("%s %s attempt %d of %d %s: %s; it is %s", (*job, word, what, change.move.to))
        _log_with_traceback(*line, failure.traceback if failure else "")
    elif change.move.to is State.CANCELLED:
        _log.info("%s %s attempt %d of %d %s: %s; it was cancelled", *job, word, what)
    else:
        _log.warning("%s %s attempt %d of %d %s: %s; %s", *job, word, what, _next(change))


def _log_with_traceback(message: str, args: tuple[object, ...], traceback: str) -> None:
    """Log an error with a stored traceback, as `exc_info` would do with one that has not left its process."""
    if not _log.isEnabledFor(logging.ERROR):
        return
    record = _log.makeRecord(_log.name, logging.ERROR, __file__, 0, message, args, None)
    record.exc_text = "\n".join(f"    {shown(line)}" for line in traceback.splitlines()) or None
    _log.handle(record)


def _failure(change: Change) -> Failure | None:
    stored = change.move.append.get("errors")
    try:
        return None if stored is None else decode(stored, Failure)
    except Unreadable:
        return None


def _next(change: Change) -> str:
    match change.move.clock:
        case timedelta() as wait:
            return f"runs again in {wait.total_seconds():.3g} s"
        case datetime() as at:
            return f"runs again at {at:%Y-%m-%d %H:%M:%S %Z}"
        case _:
            return "queued again"
