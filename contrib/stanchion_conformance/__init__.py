"""What every backend must pass: the contract of `stanchion.contract.backend` as tests.

A backend's whole test file is a subclass with a fixture:

    class TestMine(BackendSuite):
        @pytest.fixture
        def backend(self, clock):
            backend = MyBackend(clock=clock)
            yield backend
            backend.close()

Test names are the claims. Each is of one level, which is a class that can be subclassed alone:

- `Contract`: what each verb does, asked by one caller at a time.
- `Concurrent`: what still holds when threads and processes race.
- `Hostile`: what still holds when answers are lost, processes die, and runs come back too late.
- `Scale`: what still holds with very many jobs.

`BackendSuite` is all of them, and `Smoke` a few claims of each verb: enough for another way to verbs that passed all
of them, such as their async form. Each group of claims is a class of its own, so that a backend in the making can
begin with one. After every test the store is checked for damage and for the invariants of `invariants`; one of them
is that the ledger balances. Time moves by the injected clock. What needs a capability that the backend lacks is
skipped, and says so.

Hooks to override: `reopen`, to show that namespaces are kept apart; `address`, so that other processes come to
the same store; `connect`, to join transactions; `damage`, to show what a damaged record does; `dump`, to compare
stores byte for byte; `mend`, to repair what `damage` did. An async backend is put to the same claims by `blocking`.
"""

import pkgutil
from collections.abc import Mapping
from typing import Final

import pytest

pytest.register_assert_rewrite(*(f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)))

from stanchion_conformance.applying import Applying  # noqa: E402 - asserts are rewritten only before
from stanchion_conformance.balancing import Balancing, Remembering  # noqa: E402
from stanchion_conformance.blocking import blocking  # noqa: E402
from stanchion_conformance.born import BornRunning  # noqa: E402
from stanchion_conformance.bounding import Bounding  # noqa: E402
from stanchion_conformance.claiming import Claiming  # noqa: E402
from stanchion_conformance.damaging import Damaging  # noqa: E402
from stanchion_conformance.dying import Dying  # noqa: E402
from stanchion_conformance.filtering import Filtering  # noqa: E402
from stanchion_conformance.ground import Ground, unchecked  # noqa: E402
from stanchion_conformance.growing import Growing  # noqa: E402
from stanchion_conformance.guarding import Guarding  # noqa: E402
from stanchion_conformance.inserting import Inserting  # noqa: E402
from stanchion_conformance.joining import Joining  # noqa: E402
from stanchion_conformance.lagging import Lagging  # noqa: E402
from stanchion_conformance.lives import Lives  # noqa: E402
from stanchion_conformance.living import Living  # noqa: E402
from stanchion_conformance.racing import Crowding, Racing  # noqa: E402
from stanchion_conformance.reading import Reading  # noqa: E402
from stanchion_conformance.repeating import Repeating  # noqa: E402
from stanchion_conformance.settings import OtherWays, Settings  # noqa: E402
from stanchion_conformance.sharing import Sharing  # noqa: E402
from stanchion_conformance.smoke import Smoke  # noqa: E402
from stanchion_conformance.stories import Stories  # noqa: E402
from stanchion_conformance.sweeping import Sweeping  # noqa: E402
from stanchion_conformance.tagging import Tagging  # noqa: E402
from stanchion_conformance.together import Together  # noqa: E402
from stanchion_conformance.waiting import Waiting  # noqa: E402
from stanchion_conformance.walking import Walking  # noqa: E402
from stanchion_conformance.watching import Watching  # noqa: E402

__all__ = [
    "LEVELS",
    "BackendSuite",
    "Concurrent",
    "Contract",
    "Ground",
    "Hostile",
    "Scale",
    "Smoke",
    "blocking",
    "unchecked",
]


class Contract(
    Inserting,
    BornRunning,
    Claiming,
    Guarding,
    Applying,
    Walking,
    Living,
    Sweeping,
    Balancing,
    Remembering,
    Bounding,
    Reading,
    Tagging,
    Filtering,
    Waiting,
    Watching,
    Settings,
    OtherWays,
    Joining,
    Stories,
    Together,
):
    """What each verb does, asked by one caller at a time."""


class Concurrent(Racing, Crowding, Sharing):
    """What still holds when threads and processes race."""


class Hostile(Repeating, Lives, Damaging, Lagging, Dying):
    """What still holds when answers are lost, processes die, and runs come back too late."""


class Scale(Growing):
    """What still holds with very many jobs."""


class BackendSuite(Contract, Concurrent, Hostile, Scale):
    """All claims."""


LEVELS: Final[Mapping[str, type[Ground]]] = {
    "contract": Contract,
    "concurrent": Concurrent,
    "hostile": Hostile,
    "scale": Scale,
}
"""The levels by name, in the order in which a backend in the making comes to them."""
