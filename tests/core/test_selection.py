"""Selection: which jobs of a listing are meant."""

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.model.selection import Span, Where, is_selected
from stanchion.model.states import State
from support.factories import NOW, a_record

JOB = a_record(
    State.FAILED,
    tags=("kind:mail", "tenant:7"),
    worker="host-1",
    created_at=NOW,
    started_at=NOW + timedelta(seconds=1),
    ended_at=NOW + timedelta(seconds=2),
    error="ValueError: no such user",
)
MILLISECOND = timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("span", "at", "is_held"),
    [
        (Span(), 0, True),
        (Span(NOW), 0, True),
        (Span(NOW), -1, False),
        (Span(None, NOW), -1, True),
        (Span(None, NOW), 0, False),
        (Span(NOW, NOW + MILLISECOND), 0, True),
        (Span(NOW, NOW + MILLISECOND), 1, False),
        (Span(NOW, NOW), 0, False),
    ],
)
def test_a_span_holds_its_beginning_and_not_its_end(span, at, is_held):
    """So spans that follow each other share no instant."""
    assert span.holds(NOW + at * MILLISECOND) is is_held


def test_no_instant_lies_in_no_span():
    """Not even in one that is open on both sides."""
    assert not Span().holds(None)


@given(cuts=st.lists(st.integers(-50, 50), min_size=1, max_size=5), at=st.integers(-60, 60))
def test_spans_that_follow_each_other_hold_each_instant_once(cuts, at):
    """Wherever they are cut."""
    ends = [None, *(NOW + cut * MILLISECOND for cut in sorted(cuts)), None]
    spans = [Span(since, until) for since, until in pairwise(ends)]

    assert sum(span.holds(NOW + at * MILLISECOND) for span in spans) == 1


@pytest.mark.parametrize(
    ("where", "is_meant"),
    [
        (Where(), True),
        (Where(task="welcome"), True),
        (Where(task="other"), False),
        (Where(worker="host-1"), True),
        (Where(worker="host-2"), False),
        (Where(created=Span(NOW, NOW + MILLISECOND)), True),
        (Where(created=Span(NOW + MILLISECOND)), False),
        (Where(started=Span(NOW + timedelta(seconds=1))), True),
        (Where(started=Span(None, NOW + timedelta(seconds=1))), False),
        (Where(ended=Span(NOW + timedelta(seconds=2))), True),
        (Where(ended=Span(None, NOW + timedelta(seconds=2))), False),
        (Where(error="no such"), True),
        (Where(error="No such"), False),
        (Where(task="welcome", worker="host-1", error="ValueError"), True),
        (Where(task="welcome", worker="host-2", error="ValueError"), False),
    ],
    ids=repr,
)
def test_all_that_is_asked_for_must_hold(where, is_meant):
    """What is not asked for may be anything."""
    assert is_selected(JOB, where) is is_meant


@pytest.mark.parametrize(
    "where", [Where(started=Span()), Where(ended=Span()), Where(error="x"), Where(worker="host-1")], ids=repr
)
def test_what_a_job_does_not_have_is_not_matched(where):
    """It never started, nothing went wrong, and nobody held it."""
    assert not is_selected(a_record(State.QUEUED), where)


@pytest.mark.parametrize(
    ("tag", "where", "is_meant"),
    [
        (None, None, True),
        ("kind:mail", None, True),
        ("kind", None, False),
        ("kind:mail", Where(task="other"), False),
        ("kind:mail", Where(task="welcome"), True),
    ],
)
def test_a_tag_is_matched_as_a_whole(tag, where, is_meant):
    """And beside the other filters."""
    assert is_selected(JOB, where, tag) is is_meant
