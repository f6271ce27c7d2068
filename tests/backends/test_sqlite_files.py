"""The file that jobs are kept in: its name, its rights, its tables, and what is said of one that cannot be used."""

import signal
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

import stanchion_sqlite
from stanchion import Stanchion, State
from stanchion.contract.requests import Get, Insert, List
from stanchion.errors import BackendError, ConfigError
from stanchion.model.changes import remembered
from stanchion_conformance.invariants import broken
from stanchion_conformance.making import LEASE, QUEUE, a_claim, an_item, inserted, items, keys_of
from stanchion_sqlite import SqliteBackend, tables
from stanchion_testing.clock import VirtualClock
from support.hands import hands
from support.sqlite_deeds import backend_on, make
from support.sqlite_files import asked, tables_of, trouble_with

MEETINGS = 60
"""How often two processes open a new file at the same moment."""

STATEMENTS = sum(step.count("CREATE ") for step in tables.schema())
"""How many there are in the schema."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file is to be."""
    return tmp_path / "jobs.db"


def test_nobody_else_may_read_a_new_file(path: Path) -> None:
    """Arguments and results are in it and in the files beside it."""
    with closing(backend_on(path)) as backend:
        backend.insert(Insert([an_item()]))

        assert _modes(path) == dict.fromkeys(["jobs.db", "jobs.db-shm", "jobs.db-wal"], 0o600)


def test_the_mode_of_a_file_that_exists_is_left(path: Path) -> None:
    """Whoever made it for others to read meant it, and the files beside it are like it."""
    path.touch(0o664)
    path.chmod(0o664)
    with closing(backend_on(path)) as backend:
        backend.insert(Insert([an_item()]))

        assert _modes(path) == dict.fromkeys(["jobs.db", "jobs.db-shm", "jobs.db-wal"], 0o664)


def test_opening_does_not_touch_the_disk(path: Path) -> None:
    """The file is made when it is first needed."""
    with closing(stanchion_sqlite.open(f"sqlite:///{path}", namespace="test")):
        assert not path.exists()


def test_a_closed_file_stands_alone(path: Path) -> None:
    """Nothing is beside it once everybody has closed it, and it can be copied."""
    make(str(path), "a")

    assert [one.name for one in path.parent.iterdir()] == ["jobs.db"]


def test_the_answers_to_claims_are_kept_no_longer_than_they_may_be_asked_for(path: Path) -> None:
    """A file does not grow by each claim that was ever made on it."""
    clock = VirtualClock()
    with closing(SqliteBackend(path, namespace="test", clock=clock)) as backend:
        inserted(backend, *items(f"{number}" for number in range(5)))
        for _ in range(5):
            a_claim(backend, limit=1)
        kept = asked(path, "SELECT count(*) FROM stanchion_claims")
        clock.advance(remembered(LEASE))
        a_claim(backend)

    assert kept == [(5,)]
    assert asked(path, "SELECT count(*) FROM stanchion_claims") == [(0,)]


@pytest.mark.parametrize("place", ["absent/jobs.db", "a file/jobs.db"])
def test_a_file_that_cannot_be_made_is_named(tmp_path: Path, place: str) -> None:
    """And so is what must be there, whatever is asked of the backend first."""
    (tmp_path / "a file").touch()
    with closing(backend_on(tmp_path / place)) as backend:
        for use in (lambda: backend.insert(Insert([an_item()])), lambda: backend.get(Get([f"{QUEUE}:a"]))):
            with pytest.raises(BackendError, match=f"{tmp_path / place}.*its directory must exist"):
                use()


def test_a_directory_is_no_database(tmp_path: Path) -> None:
    """The error names it."""
    with closing(backend_on(tmp_path)) as backend, pytest.raises(BackendError, match=str(tmp_path)):
        backend.insert(Insert([an_item()]))


def test_a_file_that_is_no_database_is_left_alone(path: Path) -> None:
    """The error names it, and says what is wrong with it."""
    path.write_text("Dear diary, " * 100)
    with (
        closing(backend_on(path)) as backend,
        pytest.raises(BackendError, match=f"{path}: file is not a database"),
    ):
        backend.insert(Insert([an_item()]))

    assert path.read_text() == "Dear diary, " * 100


def test_a_file_of_a_newer_stanchion_is_refused(path: Path) -> None:
    """The error says to upgrade, and nothing is changed, whoever asks."""
    make(str(path), "a")
    asked(path, "UPDATE stanchion_schema SET version = 99")
    before = tables_of(path)
    with closing(backend_on(path)) as backend:
        for use in (lambda: backend.insert(Insert([an_item("b")])), lambda: backend.get(Get([f"{QUEUE}:a"]))):
            with pytest.raises(BackendError, match=f"{path}.* schema is 99, .*upgrade Stanchion"):
                use()
        with (
            closing(sqlite3.connect(path)) as connection,
            pytest.raises(BackendError, match="upgrade Stanchion"),
        ):
            backend.insert_joined(Insert([an_item("b")]), connection)

    assert tables_of(path) == before


STEP = """
-- A step of a later version.
ALTER TABLE stanchion_queues ADD COLUMN colour TEXT DEFAULT 'red';
CREATE TABLE stanchion_more (id INTEGER PRIMARY KEY);
"""


def test_an_older_file_is_brought_up_to_date(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the steps that it lacks, and its jobs stay."""
    make(str(path), "a")
    steps = (*tables.schema(), STEP)
    monkeypatch.setattr(tables, "schema", lambda: steps)
    with closing(backend_on(path)) as backend:
        backend.insert(Insert([an_item("b")]))

        assert keys_of(backend.list(List(queue=QUEUE, state=State.QUEUED)).heads) == ["a", "b"]
        assert broken(backend) == []
    assert asked(path, "SELECT version FROM stanchion_schema") == [(len(steps),)]
    assert asked(path, "SELECT colour FROM stanchion_queues") == [("red",)]


def test_steps_that_fail_leave_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those before them; the file goes on to work with the version that made it."""
    make(str(path), "a")
    before = tables_of(path)
    with monkeypatch.context() as patch:
        steps = (*tables.schema(), STEP, "CREATE TABLE stanchion_more (again);\n")
        patch.setattr(tables, "schema", lambda: steps)
        with closing(backend_on(path)) as backend, pytest.raises(BackendError, match="already exists"):
            backend.insert(Insert([an_item("b")]))

    assert tables_of(path) == before
    assert make(str(path), "b")


def test_a_process_that_dies_while_it_makes_the_tables_leaves_none(path: Path) -> None:
    """The next one makes them all."""
    with hands(1) as (hand,):
        for statement in range(1, STATEMENTS + 1):
            assert hand.fork("sqlite_lives:die_making", path, statement).ended() == -signal.SIGKILL
            assert tables_of(path) == {}
    assert make(str(path), "a")
    assert trouble_with(path) == []


def test_two_processes_may_make_the_file_at_the_same_moment(tmp_path: Path) -> None:
    """Both find the tables, which were made once."""
    with hands(2) as both:
        for hand in both:
            hand.do("sqlite_deeds:make", tmp_path / "first.db", "a")
        for number in range(MEETINGS):
            path = tmp_path / f"{number}.db"
            for hand, key in zip(both, "ab", strict=True):
                hand.begin("sqlite_deeds:make", path, key)
            assert [hand.answer() for hand in both] == [True, True]
            assert asked(path, "SELECT key FROM stanchion_jobs ORDER BY key") == [("a",), ("b",)]


def test_the_file_may_be_the_caller_s_database(path: Path) -> None:
    """His tables, his rows and what he keeps in `user_version` and `application_id` stay."""
    asked(
        path,
        "PRAGMA user_version = 42",
        "PRAGMA application_id = 7",
        "CREATE TABLE orders (number INTEGER)",
        "INSERT INTO orders VALUES (1)",
    )
    make(str(path), "a")

    assert asked(path, "PRAGMA user_version") == [(42,)]
    assert asked(path, "PRAGMA application_id") == [(7,)]
    assert tables_of(path)["orders"] == [(1,)]
    with closing(backend_on(path)) as backend:
        assert broken(backend) == []


def test_a_sqlite_that_is_too_old_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By both versions, before anything is made."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.34.1")
    with (
        closing(backend_on(path)) as backend,
        pytest.raises(BackendError, match="3.34.1 is too old, 3.35 or newer"),
    ):
        backend.insert(Insert([an_item()]))

    assert not path.exists()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:///jobs.db", "jobs.db"),
        ("sqlite:///sub/jobs.db", "sub/jobs.db"),
        ("sqlite:///{here}/jobs.db", "jobs.db"),
        ("sqlite:///jobs.db?synchronous=normal", "jobs.db"),
        ("sqlite:///my%20jobs%3F%23.db", "my jobs?#.db"),
        ("sqlite:///%C3%A4.db", "ä.db"),
    ],
)
def test_a_url_names_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, expected: str) -> None:
    """In the working directory of the moment it is opened, or anywhere."""
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    with Stanchion(url.format(here=tmp_path)) as app:
        monkeypatch.chdir("/")
        app.queue(QUEUE).pause()

        assert (tmp_path / expected).is_file()


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite://jobs.db",
        "sqlite://localhost/jobs.db",
        "sqlite:///jobs.db#part",
        "sqlite:///jobs%00.db",
    ],
)
def test_a_url_that_names_no_file_is_refused(url: str) -> None:
    """The error shows how one does."""
    with pytest.raises(ConfigError, match="sqlite:///jobs.db"):
        Stanchion(url)


@pytest.mark.parametrize(
    "options", ["synchronous=off", "synchronous=", "synchronous", "timeout=5", "synchronous=full&mode=memory"]
)
def test_an_unknown_option_is_refused(options: str) -> None:
    """The error names the one there is, and its values."""
    with pytest.raises(ConfigError, match="synchronous=full or normal"):
        Stanchion(f"sqlite:///jobs.db?{options}")


def _modes(path: Path) -> dict[str, int]:
    return {one.name: stat.S_IMODE(one.stat().st_mode) for one in sorted(path.parent.iterdir())}
