"""A pytest plugin: `--stanchion-report=FILE` writes the results of the conformance suite by backend and claim.

The ending of the file's name sets the format: `report.html`, a page to read, or `report.json`. The option may be given
several times. Only tests of subclasses of `stanchion_conformance.Ground` appear.

Every pytest run where Stanchion is installed loads this file, so it imports nothing of Stanchion until the option
is used.
"""

import pytest

OPTION = "--stanchion-report"
"""The option's name."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.getgroup("stanchion").addoption(
        OPTION,
        action="append",
        default=[],
        metavar="FILE",
        dest="stanchion_report",
        help="write the results of Stanchion's conformance suite to FILE.html or FILE.json",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Collect results if the option is used.

    Raises:
        pytest.UsageError: A file's name ends neither in `.html` nor in `.json`.
    """
    paths: list[str] = config.getoption("stanchion_report") or []
    for path in paths:
        if not path.endswith((".html", ".json")):
            raise pytest.UsageError(f"invalid {OPTION} {path!r}: use a name that ends in .html or .json")
    if paths:
        from stanchion_conformance.report.gathering import Gathering

        config.pluginmanager.register(Gathering(config, paths), "stanchion_report_gathering")
