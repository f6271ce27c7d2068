"""Errors: what they say, and that they survive being sent to another process."""

import pickle
from datetime import timedelta

import pytest

from stanchion import errors
from stanchion.errors import StanchionError
from stanchion.model.states import Event, State

EXAMPLES = [
    (
        errors.UnknownTask("welcom", ("welcome", "goodbye")),
        "unknown task 'welcom'; registered tasks: goodbye, welcome; did you mean 'welcome'?",
    ),
    (errors.UnknownTask("welcome"), "unknown task 'welcome'; registered tasks: none"),
    (
        errors.JobNotFound("mail:1"),
        "job mail:1 does not exist: it was never enqueued, was deleted, or has expired",
    ),
    (
        errors.IllegalTransition("mail:1", State.COMPLETED, Event.CANCEL),
        "cannot cancel job mail:1: it is completed",
    ),
    (
        errors.IllegalTransition("mail:1", State.COMPLETED, Event.RETRY, "use force"),
        "cannot retry job mail:1: it is completed; use force",
    ),
    (
        errors.LeaseLost("mail:1"),
        "cannot record the outcome of job mail:1: this run no longer holds its lease",
    ),
    (errors.UniqueHeld("mail:1"), "cannot retry job mail:1: another job holds its unique key"),
    (
        errors.Contended("mail:1", Event.CANCEL, 5),
        "gave up after 5 conflicting updates to job mail:1; try again",
    ),
    (errors.QueueNotEmpty("mail"), "cannot forget queue mail: it still has jobs; delete them first"),
    (errors.Unsupported("watching jobs", object()), "object does not support watching jobs"),
    (
        errors.ResultTimeout("mail:1", State.QUEUED, timedelta(seconds=1.5)),
        "job mail:1 did not finish within 1.5 s (it is queued)",
    ),
    (errors.JobFailed("mail:1", State.CANCELLED), "job mail:1 was cancelled"),
    (errors.JobFailed("mail:1", State.FAILED, "ValueError: no"), "job mail:1 failed: ValueError: no"),
    (errors.InvalidArgument("a"), "a"),
    (errors.Unavailable("a"), "a"),
    (errors.Busy("a"), "a"),
]


@pytest.mark.parametrize(("error", "message"), EXAMPLES)
def test_an_error_names_the_thing_its_state_and_the_wish(error, message):
    """And is caught by the one root of them all."""
    assert str(error) == message
    assert isinstance(error, StanchionError)


@pytest.mark.parametrize("kind", [errors.InvalidArgument, errors.PayloadError, errors.ConfigError])
def test_an_error_shows_no_memory_addresses(kind):
    """They differ each time, and help nobody."""
    assert (
        str(kind(f"backoff must be Fixed(…), not {object()!r}"))
        == "backoff must be Fixed(…), not <object object>"
    )


@pytest.mark.parametrize("error", [error for error, _ in EXAMPLES], ids=lambda error: type(error).__name__)
def test_an_error_can_be_pickled(error):
    """With all it knows."""
    again = pickle.loads(pickle.dumps(error))

    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (errors.InvalidArgument, ValueError),
        (errors.PayloadError, ValueError),
        (errors.JobNotFound, LookupError),
        (errors.UnknownTask, LookupError),
        (errors.ResultTimeout, TimeoutError),
    ],
)
def test_some_errors_are_python_s_own_as_well(error, builtin):
    """Whoever catches those catches ours."""
    assert issubclass(error, builtin)
