"""Fixtures that tests of several rooms share."""

from collections.abc import Iterator

import pytest

from support.servers import a_server

pytest_plugins = ["pytester"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long the longest tests take."""
    group = parser.getgroup("stanchion's own tests")
    group.addoption(
        "--race-seconds", type=float, default=1, help="how long processes race on one SQLite file"
    )
    group.addoption("--kills", type=int, default=20, help="how many processes on a SQLite file are killed")
    group.addoption("--seed", type=int, help="what chance in these tests starts with, as a failure shows it")


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The URL of a real Redis or Valkey server, for the whole session."""
    with a_server() as url:
        yield url
