"""Gathers what pytest reports about claims, and writes it when the session is over."""

import json
import platform
from collections.abc import Generator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any, Final

import pytest
from attrs import asdict

from stanchion_conformance import LEVELS, Ground
from stanchion_conformance.report.page import page
from stanchion_conformance.report.table import FAILED, OWN, PASSED, SKIPPED, Case, Table

FORMAT: Final = 1
"""The version of the JSON report's layout."""

LONGEST: Final = 2_000
"""Characters kept of a reason."""

_ENDS: Final[Mapping[int, str]] = {
    0: "all that ran passed",
    1: "some tests failed",
    2: "interrupted before its end",
    3: "ended by an error in pytest",
    4: "ended by a wrong use of pytest",
    5: "no tests were collected",
}


class Gathering:
    """The part of the plugin that listens."""

    def __init__(self, config: pytest.Config, paths: Sequence[str]) -> None:
        self._paths = [Path(config.invocation_params.dir, path) for path in paths]
        # A process of pytest-xdist runs tests, and the one that started it writes the report.
        self._writes = not hasattr(config, "workerinput")
        self._table = Table((*LEVELS, OWN))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note what is to be run, so that what is not run can be seen."""
        for item in session.items:
            case = case_of(item)
            if case is not None:
                self._table.expect(case)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note what cannot be collected."""
        if report.failed:
            self._table.errors[report.nodeid] = _reason(report)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Write onto the report of a test which claim it is about; reports travel between processes."""
        report = yield
        case = case_of(item)
        if case is not None:
            report.stanchion_case = asdict(case)  # type: ignore[attr-defined]  # reports take attributes
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what was found."""
        case = getattr(report, "stanchion_case", None)
        if case is not None:
            self._table.add(Case(**case), _outcome(report), _reason(report), report.duration)

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Write the reports."""
        if not self._writes:
            return
        report = {
            "format": FORMAT,
            "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "run": _ENDS.get(int(exitstatus), f"ended with status {int(exitstatus)}"),
            "versions": versions(),
        }
        for path in self._paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            written = page(self._table, report) if path.suffix == ".html" else self._json(report)
            path.write_text(written, encoding="utf-8")

    def _json(self, report: Mapping[str, Any]) -> str:
        return json.dumps({**report, **self._table.plain()}, indent=1, ensure_ascii=False) + "\n"

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say where the reports are."""
        for path in self._paths:
            terminalreporter.write_line(f"Stanchion's report: {path}")


def case_of(item: pytest.Item) -> Case | None:
    """Return the claim that a test is about.

    Returns:
        The case; `None` if the test is not in a class of the conformance suite.
    """
    cls = getattr(item, "cls", None)
    if cls is None or not issubclass(cls, Ground):
        return None
    name: str = getattr(item, "originalname", None) or item.name
    group = next((one for one in reversed(cls.__mro__) if name in vars(one)), cls)
    levels = (level for level, claims in LEVELS.items() if issubclass(claims, group))
    return Case(
        backend=cls.TITLE or cls.__name__,
        where=item.nodeid.rpartition("::")[0],
        level=next(levels, OWN),
        group=group.__name__,
        claim=name,
        meaning=(getattr(vars(group).get(name), "__doc__", None) or "").strip().partition("\n")[0],
        parameters=getattr(getattr(item, "callspec", None), "id", ""),
    )


def versions() -> dict[str, str]:
    """Return what ran: Python, pytest, and all packages that bring backends.

    Returns:
        Versions by name.
    """
    packages = {point.dist.name for point in entry_points(group="stanchion.backends") if point.dist}
    return {
        "Python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "pytest": pytest.__version__,
        **{package: _version(package) for package in sorted(packages | {"stanchion"})},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _outcome(report: pytest.TestReport) -> str:
    return {"passed": PASSED, "skipped": SKIPPED}.get(report.outcome, FAILED)


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Why it did not pass, in a few words; empty if it did."""
    when = getattr(report, "when", "collect")
    before = f"in its {when}: " if report.failed and when in ("setup", "teardown") else ""
    return (before + _reason_in(report))[:LONGEST] if not report.passed else ""


def _reason_in(report: pytest.TestReport | pytest.CollectReport) -> str:
    expected: str | None = getattr(report, "wasxfail", None)
    found: Any = report.longrepr
    if expected is not None:
        return f"expected to fail: {expected}"
    if isinstance(found, tuple):
        return str(found[2]).removeprefix("Skipped: ")
    crash = getattr(found, "reprcrash", None)
    return str(crash.message if crash else found).strip()
