"""Fixtures that tests of several rooms share."""

from collections.abc import Iterator

import pytest

from support.servers import a_server

pytest_plugins = ["pytester"]


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The URL of a real Redis or Valkey server, for the whole session."""
    with a_server() as url:
        yield url
