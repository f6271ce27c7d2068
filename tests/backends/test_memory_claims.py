"""What the memory backend keeps of claims."""

from stanchion.model.changes import remembered
from stanchion_conformance.making import LEASE, a_claim, inserted, items
from stanchion_memory import MemoryBackend
from stanchion_testing.clock import VirtualClock


def test_the_answers_to_claims_are_kept_no_longer_than_they_may_be_asked_for():
    """A process does not grow by each claim that it ever made."""
    clock = VirtualClock()
    backend = MemoryBackend(clock=clock)
    inserted(backend, *items(f"{number}" for number in range(5)))
    for _ in range(5):
        a_claim(backend, limit=1)
    kept = len(backend._claims)
    clock.advance(remembered(LEASE))
    a_claim(backend)

    assert (kept, len(backend._claims)) == (5, 0)
