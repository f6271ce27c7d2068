"""Ids, keys, names, priorities, and how things show themselves."""

import time
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.errors import InvalidArgument
from stanchion.jobs import check_id, check_key, check_priority, new_key, split_id
from stanchion.queues import check_name
from stanchion.states import State
from support.factories import a_record

NO_NAMES = [
    "",
    "a" * 129,
    "a b",
    "a:b",
    "{a}",
    "a/b",
    "a\n",
    "a\r\nb",
    "a\0",
    "ü",
    "почта",
    "a\ud800",
    None,
    5,
    b"a",
]


@given(st.integers(0, (1 << 42) - 1), st.integers(0, (1 << 42) - 1))
def test_keys_are_in_order_of_time(one, other):
    """To the millisecond, until the year 2109."""
    with patch.object(time, "time_ns", side_effect=[one * 1_000_000, other * 1_000_000]):
        first, second = new_key(), new_key()

    assert (first < second) is (one < other) or one == other


def test_a_new_key_is_a_key_of_20_characters():
    """And no two are the same."""
    keys = [check_key(new_key()) for _ in range(1000)]

    assert {len(key) for key in keys} == {20}
    assert len(set(keys)) == 1000


@pytest.mark.parametrize("name", ["a", "A.b_c-9", "a" * 128])
def test_names_of_queues(name):
    """1 to 128 plain characters."""
    assert check_name(name) == name


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_is_no_name_is_refused(name):
    """Names become parts of keys, files and URLs. The error says what a name is, and shows the wrong one."""
    with pytest.raises(InvalidArgument) as refused:
        check_name(name, "namespace")

    assert str(refused.value) == f"a namespace is named by 1 to 128 of A-Z a-z 0-9 _ . -, not {name!r}"


@pytest.mark.parametrize("key", ["a", "a:b", "~@+=-._", "a" * 128])
def test_keys_of_jobs(key):
    """More characters than in names: a key is the last part of all that is made of it."""
    assert check_key(key) == key


@pytest.mark.parametrize("key", ["", "a" * 129, "a b", "{a}", "a/b", "a\n", "a\0", "ü", None, 5])
def test_what_is_no_key_is_refused(key):
    """The error says what a key is."""
    with pytest.raises(InvalidArgument, match="^a job's key is 1 to 128 of "):
        check_key(key)


def test_an_id_is_split_at_its_first_colon():
    """A key may have more of them."""
    job_id = check_id("mail:daily:7")

    assert split_id(job_id) == ("mail", "daily:7")


@pytest.mark.parametrize("job_id", ["", "mail", ":7", "mail:", "ma il:7", "mail:ü", None, 7])
def test_what_is_no_id_is_refused(job_id):
    """Whichever half is wrong."""
    with pytest.raises(InvalidArgument):
        check_id(job_id)


@pytest.mark.parametrize("priority", [-100, 0, 100])
def test_priorities(priority):
    """-100 is last, 100 is first."""
    assert check_priority(priority) == priority


@pytest.mark.parametrize("priority", [-101, 101, True, 1.0, "1", None])
def test_what_is_no_priority_is_refused(priority):
    """Neither what is out of bounds nor what only looks like an integer."""
    with pytest.raises(InvalidArgument, match="a priority is an integer from -100 "):
        check_priority(priority)


def test_a_record_shows_itself():
    """Its id, its state and its run."""
    record = a_record(State.RUNNING, run=2)

    assert repr(record) == "<Record mail:1 running, run 2>"
