"""Options for the stories of Stanchion's conformance suite, and a line on what they came to.

Every run of pytest beside an installed Stanchion loads this file, so it imports nothing of Stanchion.
"""

from typing import Final

import pytest

RECORDED: Final = ("stories", "edges", "refused")
"""What the test of the stories records."""

LINE: Final = "{stories}; rows of the table taken: {edges}; illegal events refused: {refused}"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Make the options known."""
    group = parser.getgroup("stanchion")
    group.addoption(
        "--stanchion-stories",
        type=float,
        default=1.0,
        metavar="FACTOR",
        help="play this many times as many random stories on each backend [default: 1]",
    )
    group.addoption(
        "--stanchion-replay",
        metavar="STORY",
        help="play only this story, as a failure printed it",
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the totals of the stories for each backend."""
    played = {
        report.nodeid.rpartition("::")[0]: dict(report.user_properties)
        for report in terminalreporter.getreports("passed")
        if set(RECORDED) <= {name for name, _ in report.user_properties}
    }
    if played:
        terminalreporter.section("stories played on Stanchion's backends")
    for suite, came_to in played.items():
        terminalreporter.write_line(f"{suite}: " + LINE.format(**came_to))
