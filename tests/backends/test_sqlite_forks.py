"""A SQLite backend that is open when its process forks."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from stanchion_conformance.invariants import broken
from support.hands import Hand, hands
from support.sqlite_deeds import backend_on
from support.sqlite_files import trouble_with

SOON = 5.0
"""Seconds after which a worker would have looked without being woken."""

FORKS = 30


@pytest.fixture
def process() -> Iterator[Hand]:
    """A process that may fork."""
    with hands(1) as (hand,):
        yield hand


def test_parent_and_child_go_on(tmp_path: Path, process: Hand) -> None:
    """Each sees what the other inserted, and nothing is lost when the parent closes the file first."""
    there = process.do("sqlite_forks:both_go_on", tmp_path / "jobs.db")

    assert there["parent"] == ["before", "child", "parent"]
    assert there["left"] == ["before", "child", "child-later", "parent"]


def test_a_child_inherits_no_locks(tmp_path: Path, process: Hand) -> None:
    """Though other threads of its parent write, read and wait when it is made; the file stays sound."""
    path = tmp_path / "jobs.db"

    assert process.do("sqlite_forks:threads_at_work", path, FORKS) == [0] * FORKS
    assert trouble_with(path) == []
    with closing(backend_on(path)) as backend:
        assert broken(backend) == []


def test_a_child_hears_of_jobs(tmp_path: Path, process: Hand) -> None:
    """Though a thread of its parent waited when it was made."""
    assert process.do("sqlite_forks:child_waits", tmp_path / "jobs.db") < SOON


def test_a_fork_that_python_does_not_know_of_is_refused(tmp_path: Path, process: Hand) -> None:
    """The child would use connections that SQLite forbids it to use; the error says what to do."""
    said = process.do("sqlite_forks:forked_unseen", tmp_path / "jobs.db")

    assert "jobs.db: it was open when the process forked" in said
