"""Stanchion in pytest: the fixture `stanchion_kit`, an application under test in virtual time.

Every pytest run where Stanchion is installed loads this file, so it imports only pytest until the fixture is used.
"""

from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stanchion import Stanchion
    from stanchion_testing.clock import VirtualClock
    from stanchion_testing.kit import Kit

SETTING: Final = "stanchion_app"
HINT: Final = 'pythonpath = ["."] in pytest\'s configuration adds a directory'


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the setting that names the application, and the option to run each job twice."""
    parser.addini(SETTING, "Stanchion: the application under test, as module:attribute")
    parser.getgroup("stanchion").addoption(
        "--stanchion-run-twice",
        action="store_true",
        help="run each job that completes a second time, to find handlers that must not run twice",
    )


@pytest.fixture
def stanchion_app_under_test(pytestconfig: pytest.Config) -> "Stanchion":
    """Return the application under test; override this fixture to test another one.

    Returns:
        The one that pytest's setting `stanchion_app` names, or a new one without tasks.
    """
    from stanchion import Stanchion
    from stanchion.app.importing import application
    from stanchion.errors import ConfigError

    where = pytestconfig.getini(SETTING)
    if not where:
        return Stanchion("memory://")
    try:
        return application(where, HINT)
    except ConfigError as error:
        raise pytest.UsageError(f"{SETTING} in pytest's configuration: {error}") from error


@pytest.fixture
def stanchion_clock() -> "VirtualClock":
    """Return the clock of the kit; override this fixture to start at another instant than now."""
    from datetime import UTC, datetime

    from stanchion_testing.clock import VirtualClock

    return VirtualClock(datetime.now(UTC))


@pytest.fixture
def stanchion_kit(
    stanchion_app_under_test: "Stanchion", stanchion_clock: "VirtualClock", pytestconfig: pytest.Config
) -> "Iterator[Kit]":
    """Yield the kit: the application under test, on a memory backend of its own and in virtual time."""
    from stanchion_testing.kit import Kit

    twice = bool(pytestconfig.getoption("stanchion_run_twice"))
    with Kit(stanchion_app_under_test, clock=stanchion_clock, run_twice=twice) as kit:
        yield kit
