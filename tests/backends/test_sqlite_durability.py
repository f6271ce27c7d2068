"""What a SQLite file still holds after a loss of power, when the end of its write-ahead log never reached the disk."""

import shutil
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Final

import pytest
from attrs import frozen

import stanchion_sqlite
from stanchion.contract.backend import Backend
from stanchion.contract.requests import Get
from stanchion_conformance.invariants import broken
from stanchion_conformance.making import QUEUE
from support.hands import hands
from support.sqlite_deeds import backend_on
from support.sqlite_files import trouble_with

CUTS: Final = 60
"""At how many places the log is cut off."""

FULL, NORMAL = 2, 1
"""What `PRAGMA synchronous` answers."""


@frozen
class Left:
    """A file and its log as they were when their machine stopped."""

    path: Path
    ends: list[int]
    """How long the log was after each transaction; the n-th inserted the jobs `n` and `n-b`."""

    def cut(self, length: int, rest: bytes = b"") -> Path:
        """A copy of it whose log ends here, or goes on with something else."""
        copy = self.path.with_name("copy.db")
        shutil.copy(self.path, copy)
        log = _log(self.path).read_bytes()
        _log(copy).write_bytes(log[:length] + rest)
        return copy

    def whole(self, length: int) -> int:
        """How many transactions end within this length of the log."""
        return sum(end <= length for end in self.ends)


@pytest.fixture
def left(tmp_path: Path) -> Left:
    """What a process that was killed has left."""
    path = tmp_path / "jobs.db"
    with hands(1) as (hand,):
        ends = hand.do("sqlite_lives:grow", path, 40)
        shutil.copy(path, tmp_path / "left.db")
        shutil.copy(_log(path), _log(tmp_path / "left.db"))
    return Left(tmp_path / "left.db", ends)


@pytest.mark.parametrize("rest", [0, 1, 2], ids=["nothing", "zeros", "noise"])
def test_a_log_without_its_end_holds_the_first_transactions(left: Left, rest: int) -> None:
    """All that were whole in it, in order, and nothing of those that were not; whatever the disk has behind them."""
    chance = Random(rest)
    size = left.ends[-1]
    for _ in range(CUTS):
        length = chance.randrange(size)
        behind = [b"", bytes(size - length), chance.randbytes(size - length)][rest]
        path = left.cut(length, behind)

        assert trouble_with(path) == []
        with closing(backend_on(path)) as backend:
            assert broken(backend) == []
            assert _transactions(backend) == left.whole(length)


def test_nothing_is_lost_with_the_whole_log(left: Left) -> None:
    """Every transaction that was answered is there."""
    with closing(backend_on(left.cut(left.ends[-1]))) as backend:
        assert _transactions(backend) == len(left.ends)


@pytest.mark.parametrize(
    ("option", "expected"), [("", FULL), ("?synchronous=full", FULL), ("?synchronous=normal", NORMAL)]
)
def test_each_commit_waits_for_the_disk_unless_told_otherwise(
    tmp_path: Path, option: str, expected: int
) -> None:
    """The connection that writes has the setting that the URL says, and the one by default is FULL."""
    url = f"sqlite:///{tmp_path}/jobs.db{option}"
    with closing(stanchion_sqlite.open(url, namespace="test")) as backend:
        backend._database.prepare()
        (setting,) = backend._database.pair.writer.execute("PRAGMA synchronous").fetchone()
        (mode,) = backend._database.pair.writer.execute("PRAGMA journal_mode").fetchone()

    assert setting == expected
    assert mode == "wal"


def _log(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _transactions(backend: Backend) -> int:
    """How many transactions a file holds; an error if it holds a part of one, or one without those before it."""
    numbers = [
        record.id for record in backend.get(Get([f"{QUEUE}:{number}" for number in range(100)])) if record
    ]
    seconds = [
        record.id for record in backend.get(Get([f"{QUEUE}:{number}-b" for number in range(100)])) if record
    ]
    expected = [f"{QUEUE}:{number}" for number in range(len(numbers))]

    assert numbers == expected
    assert seconds == [f"{one}-b" for one in expected]
    return len(numbers)
