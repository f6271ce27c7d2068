"""The conformance suite catches bugs: each backend that is broken in one way fails the claim that forbids it.

`pytest tests/testing/test_planted.py -rP` prints which claims caught which bug.
"""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import hypothesis
import pytest

from stanchion_conformance import BackendSuite, volume, waiting, watching
from stanchion_testing.clock import VirtualClock
from testing import (  # noqa: F401 - importing plants the bugs
    planted_born,
    planted_bounds,
    planted_changes,
    planted_claims,
    planted_damage,
    planted_finding,
    planted_inserts,
    planted_ledgers,
    planted_lives,
    planted_reading,
    planted_stories,
)
from testing.planted import PLANTED, Unbroken

HERE: Final = Path(__file__)
ROOT: Final = HERE.parents[2]

ENOUGH: Final = 3
"""How many failures end a session."""

WITHOUT: Final = ("terminal", "cacheprovider", "faulthandler", "logging", "unraisableexception")
"""The parts of pytest that a session does not need, or leaves to the one around it."""


class Planted(BackendSuite):
    """The suite to which broken backends are put, each in a session of pytest of its own."""

    RACERS = 3
    SIZE = 250
    QUEUES = 20
    STORIES = 5

    def damage(self, backend: Unbroken, job_id: str) -> bool:
        return backend.hurt(job_id) or pytest.skip("this one's records cannot be damaged")

    def mend(self, backend: Unbroken, job_id: str) -> bool:
        return backend.mend(job_id)

    @pytest.fixture
    def backend(self, variant: type[Unbroken], clock: VirtualClock) -> Iterator[Unbroken]:
        backend = variant(clock=clock)
        yield backend
        backend.close()


class Session:
    """A plugin of such a session, which gives the backend.

    For a broken one it leaves only the group with the claim that must catch the bug, that claim first.
    """

    def __init__(self, variant: type[Unbroken]) -> None:
        self._variant = variant

    @pytest.fixture
    def variant(self) -> type[Unbroken]:
        return self._variant

    @pytest.hookimpl(tryfirst=True)
    def pytest_pycollect_makeitem(self, name: str) -> list[pytest.Item] | None:
        group = group_of(self._variant.claim_that_catches)
        return [] if group and group_of(name) not in (group, None) else None

    def pytest_collection_modifyitems(self, items: list[pytest.Function]) -> None:
        items.sort(key=lambda item: item.originalname != self._variant.claim_that_catches)


def group_of(claim: str) -> type | None:
    """The class of the suite in which a claim is written."""
    return next((group for group in BackendSuite.__mro__ if claim in vars(group)), None)


def put_to_the_claims(variant: type[Unbroken], report: Path) -> dict[str, dict[str, Any]]:
    """What the suite's report says of a backend, by claim."""
    config = [
        "-c",
        f"{ROOT / 'pyproject.toml'}",
        f"--rootdir={ROOT}",
        "-o",
        "addopts=--import-mode=importlib",
    ]
    apart = ["-s", "--assert=plain", "-ppytest_timeout", *(f"-pno:{plugin}" for plugin in WITHOUT)]
    asked = ["-p", "stanchion_report", f"--stanchion-report={report}", f"--maxfail={ENOUGH}"]
    suite = ["-o", "python_classes=Planted", f"{HERE}::Planted"]
    pytest.main([*config, *apart, *asked, *suite], [Session(variant)])
    claims = json.loads(report.read_text())["claims"]
    return {claim["name"]: found for claim in claims for found in claim["found"].values()}


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session inside this one has no plugins and options of its surroundings."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    monkeypatch.delenv("PYTEST_PLUGINS", raising=False)


def test_there_are_many_bugs_of_many_kinds():
    """Nearly every group of claims has bugs of its own to catch."""
    groups = {group_of(variant.claim_that_catches) for variant in PLANTED.values()}

    assert len(PLANTED) > 200
    assert len(groups) >= 18
    assert None not in groups


def test_a_backend_without_a_bug_passes(tmp_path):
    """What the bugs are planted in keeps the contract."""
    found = put_to_the_claims(Unbroken, tmp_path / "report.json")
    outcomes = Counter(one["outcome"] for one in found.values())

    assert set(outcomes) == {"passed", "skipped"}
    assert outcomes["passed"] > 280


@pytest.fixture
def _soon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Failures come soon: nothing is waited for that will not come, and no story is cut shorter."""
    monkeypatch.setattr(waiting, "LONG", timedelta(seconds=0.4))
    monkeypatch.setattr(watching, "PATIENCE", 0.1)
    monkeypatch.setattr(volume, "urandom", bytes)
    monkeypatch.setattr(Planted, "STORIES", 100)
    before = hypothesis.settings.get_current_profile_name()
    hypothesis.settings.register_profile("planted", phases=[hypothesis.Phase.generate])
    hypothesis.settings.load_profile("planted")
    yield
    hypothesis.settings.load_profile(before)


@pytest.mark.usefixtures("_soon")
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_caught(name, tmp_path, record_property):
    """By an assertion of the claim that forbids it, and not because the broken backend stumbled."""
    variant = PLANTED[name]
    found = put_to_the_claims(variant, tmp_path / "report.json")
    caught_by = [claim for claim, one in found.items() if one["outcome"] == "failed"]
    record_property("caught_by", caught_by)
    print(f"{name}: {variant.__doc__}", *caught_by, sep="\n    ")  # noqa: T201 - the table of bugs and claims

    assert variant.claim_that_catches in caught_by
    reasons = [case["reason"] for case in found[variant.claim_that_catches]["failed"]]
    assert all(reason.startswith(("assert ", "AssertionError")) for reason in reasons), reasons
