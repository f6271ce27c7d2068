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
        "no task is named 'welcom'; registered are: goodbye, welcome",
    ),
    (errors.UnknownTask("welcome"), "no task is named 'welcome'; registered are: none"),
    (
        errors.JobNotFound("mail:1"),
        "job mail:1 does not exist: it was never enqueued, was deleted, or has expired",
    ),
    (
        errors.IllegalTransition("mail:1", State.COMPLETED, Event.CANCEL),
        "job mail:1 is completed; cancel is not possible",
    ),
    (
        errors.IllegalTransition("mail:1", State.COMPLETED, Event.RETRY, "use force"),
        "job mail:1 is completed; retry is not possible: use force",
    ),
    (
        errors.LeaseLost("mail:1"),
        "job mail:1 is no longer held by this run's claim; its outcome was not recorded",
    ),
    (errors.UniqueHeld("mail:1"), "job mail:1 cannot be retried while another job holds its unique key"),
    (
        errors.Contended("mail:1", Event.CANCEL),
        "job mail:1 was changed by others while cancel was tried five times; try again",
    ),
    (errors.QueueNotEmpty("mail"), "queue mail still has jobs; delete them before forgetting it"),
    (errors.Unsupported("watching jobs", object()), "object does not support watching jobs"),
    (
        errors.ResultTimeout("mail:1", State.QUEUED, timedelta(seconds=1.5)),
        "job mail:1 is queued after waiting 1.5 s for its result",
    ),
    (errors.JobFailed("mail:1", State.CANCELLED), "job mail:1 is cancelled"),
    (errors.JobFailed("mail:1", State.FAILED, "ValueError: no"), "job mail:1 is failed: ValueError: no"),
    (errors.InvalidArgument("a"), "a"),
    (errors.Unavailable("a"), "a"),
    (errors.Busy("a"), "a"),
]


@pytest.mark.parametrize(("error", "message"), EXAMPLES)
def test_an_error_names_the_thing_its_state_and_the_wish(error, message):
    """And is caught by the one root of them all."""
    assert str(error) == message
    assert isinstance(error, StanchionError)


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
