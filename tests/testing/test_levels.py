"""The conformance suite is in levels, and asks little of who uses it."""

from inspect import getmembers, getsource, isfunction

import pytest

import stanchion_conformance as conformance
from stanchion.contract.backend import VERBS
from stanchion_conformance import LEVELS, BackendSuite, Ground, Smoke


def claims_of(cls: type) -> set[str]:
    """The names of its tests."""
    return {name for name, _ in getmembers(cls, isfunction) if name.startswith("test_")}


def test_each_claim_is_of_exactly_one_level() -> None:
    """All levels together are the suite, and no two share a claim."""
    claims = [name for level in LEVELS.values() for name in claims_of(level)]

    assert len(claims) == len(set(claims))
    assert set(claims) == claims_of(BackendSuite)
    assert all(claims_of(level) for level in LEVELS.values())


def test_every_group_of_claims_is_in_a_level() -> None:
    """None was written and forgotten."""
    groups = {one for one in vars(conformance).values() if isinstance(one, type) and issubclass(one, Ground)}
    forgotten = [one.__name__ for one in groups - {Smoke} if not issubclass(BackendSuite, one)]

    assert len(groups) > len(LEVELS)
    assert forgotten == []


@pytest.mark.parametrize("level", LEVELS)
def test_every_claim_says_what_is_claimed(level: str) -> None:
    """Reports show the first line of its docstring."""
    cls = LEVELS[level]
    silent = [name for name in claims_of(cls) if not getattr(cls, name).__doc__]

    assert silent == []


def test_a_quick_look_has_claims_of_every_verb() -> None:
    """They are those of the levels, and few."""
    claims = claims_of(Smoke)
    sources = "".join(getsource(getattr(Smoke, name)) for name in claims)
    ways = {"claim": "a_claim(", "ledger": "totals_of(", "check": "findings("}
    missing = [verb for verb in (*VERBS, "wait", "now") if ways.get(verb, f"backend.{verb}(") not in sources]

    assert claims < claims_of(BackendSuite)
    assert len(claims) < len(claims_of(BackendSuite)) / 5
    assert missing == []
