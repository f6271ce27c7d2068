"""The page about writing a backend, and its example, say what is so."""

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

import backend_dbm
from stanchion.contract.backend import Backend
from stanchion.errors import BackendError, ConfigError
from stanchion.model.states import State
from stanchion_conformance.invariants import broken, everything, findings
from stanchion_conformance.making import counts_of, in_states, pause
from stanchion_testing.clock import VirtualClock

ROOT: Final = Path(__file__).parents[2]
EXAMPLE: Final = ROOT / "examples" / "backend_dbm"
PAGE: Final = ROOT / "docs" / "write-a-backend.md"

STEPS: Final = """
import pytest
from backend_dbm import DbmBackend
import stanchion_conformance as conformance

def refused(self, *args, **kwargs):
    raise NotImplementedError

def a_step(groups, missing):
    class TestStep(*(getattr(conformance, group) for group in groups)):
        @pytest.fixture
        def backend(self, clock, tmp_path):
            unfinished = type("Unfinished", (DbmBackend,), dict.fromkeys(missing, refused))
            backend = unfinished(tmp_path / "jobs", clock=clock)
            yield backend
            backend.close()
    return TestStep
"""


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Backend]:
    """A store with a job in each state, and a paused queue."""
    backend = an_example(tmp_path)
    in_states(backend, {state.value: state for state in State})
    pause(backend, "idle")
    yield backend
    backend.close()


def an_example(directory: Path) -> Backend:
    """The example's backend, as its entry point opens it."""
    return backend_dbm.open(f"dbm://{directory}", namespace="test", clock=VirtualClock())


def steps() -> Iterator[tuple[list[str], list[str]]]:
    """What the page's table says: the verbs that are written, and the groups that pass then."""
    for row in re.findall(r"^\| \d \|(.*)\|(.*)\|$", PAGE.read_text("utf-8"), re.MULTILINE):
        verbs, groups = (re.findall(r"`(\w+)`", cell) for cell in row)
        yield verbs, groups


def docs_check() -> Any:
    """The program that checks the pages, as a module."""
    spec = spec_from_file_location("docs_check", ROOT / "docs" / "check.py")
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_test_file_has_at_most_fifteen_lines() -> None:
    """That is all a new backend has to write."""
    lines = (EXAMPLE / "test_backend_dbm.py").read_text("utf-8").splitlines()

    assert len(lines) <= 15


def test_after_each_step_the_groups_pass_that_the_page_names(tmp_path: Path) -> None:
    """Though the verbs of the later steps are not there yet."""
    table = list(steps())
    verbs = [verb for written, _ in table for verb in written]
    written: list[str] = []
    lines = [STEPS]
    for number, (more, groups) in enumerate(table[1:], 1):
        written += table[0][0] + more
        lines.append(f"TestStep{number} = a_step({groups}, {sorted({*verbs} - {*written})})")
    tmp_path.joinpath("test_steps.py").write_text("\n".join(lines))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-c",
        str(ROOT / "pyproject.toml"),
        "--rootdir",
        str(ROOT),
    ]
    ran = subprocess.run(
        [*command, "-p", "no:cacheprovider", str(tmp_path)], capture_output=True, text=True, check=False
    )

    assert len(table) == 5
    assert ran.returncode == 0, ran.stdout
    assert " passed" in ran.stdout


def test_the_page_s_table_names_every_verb() -> None:
    """Whoever follows it has written a whole backend."""
    named = {verb for verbs, _ in steps() for verb in verbs}
    verbs = {name for name in dir(Backend) if not name.startswith("_")}

    assert named == verbs


def test_a_quote_that_is_not_in_its_file_is_noticed(tmp_path: Path) -> None:
    """By the program that checks the pages; a method may be quoted without its indent."""
    page = tmp_path / "page.md"
    head = "<!-- from examples/backend_dbm/backend_dbm.py -->\n```python\n"
    true = "def _queue(self, name: str) -> Queue:\n    return self._queues.get(name) or Queue()\n"
    false = "def _queue(self) -> None:\n"
    page.write_text(f"{head}{true}```\n\n{head}{false}```\n")

    assert list(docs_check().misquoted(page)) == [
        "page.md:9: this is not in examples/backend_dbm/backend_dbm.py"
    ]


def test_the_example_finds_its_jobs_again(opened: Backend, tmp_path: Path) -> None:
    """What was written is read when the store is opened anew."""
    before = everything(opened)
    opened.close()
    again = an_example(tmp_path)
    after = everything(again)
    found = broken(again)
    again.close()

    assert after == before
    assert found == []


def test_the_example_quarantines_what_it_cannot_read(opened: Backend, tmp_path: Path) -> None:
    """It says so when asked, and goes on with the rest."""
    opened.close()
    with backend_dbm.dbm.dumb.open(str(tmp_path / "test")) as file:
        file["mail:queued"] = b"torn"
    again = an_example(tmp_path)
    found, counts = findings(again, "mail"), counts_of(again)
    again.close()

    assert found == ["unreadable: mail:queued: it is no record"]
    assert (counts[State.QUEUED], counts[State.SCHEDULED]) == (0, 1)


def test_the_example_belongs_to_one_process(opened: Backend, tmp_path: Path) -> None:
    """A second backend on the same store is refused, instead of writing over the first one's jobs."""
    second = an_example(tmp_path)

    with pytest.raises(BackendError, match="is in use by another process"):
        second.queues()
    second.close()


def test_the_example_refuses_a_url_without_a_directory() -> None:
    """It says what one looks like."""
    with pytest.raises(ConfigError, match="is dbm:///path/to/directory, not 'dbm://jobs'"):
        backend_dbm.open("dbm://jobs", namespace="test")
