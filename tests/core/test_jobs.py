"""Ids, keys, names, priorities, and how things show themselves."""

import os
import signal
import sys
import threading
import time
from itertools import pairwise
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.errors import InvalidArgument
from stanchion.model.ids import _KEYS, Keys, check_id, check_key, new_key, split_id
from stanchion.model.queues import check_name
from stanchion.model.states import State
from stanchion.model.values import check_priority
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


def keys_at(*instants):
    """The keys that are made when the clock shows these milliseconds, one after the other."""
    keys = Keys()
    with patch.object(time, "time_ns", side_effect=[instant * 1_000_000 for instant in instants]):
        return [keys.new() for _ in instants]


@given(st.lists(st.integers(0, (1 << 42) - 1), unique=True, min_size=2))
def test_keys_of_different_processes_are_in_order_of_time(instants):
    """To the millisecond, until the year 2109."""
    keys = [keys_at(instant)[0] for instant in sorted(instants)]

    assert keys == sorted(keys)


@given(st.lists(st.integers(0, 1 << 41), min_size=2))
def test_keys_of_one_process_count_up(instants):
    """Within a millisecond, and while the clock steps back."""
    keys = keys_at(*instants)

    assert all(one < other for one, other in pairwise(keys))


def test_ten_thousand_keys_count_up():
    """Each is greater than the one before."""
    keys = [new_key() for _ in range(10_000)]

    assert all(one < other for one, other in pairwise(keys))


def test_more_keys_than_a_millisecond_has_numbers_count_up():
    """They reach into the next one."""
    keys = keys_at(*[1_800_000_000_000] * 20_000)

    assert all(one < other for one, other in pairwise(keys))
    assert keys[-1] < keys_at(1_800_000_000_002)[0]


def test_keys_count_up_over_threads():
    """Each thread gets keys that are greater than all it has seen, also of the others."""
    keys, newest, wrong = Keys(), [""], []

    def make():
        for _ in range(2_000):
            before = newest[0]
            newest[0] = key = keys.new()
            if key <= before:
                wrong.append((before, key))

    run_in_threads(make, 4)

    assert wrong == []


def run_in_threads(work, number):
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work) for _ in range(number)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)


def key_of_child():
    """A key that a forked process makes, at the time of the last one of this process."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # ends it, if it waits for a thread that is not there
        os.write(writes, new_key().encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writes)
    with os.fdopen(reads, "rb") as answer:
        return answer.read().decode()


FORKS = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


@FORKS
def test_a_forked_process_makes_keys_of_its_own():
    """Neither its parent's nor its siblings', though all go on from the same one."""
    with patch.object(time, "time_ns", return_value=0):
        keys = [key_of_child(), key_of_child(), new_key()]

    assert len({key[:9] for key in keys}) == 1
    assert len(set(keys)) == 3


@FORKS
def test_a_fork_in_the_middle_of_a_key_stops_no_child():
    """The thread that was making one is not there any more to finish it."""
    held, done = threading.Event(), threading.Event()

    def hold():
        with _KEYS._turn:
            held.set()
            done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(30)
    key = key_of_child()
    done.set()
    thread.join()

    assert check_key(key)


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

    assert str(refused.value) == f"invalid namespace {name!r}: use 1–128 characters of A–Z a–z 0–9 _ . -"


@pytest.mark.parametrize("key", ["a", "a:b", "~@+=-._", "a" * 128])
def test_keys_of_jobs(key):
    """More characters than in names: a key is the last part of all that is made of it."""
    assert check_key(key) == key


@pytest.mark.parametrize("key", ["", "a" * 129, "a b", "{a}", "a/b", "a\n", "a\0", "ü", None, 5])
def test_what_is_no_key_is_refused(key):
    """The error says what a key is."""
    with pytest.raises(InvalidArgument, match="^invalid job key .*: use 1–128 characters of "):
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
    with pytest.raises(InvalidArgument, match="priority must be an integer from -100 "):
        check_priority(priority)


def test_a_record_shows_itself():
    """Its id, its state and its run."""
    record = a_record(State.RUNNING, run=2)

    assert repr(record) == "<Record mail:1 running, run 2>"
