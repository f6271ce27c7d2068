"""A pytest plugin: `--stanchion-report=FILE` writes what the conformance suite found, for each backend and claim.

The file's name says as what: `report.html`, a page to read, or `report.json`. The option may be given several
times. Only tests of subclasses of `stanchion_conformance.Ground` appear.

Every run of pytest beside an installed Stanchion loads this file, so it imports nothing
of Stanchion until it is asked to.
"""

import pytest

OPTION = "--stanchion-report"
"""The option's name."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Make the option known."""
    parser.getgroup("stanchion").addoption(
        OPTION,
        action="append",
        default=[],
        metavar="FILE",
        dest="stanchion_report",
        help="write what Stanchion's conformance suite found to FILE.html or FILE.json",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Begin to listen if a report is wanted.

    Raises:
        pytest.UsageError: A file's name does not say as what it is to be written.
    """
    paths: list[str] = config.getoption("stanchion_report") or []
    for path in paths:
        if not path.endswith((".html", ".json")):
            raise pytest.UsageError(f"{OPTION}: a report is a .html or a .json file, not {path!r}")
    if paths:
        from stanchion_conformance.report.gathering import Gathering

        config.pluginmanager.register(Gathering(config, paths), "stanchion_report_gathering")
