"""What every backend must pass: the contract of `stanchion.backend` as tests.

A backend's whole test file is a subclass with a fixture:

    class TestMine(BackendSuite):
        @pytest.fixture
        def backend(self, clock):
            backend = MyBackend(clock=clock)
            yield backend
            backend.close()

Each group of claims is a class of its own, so that a backend in the making can begin with one. Test names are
the claims. After every test the store is checked for damage and for the invariants of `invariants`. Time moves
by the injected clock. What needs a capability that the backend lacks is skipped, and says so.

Hooks to override: `reopen`, to show that namespaces are kept apart; `dump`, to compare stores byte for byte.
An async backend is put to the same claims by `blocking`.
"""

import pytest

pytest.register_assert_rewrite(
    *(
        f"{__name__}.{module}"
        for module in (
            "applying",
            "claiming",
            "ground",
            "inserting",
            "living",
            "making",
            "racing",
            "reading",
            "repeating",
            "settings",
            "sweeping",
            "waiting",
            "walking",
            "watching",
        )
    )
)

from stanchion.testing.conformance.applying import Applying  # noqa: E402 - asserts are rewritten only before
from stanchion.testing.conformance.blocking import blocking  # noqa: E402
from stanchion.testing.conformance.claiming import Claiming  # noqa: E402
from stanchion.testing.conformance.ground import Ground, unchecked  # noqa: E402
from stanchion.testing.conformance.inserting import Inserting  # noqa: E402
from stanchion.testing.conformance.living import Living  # noqa: E402
from stanchion.testing.conformance.racing import Crowding, Racing  # noqa: E402
from stanchion.testing.conformance.reading import Reading  # noqa: E402
from stanchion.testing.conformance.repeating import Repeating  # noqa: E402
from stanchion.testing.conformance.settings import Settings, Twins  # noqa: E402
from stanchion.testing.conformance.sweeping import Sweeping  # noqa: E402
from stanchion.testing.conformance.waiting import Waiting  # noqa: E402
from stanchion.testing.conformance.walking import Walking  # noqa: E402
from stanchion.testing.conformance.watching import Watching  # noqa: E402

__all__ = ["BackendSuite", "Ground", "blocking", "unchecked"]


class BackendSuite(
    Inserting,
    Claiming,
    Applying,
    Walking,
    Living,
    Racing,
    Crowding,
    Repeating,
    Sweeping,
    Reading,
    Waiting,
    Watching,
    Settings,
    Twins,
):
    """All claims."""
