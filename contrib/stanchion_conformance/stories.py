"""Stories: random lives of jobs, played on the backend and on the oracle of `oracle` alike."""

from collections.abc import Callable
from typing import ClassVar

import pytest

from stanchion.contract.backend import Backend
from stanchion_conformance.ground import Ground
from stanchion_testing.clock import VirtualClock


class Stories(Ground):
    """Every answer, every listing and every invariant, after every step of many lives of jobs."""

    STORIES: ClassVar[int] = 60
    """How many stories are played; the option --stanchion-stories multiplies it."""

    def test_every_story_goes_as_the_oracle_says(
        self,
        backend: Backend,
        clock: VirtualClock,
        pytestconfig: pytest.Config,
        record_property: Callable[[str, object], None],
    ) -> None:
        """Agree in every step with a second, naive account of the rules, and take every row of the table."""
        pytest.importorskip(
            "hypothesis", reason="stories are drawn by it: pip install 'stanchion[conformance]'"
        )
        from stanchion_conformance.leading import EDGES, ILLEGAL
        from stanchion_conformance.volume import play

        factor = float(pytestconfig.getoption("--stanchion-stories", 1.0) or 0)
        coverage = play(
            backend,
            clock,
            max(1, round(self.STORIES * factor)),
            seed=pytestconfig.getoption("--hypothesis-seed", None),
            blob=pytestconfig.getoption("--stanchion-replay", None),
        )
        taken = [edge for edge in EDGES if coverage.edges[edge]]
        refused = [pair for pair in ILLEGAL if coverage.refused[pair]]
        record_property("edges", f"{len(taken)} of {len(EDGES)}")
        record_property("refused", f"{len(refused)} of {len(ILLEGAL)}")
        record_property("stories", f"{coverage.stories} stories of {coverage.steps} steps")

        assert taken == EDGES
        assert refused == ILLEGAL
