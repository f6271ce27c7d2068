"""Options for the stories of Stanchion's conformance suite, and a line on what they came to.

Every run of pytest beside an installed Stanchion loads this file, so it imports nothing of Stanchion.
"""

from typing import Final

import pytest

TOLD: Final = ("stories", "edges", "refused")
"""What the test of the stories records."""

TOLD_AS: Final = "{stories}; rows of the table taken: {edges}; illegal events refused: {refused}"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Make the options known."""
    group = parser.getgroup("stanchion")
    group.addoption(
        "--stanchion-stories",
        type=float,
        default=1.0,
        metavar="FACTOR",
        help="tell this many times as many random stories to each backend",
    )
    group.addoption(
        "--stanchion-replay",
        metavar="STORY",
        help="tell this one story instead, as a failure named it",
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what the stories came to, for each backend."""
    told = {
        report.nodeid.rpartition("::")[0]: dict(report.user_properties)
        for report in terminalreporter.getreports("passed")
        if set(TOLD) <= {name for name, _ in report.user_properties}
    }
    if told:
        terminalreporter.section("stories told to Stanchion's backends")
    for suite, came_to in told.items():
        terminalreporter.write_line(f"{suite}: " + TOLD_AS.format(**came_to))
