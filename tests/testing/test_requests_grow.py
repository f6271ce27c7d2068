"""A request may get another field: a backend that does not know it works as before."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import asdict

from backend_dbm import DbmBackend
from stanchion.contract.backend import Backend
from stanchion.contract.requests import Claim, Insert, List
from stanchion.engine.async_adapter import Inline
from stanchion.model.states import State
from stanchion_conformance import blocking
from stanchion_conformance.making import LEASE, QUEUE, an_item, items, keys_of
from stanchion_testing.clock import VirtualClock


class LaterInsert(Insert, frozen=True):
    """An insert of a later version."""

    on_conflict: str = "existing"
    """What is done with the holder of a unique key."""


class LaterClaim(Claim, frozen=True, kw_only=True):
    """A claim of a later version."""

    lanes: tuple[str, ...] = ()
    """The lanes to take from; empty for all."""


class LaterList(List, frozen=True, kw_only=True):
    """A listing of a later version."""

    longest: timedelta | None = None
    """Only jobs that ran no longer than this."""


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Backend]:
    """A backend that was written before there were these fields."""
    backend = DbmBackend(tmp_path / "jobs", clock=VirtualClock())
    yield backend
    backend.close()


def a_later_claim(**given: object) -> LaterClaim:
    usual = {"queues": [QUEUE], "limit": 2, "claim_id": "one", "worker": "worker", "lease": LEASE}
    return LaterClaim(**{**usual, **given})


@pytest.mark.parametrize("given", [{}, {"lanes": ("a",)}], ids=["default", "given"])
def test_a_backend_answers_a_later_request_as_before(backend: Backend, given: dict[str, object]) -> None:
    """Core does not rely on it, and filters again what a backend may not have filtered."""
    answers = backend.insert(LaterInsert(items("abc")))
    claimed = backend.claim(a_later_claim(**given))
    again = backend.claim(a_later_claim(**given))
    page = backend.list(LaterList(queue=QUEUE, state=State.QUEUED, longest=LEASE))

    assert [answer.created for answer in answers] == [True] * 3
    assert keys_of(claimed.records) == ["a", "b"]
    assert again.records == claimed.records
    assert keys_of(page.heads) == ["c"]


def test_a_later_request_passes_through_what_stands_between(backend: Backend) -> None:
    """The adapter that makes verbs async knows no field of a request."""
    with blocking(lambda: Inline(backend)) as driven:
        driven.insert(LaterInsert([an_item()]))
        claimed = driven.claim(a_later_claim(lanes=("a",)))

    assert keys_of(claimed.records) == ["a"]


def test_a_later_request_says_what_the_earlier_one_said() -> None:
    """Its fields are those of the earlier one, and one more with a default."""
    later = asdict(a_later_claim())

    assert later.pop("lanes") == ()
    assert Claim(**later) == Claim(queues=[QUEUE], limit=2, claim_id="one", worker="worker", lease=LEASE)
