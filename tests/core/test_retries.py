"""Durations, back-off and policies."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.errors import InvalidArgument
from stanchion.model.policies import LONGEST, Exponential, Fixed, Policy, duration


@pytest.mark.parametrize("value", [90, 90.0, timedelta(minutes=1.5)])
def test_a_duration_is_seconds_or_a_timedelta(value):
    """All say the same."""
    span = duration(value, "delay")

    assert span == timedelta(seconds=90)


@pytest.mark.parametrize(
    "value", [-1, -0.001, float("nan"), float("inf"), -float("inf"), True, "5", None, 10**400, timedelta.max]
)
def test_what_is_no_duration_is_refused_by_its_name(value):
    """The error names what the duration was for, and never is one of Python's own."""
    with pytest.raises(InvalidArgument, match=r"^delay must be"):
        duration(value, "delay")


def test_a_duration_has_bounds():
    """Ten years is the longest; a shortest one can be asked for."""
    assert duration(LONGEST, "keep") == LONGEST
    with pytest.raises(InvalidArgument, match="between 0:00:01 and ten years"):
        duration(0.5, "timeout", least=timedelta(seconds=1))


@pytest.mark.parametrize("attempt", [1, 2, 1000])
def test_a_fixed_wait_is_always_the_same(attempt):
    """Neither the attempt nor chance changes it."""
    wait = Fixed(10).delay(attempt, 0.5)

    assert wait == timedelta(seconds=10)


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 5), (2, 10), (3, 20), (4, 25), (5, 25), (1001, 25)])
def test_an_exponential_wait_doubles_up_to_its_cap(attempt, seconds):
    """5 s, 10 s, 20 s, and then what the cap allows."""
    widest = Exponential(5, 25).delay(attempt, 1.0)

    assert widest == timedelta(seconds=seconds)


@given(roll=st.floats(0, 1, exclude_max=True), attempt=st.integers(1, 1001))
def test_an_exponential_wait_is_jittered_in_full(roll, attempt):
    """Chance alone decides between nothing and the widest wait."""
    backoff = Exponential()

    assert (
        timedelta(0)
        <= backoff.delay(attempt, roll)
        <= min(backoff.base * 2 ** min(attempt - 1, 20), backoff.cap)
    )
    assert backoff.delay(attempt, 0.0) == timedelta(0)


def test_a_base_of_nothing_waits_for_nothing():
    """Doubling zero ends, and gives zero."""
    wait = Exponential(0).delay(1000, 0.9)

    assert wait == timedelta(0)


@pytest.mark.parametrize(
    ("retries", "max_lost", "once"), [(0, 0, True), (1, 0, False), (0, 1, False), (3, 3, False)]
)
def test_at_most_once_means_no_attempt_and_no_worker_to_spare(retries, max_lost, once):
    """Either alone would start the handler twice."""
    policy = Policy(retries=retries, max_lost=max_lost)

    assert policy.at_most_once is once
