"""Damage: one record that cannot be read harms no other, and is counted where it is."""

from datetime import timedelta

import pytest

from stanchion.contract.answers import unbalanced
from stanchion.contract.backend import Backend
from stanchion.contract.capabilities import Quarantines
from stanchion.contract.requests import FindDue, Get
from stanchion.errors import BackendError
from stanchion.model.ledger import Tally
from stanchion.model.states import State
from stanchion_conformance.balancing import totals_of
from stanchion_conformance.ground import Ground, lacks, unchecked
from stanchion_conformance.invariants import findings, listed
from stanchion_conformance.making import QUEUE, a_claim, an_item, counts_of, inserted, items, keys_of
from stanchion_testing.clock import VirtualClock

ON_PURPOSE = "a record is damaged on purpose"


class Damaging(Ground):
    """A record that cannot be read, among others that can."""

    def spoil(self, backend: Backend, key: str) -> None:
        """Damage a job's record, or skip the test where that cannot be done."""
        if type(self).damage is Ground.damage:
            pytest.skip("it is to say how a record can be damaged in its store (`Ground.damage`)")
        assert self.damage(backend, f"{QUEUE}:{key}"), "nothing was damaged"

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
        """Find the other jobs of a dead worker."""
        inserted(backend, *items("abc"))
        a_claim(backend, lease=timedelta(seconds=5))
        self.spoil(backend, "b")
        clock.advance(60)

        assert keys_of(backend.due(FindDue([QUEUE], 10)).heads) == ["a", "c"]
        assert keys_of(backend.due(FindDue([QUEUE], 10)).heads) == ["a", "c"]

    @unchecked(ON_PURPOSE)
    def test_a_damaged_record_is_no_job(self, backend: Backend) -> None:
        """Read it as absent, and list it nowhere."""
        inserted(backend, *items("ab"))
        self.spoil(backend, "a")

        assert [record is None for record in backend.get(Get(["mail:a", "mail:b"]))] == [True, False]
        assert keys_of(listed(backend, QUEUE, State.QUEUED)) == ["b"]

    @unchecked(ON_PURPOSE)
    def test_a_damaged_record_is_found_by_check(self, backend: Backend) -> None:
        """By its id, before a call came across it and after."""
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
        assert sum(counts_of(backend).values()) == 1

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
            made.append((answer.created, backend.get(Get([item.id]))[0] is not None))

        assert set(made) <= {(True, True)}

    @unchecked(ON_PURPOSE)
    def test_what_is_quarantined_is_counted(self, backend: Backend) -> None:
        """As a move out of its state: the balance of the others stays right."""
        if not isinstance(backend, Quarantines):
            pytest.skip(lacks(backend, Quarantines))
        inserted(backend, *items("abc", tags=("t",)))
        self.spoil(backend, "b")
        a_claim(backend)
        totals = totals_of(backend)

        assert [name for name in totals if ".quarantine." in name] == ["queued.quarantine.-"]
        assert totals["queued.quarantine.-"].jobs == 1
        assert unbalanced(QUEUE, totals, counts_of(backend)) == []
        assert sum(counts_of(backend, tag="t").values()) == 2

    def test_what_is_quarantined_and_restored_is_counted(self, backend: Backend) -> None:
        """Out of its state and back into it, once each, whoever looks; and then it is a job like others."""
        self.come_back(backend)
        totals = totals_of(backend)

        assert [totals.get(name, Tally()).jobs for name in ("queued.quarantine.-", "-.restore.queued")] == [
            1,
            1,
        ]
        assert unbalanced(QUEUE, totals, counts_of(backend)) == []
        assert keys_of(a_claim(backend).records) == ["b"]

    def test_what_is_quarantined_and_restored_is_found_by_its_tags(self, backend: Backend) -> None:
        """And by nothing else while it is away."""
        away = self.come_back(backend)

        assert away == ["a", "c"]
        assert keys_of(listed(backend, QUEUE, State.QUEUED, tag="t")) == ["b"]
        assert sorted(keys_of(listed(backend, QUEUE, State.RUNNING, tag="t"))) == ["a", "c"]

    def come_back(self, backend: Backend) -> list[str]:
        """Let one of three jobs go into quarantine and back, or skip the test where that cannot be done.

        Returns:
            The keys of those that were found by their tag meanwhile.
        """
        if not isinstance(backend, Quarantines):
            pytest.skip(lacks(backend, Quarantines))
        if type(self).mend is Ground.mend:
            pytest.skip("it is to say how a damaged record can be repaired in its store (`Ground.mend`)")
        inserted(backend, *items("abc", tags=("t",)))
        self.spoil(backend, "b")
        a_claim(backend)
        states = (State.RUNNING, State.QUEUED)
        away = sorted(key for state in states for key in keys_of(listed(backend, QUEUE, state, tag="t")))
        assert self.mend(backend, f"{QUEUE}:b"), "it could not be repaired"
        for _ in range(3):
            backend.due(FindDue([QUEUE], 10))
        if backend.quarantined([QUEUE])[QUEUE]:
            pytest.skip("it does not put records back that can be read again")
        return away
