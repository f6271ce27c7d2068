"""What a worker's log says of jobs: every retry, failure, time-out, loss and cancel."""

import logging
from contextlib import suppress
from typing import Final

from stanchion.codec.specs import policy_of
from stanchion.errors.logs import logger
from stanchion.errors.texts import shown
from stanchion.model.states import Event, State
from stanchion.model.transitions import Transition

_log: Final = logger("stanchion.worker")

_WORDS: Final = {Event.FAIL: "failed", Event.TIME_OUT: "timed out", Event.LOSE: "was lost"}


class JobLog:
    """Observes the transitions of a worker's jobs, and logs those that matter to operators."""

    def wants(self, event: Event) -> bool:
        """Return whether an event is logged; most events are completions, which are not.

        Args:
            event: The event.

        Returns:
            `True` if it is.
        """
        return event is not Event.COMPLETE and event is not Event.BEAT

    def __call__(self, transition: Transition) -> None:
        """Log a transition.

        Args:
            transition: The transition.
        """
        with suppress(
            Exception
        ):  # what the application's own filters and handlers raise must not lose an outcome
            _log_transition(transition)


def _log_transition(transition: Transition) -> None:
    job = transition.job
    if transition.event in _WORDS and transition.from_state is State.RUNNING:
        _log_failure(transition)
    elif transition.to_state is State.CANCELLED:
        _log.info("%s %s cancelled after %.3g s", job.id, job.task, transition.elapsed.total_seconds())


def _log_failure(transition: Transition) -> None:
    job, failure = transition.job, transition.failure
    what = f"{failure.type}: {failure.message}".rstrip(": ") if failure else "its worker stopped"
    ended = transition.event is not Event.LOSE
    number = job.count("attempts") + (not ended)
    subject = (job.id, job.task, number, policy_of(job.policy).retries + 1, _WORDS[transition.event], what)
    if transition.to_state in (State.FAILED, State.TIMED_OUT):
        line = ("%s %s attempt %d of %d %s: %s; job is %s", (*subject, transition.to_state))
        _log_with_traceback(*line, failure.traceback if failure else "")
    elif transition.to_state is State.CANCELLED:
        _log.info("%s %s attempt %d of %d %s: %s; job is cancelled", *subject)
    else:
        _log.warning("%s %s attempt %d of %d %s: %s; %s", *subject, _next(transition))


def _log_with_traceback(message: str, args: tuple[object, ...], traceback: str) -> None:
    """Log an error with a stored traceback, as `exc_info` would do with one that has not left its process."""
    if not _log.isEnabledFor(logging.ERROR):
        return
    record = _log.makeRecord(_log.name, logging.ERROR, __file__, 0, message, args, None)
    record.exc_text = "\n".join(f"    {shown(line)}" for line in traceback.splitlines()) or None
    _log.handle(record)


def _next(transition: Transition) -> str:
    if transition.to_state is not State.RETRYING or transition.job.due_at is None:
        return "queued again"
    wait = transition.job.due_at - transition.at
    return f"retrying in {wait.total_seconds():.3g} s"
