"""Claims about tags: jobs are counted and listed by them, wherever their jobs go."""

from typing import Final

import pytest

from stanchion.contract.answers import Page
from stanchion.contract.backend import Backend
from stanchion.contract.requests import Count, List
from stanchion.model.changes import TAIL
from stanchion.model.records import Head
from stanchion.model.states import State
from stanchion_conformance.ground import Ground
from stanchion_conformance.invariants import listed
from stanchion_conformance.making import (
    QUEUE,
    WAIT,
    a_change,
    a_claim,
    an_item,
    applied_all,
    change,
    counts_of,
    in_states,
    inserted,
    items,
    keys_of,
    taken,
    the,
)
from stanchion_conformance.walking import key_of_walk, walks
from stanchion_testing.clock import VirtualClock

ODD: Final = (
    "a",
    "A",
    "ab",
    "a:b",
    "a b",
    "*",
    "?",
    "%",
    "_",
    "[a]",
    "ü",
    "a…b",
    "\\",
    "'",
    '"',
    "0",
    "-",
)
"""Tags that are alike, or look like patterns, quotes and separators."""


def tagged(backend: Backend, tag: str, state: State = State.QUEUED, queue: str = QUEUE) -> list[str]:
    """Return the keys of the jobs with a tag, in their order.

    Returns:
        The keys, in the order of the listing.
    """
    return keys_of(listed(backend, queue, state, tag=tag))


class Tagging(Ground):
    """Finding jobs by their tags."""

    def test_jobs_are_found_by_each_of_their_tags(self, backend: Backend) -> None:
        """In the order of the listing; jobs without it are not."""
        inserted(
            backend,
            an_item("a", tags=("x",)),
            an_item("b", tags=("y", "x")),
            an_item("c"),
            an_item("d", tags=("y",), priority=1),
        )

        assert (tagged(backend, "x"), tagged(backend, "y")) == (["a", "b"], ["d", "b"])
        assert [counts_of(backend, tag=tag)[State.QUEUED] for tag in ("x", "y")] == [2, 2]

    def test_jobs_are_found_by_tags_in_every_state(self, backend: Backend) -> None:
        """Beside others of the same state."""
        others = {f"{state}-other": state for state in State if state is not State.QUEUED}
        in_states(backend, others, tags=("u",))
        in_states(backend, {f"{state}-tagged": state for state in State}, tags=("t", "u"))
        inserted(backend, an_item("queued-other", tags=("u",)))

        assert {state: tagged(backend, "t", state) for state in State} == {
            state: [f"{state}-tagged"] for state in State
        }
        assert counts_of(backend, tag="t") == dict.fromkeys(State, 1)
        assert counts_of(backend, tag="u") == dict.fromkeys(State, 2)

    def test_tags_follow_every_move(self, backend: Backend) -> None:
        """Over every row of the table: the job is found where it is, and nowhere else."""
        found = in_states(backend, {key_of_walk(walk): walk[0] for walk in walks()}, tags=("t",))
        jobs = ((found[key_of_walk(walk)], walk) for walk in walks())
        applied_all(
            backend, (a_change(job, to, event=event, due=WAIT, place=TAIL) for job, (_, event, to) in jobs)
        )

        assert counts_of(backend, tag="t") == counts_of(backend)
        assert [tagged(backend, "t", state) for state in State] == [
            keys_of(listed(backend, QUEUE, state)) for state in State
        ]

    def test_tags_follow_claims_and_promotions(self, backend: Backend, clock: VirtualClock) -> None:
        """Find what a claim takes among the running, and what it promotes and leaves among the queued."""
        inserted(backend, *items("ab", state=State.SCHEDULED, tags=("t",)))
        clock.advance(WAIT)
        a_claim(backend, limit=1)

        assert tagged(backend, "t", State.RUNNING) == ["a"]
        assert tagged(backend, "t", State.QUEUED) == ["b"]
        assert tagged(backend, "t", State.SCHEDULED) == []
        assert sum(counts_of(backend, tag="t").values()) == 2

    def test_a_job_with_a_tag_stands_where_it_stands_without(self, backend: Backend) -> None:
        """Move the job there as well when its priority, place or deadline changes."""
        inserted(backend, *items("abc", tags=("t",)), an_item("d"))
        change(backend, the(backend, "c"), State.QUEUED, priority=1)
        change(backend, the(backend, "a"), State.QUEUED, place=TAIL)
        in_states(backend, {"x": State.BLOCKED, "y": State.BLOCKED}, tags=("t",))
        change(backend, the(backend, "x"), State.BLOCKED, due=2 * WAIT)

        assert tagged(backend, "t") == ["c", "b", "a"]
        assert tagged(backend, "t", State.BLOCKED) == ["y", "x"]

    @pytest.mark.parametrize("state", sorted(State))
    def test_tags_that_are_changed_are_found_anew(self, backend: Backend, state: State) -> None:
        """Find the job by its new tags and those it keeps, no more by the old ones."""
        (job,) = in_states(backend, {"a": state}, tags=("old", "kept")).values()
        change(backend, job, state, tags=("kept", "new"))

        assert [tagged(backend, tag, state) for tag in ("old", "kept", "new")] == [[], ["a"], ["a"]]
        assert [counts_of(backend, tag=tag)[state] for tag in ("old", "kept", "new")] == [0, 1, 1]

    def test_tags_may_change_with_the_state(self, backend: Backend) -> None:
        """In one move."""
        job = taken(backend, tags=("old", "kept"))
        change(backend, job, State.COMPLETED, tags=("kept", "new"))

        assert [tagged(backend, tag, State.RUNNING) for tag in ("old", "kept", "new")] == [[], [], []]
        assert [tagged(backend, tag, State.COMPLETED) for tag in ("old", "kept", "new")] == [[], ["a"], ["a"]]

    @pytest.mark.parametrize("state", sorted(set(State) - {State.RUNNING}))
    def test_a_deleted_job_is_found_by_no_tag(self, backend: Backend, state: State) -> None:
        """Nor is the next job of its id, unless that has it."""
        (job,) = in_states(backend, {"a": state}, tags=("t", "u")).values()
        change(backend, job, None)
        gone = counts_of(backend, tag="t")
        in_states(backend, {"a": state}, tags=("u",))

        assert not any(gone.values())
        assert tagged(backend, "t", state) == []
        assert tagged(backend, "u", state) == ["a"]

    def test_each_queue_has_its_own_tags(self, backend: Backend) -> None:
        """Also those whose names begin the same; several are counted in one call."""
        inserted(backend, *(an_item("a", queue=queue, tags=("t",)) for queue in ("mail", "mail.2")))
        inserted(backend, an_item("b", queue="mail.2", tags=("t",)))
        counts = backend.count(Count(["mail", "nowhere", "mail.2"], tag="t"))

        assert {queue: by_state[State.QUEUED] for queue, by_state in counts.items()} == {
            "mail": 1,
            "nowhere": 0,
            "mail.2": 2,
        }
        assert tagged(backend, "t", queue="mail") == ["a"]

    def test_tags_are_texts_and_no_patterns(self, backend: Backend) -> None:
        """Each finds the one job that has it, whatever it looks like."""
        inserted(backend, *(an_item(f"{n}", tags=(tag,)) for n, tag in enumerate(ODD)))

        assert [tagged(backend, tag) for tag in ODD] == [[f"{n}"] for n in range(len(ODD))]

    def test_jobs_of_one_tag_come_in_pages(self, backend: Backend) -> None:
        """Of a batch at most, among as many others; each once."""
        size = backend.limits.batch
        keys = [f"{n:04}" for n in range(2 * size + 3)]
        for key in keys[:: backend.limits.batch]:
            at = keys.index(key)
            inserted(backend, *items(keys[at : at + size], tags=("t",)), *items([f"other-{key}"]))
        first = backend.list(List(queue=QUEUE, state=State.QUEUED, tag="t"))

        assert len(first.heads) == size
        assert first.cursor is not None
        assert tagged(backend, "t") == keys
        assert counts_of(backend, tag="t")[State.QUEUED] == len(keys)

    def test_an_unknown_tag_finds_nothing(self, backend: Backend) -> None:
        """One empty page and zeros, in any queue."""
        inserted(backend, an_item(tags=("t",)))
        pages = [backend.list(List(queue=one, state=State.QUEUED, tag="u")) for one in (QUEUE, "nowhere")]

        assert pages == [Page(heads=[], cursor=None)] * 2
        assert not any(counts_of(backend, tag="u").values())

    def test_a_listing_by_tag_shows_heads(self, backend: Backend) -> None:
        """As any listing does."""
        inserted(backend, an_item(tags=("t",)))
        (head,) = listed(backend, QUEUE, State.QUEUED, tag="t")

        assert type(head) is Head
        assert [head] == listed(backend, QUEUE, State.QUEUED)
