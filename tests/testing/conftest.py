"""An application under test, and the kit around it."""

import pytest

from stanchion_testing.kit import Kit
from support.shop import Shop


@pytest.fixture
def shop():
    """The application."""
    return Shop()


@pytest.fixture
def kit(shop):
    """Its kit, entered."""
    with Kit(shop.app) as kit:
        yield kit
