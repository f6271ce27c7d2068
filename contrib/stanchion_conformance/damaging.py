"""Damage: one record that cannot be read harms no other, and nothing is said of it that is not so."""

from datetime import timedelta

import pytest

from stanchion.contract.backend import Backend, Quarantines
from stanchion.errors import BackendError
from stanchion.model.states import State
from stanchion_conformance.ground import Ground, lacks, unchecked
from stanchion_conformance.invariants import findings, listed
from stanchion_conformance.making import QUEUE, a_claim, an_item, inserted, items, keys_of
from stanchion_testing.clock import VirtualClock

ON_PURPOSE = "a record is damaged on purpose"


class Damaging(Ground):
    """A record that cannot be read, among others that can."""

    def spoil(self, backend: Backend, key: str) -> None:
        """Damage a job's record, or skip the test where that cannot be done."""
        if not self.damage(backend, f"{QUEUE}:{key}"):
            pytest.skip("it is to say how a record can be damaged in its store (`Ground.damage`)")

    @unchecked(ON_PURPOSE)
    def test_a_damaged_record_stops_no_claim_of_others(self, backend: Backend) -> None:
        """They are taken as if it were not there, now and later."""
        inserted(backend, *items("abc"))
        self.spoil(backend, "b")
        first = a_claim(backend)
        inserted(backend, an_item("d"))

        assert keys_of(first.records) == ["a", "c"]
        assert keys_of(a_claim(backend).records) == ["d"]

    @unchecked(ON_PURPOSE)
    def test_a_damaged_record_stops_no_sweep_of_others(self, backend: Backend, clock: VirtualClock) -> None:
        """The jobs of a dead worker are found, whatever became of one of them."""
        inserted(backend, *items("abc"))
        a_claim(backend, lease=timedelta(seconds=5))
        self.spoil(backend, "b")
        clock.advance(60)

        assert keys_of(backend.due([QUEUE], 10).records) == ["a", "c"]
        assert keys_of(backend.due([QUEUE], 10).records) == ["a", "c"]

    @unchecked(ON_PURPOSE)
    def test_a_damaged_record_is_no_job(self, backend: Backend) -> None:
        """It is read as absent, and listed nowhere."""
        inserted(backend, *items("ab"))
        self.spoil(backend, "a")

        assert [record is None for record in backend.get(["mail:a", "mail:b"])] == [True, False]
        assert keys_of(listed(backend, QUEUE, State.QUEUED)) == ["b"]

    @unchecked(ON_PURPOSE)
    def test_a_damaged_record_is_found_by_check(self, backend: Backend) -> None:
        """By its id, before anybody came across it and after."""
        inserted(backend, *items("ab"))
        self.spoil(backend, "a")
        before = findings(backend, QUEUE)
        a_claim(backend)
        after = findings(backend, QUEUE)

        assert before
        assert after
        assert all("mail:a" in finding for finding in (*before, *after))

    @unchecked(ON_PURPOSE)
    def test_a_damaged_record_is_counted_once_it_is_quarantined(self, backend: Backend) -> None:
        """And in no state any more."""
        if not isinstance(backend, Quarantines):
            pytest.skip(lacks(backend, Quarantines))
        inserted(backend, *items("ab"))
        self.spoil(backend, "a")
        a_claim(backend)

        assert backend.quarantined([QUEUE, "nowhere"]) == {QUEUE: 1, "nowhere": 0}
        assert sum(backend.count([QUEUE])[QUEUE].values()) == 1

    @unchecked(ON_PURPOSE)
    def test_an_insert_that_says_it_made_a_job_has_made_it(self, backend: Backend) -> None:
        """Though its id or its unique key was that of a record that cannot be read; else it raises."""
        for key, unique in (("a", None), ("b", "digest")):
            inserted(backend, an_item(key, unique=unique))
            self.spoil(backend, key)
        made = []
        for item in (an_item("a"), an_item("c", unique="digest")):
            try:
                (answer,) = inserted(backend, item)
            except BackendError:
                continue
            made.append((answer.created, backend.get([item.id])[0] is not None))

        assert set(made) <= {(True, True)}
