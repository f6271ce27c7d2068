"""The option `--stanchion-report`, in runs of pytest of their own."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from stanchion_testing.pytest_report import OPTION

HEAD = """
import pytest
from stanchion_conformance import Ground
from stanchion_conformance.settings import Settings, OtherWays
from stanchion_memory import MemoryBackend

class Memory(Ground):
    @pytest.fixture
    def backend(self, clock):
        return MemoryBackend(clock=clock)
"""

GOOD = (
    HEAD
    + """
class TestGood(Memory, Settings, OtherWays):
    pass

def test_of_something_else():
    pass
"""
)

ODD = (
    HEAD
    + """
class TestOdd(Memory):
    TITLE = "<i>Odd</i>"

    def test_that_holds(self, backend):
        '''It does.'''

    def test_that_does_not(self, backend):
        assert 1 == "<script>alert(1)</script>"

    def test_that_is_left_out(self, backend):
        pytest.skip("no & none")

    @pytest.mark.parametrize("number", [1, 2, 3])
    def test_of_numbers(self, backend, number):
        assert number != 2

    @pytest.fixture
    def broken(self):
        raise RuntimeError("it broke")

    def test_whose_fixture_breaks(self, backend, broken):
        pass

    def test_that_leaves_damage(self, backend):
        from stanchion.contract.requests import Insert
        from stanchion_conformance.making import an_item
        backend.insert(Insert([an_item()]))
        backend._shelves["mail"].records.clear()
"""
)


@frozen
class Ran:
    """What a run of pytest came to."""

    status: int
    said: str
    directory: Path

    @property
    def table(self) -> Any:
        """Its report in JSON."""
        return json.loads(self.directory.joinpath("report.json").read_text("utf-8"))

    @property
    def page(self) -> str:
        """Its report in HTML."""
        return self.directory.joinpath("report.html").read_text("utf-8")

    @property
    def found(self) -> dict[str, Any]:
        """What was found of each claim, for the only backend."""
        return {claim["name"]: next(iter(claim["found"].values())) for claim in self.table["claims"]}


Pytest = Callable[..., Ran]


@pytest.fixture
def run(tmp_path: Path) -> Pytest:
    """Runs pytest on these files in a directory of its own, with both reports."""

    def run(*options: str, **files: str) -> Ran:
        tmp_path.joinpath("pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")
        for name, text in files.items():
            tmp_path.joinpath(f"{name}.py").write_text(text)
        reports = [f"{OPTION}=report.html", f"{OPTION}=report.json"]
        command = [sys.executable, "-m", "pytest", *reports, *options]
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        return Ran(ran.returncode, ran.stdout + ran.stderr, tmp_path)

    return run


def outcomes(found: Mapping[str, Any]) -> dict[str, str]:
    """What each claim came to."""
    return {name: cell["outcome"] for name, cell in found.items()}


def test_a_report_has_a_row_for_each_claim_and_its_level(run: Pytest) -> None:
    """Of classes of the suite alone; parametrised claims have one row."""
    ran = run(test_good=GOOD)
    (backend,) = ran.table["backends"]

    assert ran.status == 0
    assert (backend["title"], backend["where"]) == ("TestGood", "test_good.py::TestGood")
    assert backend["counts"] == {"contract": {"passed": 12, "skipped": 3}}
    assert {claim["level"] for claim in ran.table["claims"]} == {"contract"}
    assert {claim["group"] for claim in ran.table["claims"]} == {"Settings", "OtherWays"}
    assert ran.found["test_a_queue_with_a_job_is_not_forgotten"]["cases"] == 9
    assert "test_of_something_else" not in ran.found
    assert "test of something else" not in ran.page


def test_every_skip_of_a_report_has_its_reason(run: Pytest) -> None:
    """It names the capability that is absent, and the backend that lacks it."""
    ran = run(test_good=GOOD)
    skipped = [cell["skipped"] for cell in ran.found.values() if cell["outcome"] == "skipped"]
    reasons = [one["reason"] for cell in skipped for one in cell]

    assert [reason.partition(" (")[0] for reason in reasons] == [
        "MemoryBackend does not have the capability HasDeadlines",
        "MemoryBackend does not have the capability MayWait",
        "MemoryBackend does not have the capability HasAsync",
    ]
    assert all(reason in ran.page for reason in reasons)


def test_a_report_says_what_ran_and_when(run: Pytest) -> None:
    """The date, how the run ended, and the versions, also of the packages that bring backends."""
    ran = run(test_good=GOOD)
    table = ran.table

    assert table["run"] == "all that ran passed"
    assert table["written_at"].endswith("+00:00")
    assert table["versions"]["pytest"] == pytest.__version__
    assert table["versions"]["stanchion"] == version("stanchion")
    assert all(words in ran.page for words in (table["written_at"], table["run"], pytest.__version__))


def test_a_report_says_what_failed(run: Pytest) -> None:
    """Of claims, of single cases, of fixtures, and of the store after a test."""
    ran = run(test_odd=ODD)
    found = ran.found

    assert ran.status == 1
    assert ran.table["run"] == "some tests failed"
    assert outcomes(found) == {
        "test_that_holds": "passed",
        "test_that_does_not": "failed",
        "test_that_is_left_out": "skipped",
        "test_of_numbers": "failed",
        "test_whose_fixture_breaks": "failed",
        "test_that_leaves_damage": "failed",
    }
    assert found["test_of_numbers"]["cases"] == 3
    assert [one["case"] for one in found["test_of_numbers"]["failed"]] == ["2"]
    assert found["test_whose_fixture_breaks"]["failed"][0]["reason"] == "in its setup: RuntimeError: it broke"
    assert found["test_that_leaves_damage"]["failed"][0]["reason"].startswith("in its teardown: ")
    assert {claim["level"] for claim in ran.table["claims"]} == {"own"}


def test_a_page_shows_what_it_is_given_as_text(run: Pytest) -> None:
    """Titles and reasons are escaped; the page brings no script and needs no other file."""
    ran = run(test_odd=ODD)
    tags = Tags()
    tags.feed(ran.page)
    tags.close()

    assert tags.open == []
    assert not tags.seen & {"script", "i", "link", "img"}
    assert "&lt;i&gt;Odd&lt;/i&gt;" in ran.page
    assert "no &amp; none" in ran.page
    assert "&lt;script&gt;alert(1)" in ran.page


def test_a_report_of_a_run_that_stopped_says_what_was_not_run(run: Pytest) -> None:
    """With `-x`, what comes behind the first failure is neither passed nor forgotten."""
    ran = run("-x", test_odd=ODD)

    assert outcomes(ran.found) == {
        "test_that_holds": "passed",
        "test_that_does_not": "failed",
        "test_that_is_left_out": "not run",
        "test_of_numbers": "not run",
        "test_whose_fixture_breaks": "not run",
        "test_that_leaves_damage": "not run",
    }
    assert "not run" in ran.page


def test_a_report_without_claims_says_so(run: Pytest) -> None:
    """It is written all the same."""
    ran = run(test_other="def test_nothing():\n    pass\n")

    assert ran.status == 0
    assert (ran.table["backends"], ran.table["claims"]) == ([], [])
    assert "No test of the conformance suite was collected" in ran.page


def test_a_report_names_what_could_not_be_collected(run: Pytest) -> None:
    """A backend whose test file cannot be imported is not one that passed."""
    ran = run(test_torn="import nowhere\n")

    assert ran.table["run"] != "all that ran passed"
    assert "No module named 'nowhere'" in ran.table["errors"]["test_torn.py"]
    assert "No module named &#x27;nowhere&#x27;" in ran.page


def test_two_backends_stand_beside_each_other(run: Pytest) -> None:
    """Also if their classes have the same name."""
    ran = run(test_one=GOOD, test_two=GOOD)
    claims = ran.table["claims"]

    assert [one["where"] for one in ran.table["backends"]] == [
        "test_one.py::TestGood",
        "test_two.py::TestGood",
    ]
    assert {len(claim["found"]) for claim in claims} == {2}


def test_a_report_is_of_a_kind_that_exists(run: Pytest) -> None:
    """The name of the file says of which; another is refused before anything runs."""
    ran = run(f"{OPTION}=report.txt", test_good=GOOD)

    assert ran.status == pytest.ExitCode.USAGE_ERROR
    assert "invalid --stanchion-report 'report.txt': use a name that ends in .html or .json" in ran.said


def test_without_the_option_pytest_starts_as_it_did() -> None:
    """The plugin is loaded in every run, so it brings nothing with it."""
    code = (
        "import sys, pytest; before = {*sys.modules};"
        "import stanchion_testing.pytest_report;"
        "print(sorted({*sys.modules} - before))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ran.stdout.strip() == "['stanchion_testing', 'stanchion_testing.pytest_report']"


class Tags(HTMLParser):
    """Notes which elements there are, and which are never closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
