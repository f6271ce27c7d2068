"""Claims about the filters of `list`: what heads say, from either end, in pages of any size."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import pytest

from stanchion.contract.backend import Backend
from stanchion.contract.requests import List
from stanchion.model.selection import Span, Where
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
    in_states,
    inserted,
    items,
    keys_of,
    the,
)
from stanchion_testing.clock import START, VirtualClock

SECOND: Final = timedelta(seconds=1)
MILLISECOND: Final = timedelta(milliseconds=1)

CREATED: Final = START + SECOND
STARTED: Final = START + 11 * SECOND
ENDED: Final = START + 21 * SECOND
"""When the job `b` was created, started and ended; `a` was a second before it, and `c` a second later."""

_TIMES: Final[Mapping[str, datetime]] = {"created": CREATED, "started": STARTED, "ended": ENDED}


def _when(name: str, span: Span) -> Where:
    fields: dict[str, Any] = {name: span}
    return Where(**fields)


WHERES: Final[Mapping[str, tuple[Where, str]]] = {
    "nothing": (Where(), "abc"),
    "task": (Where(task="greet"), "ab"),
    "another task": (Where(task="gree"), ""),
    "worker": (Where(worker="w2"), "bc"),
    "another worker": (Where(worker="w"), ""),
    "error": (Where(error="Value"), "ac"),
    "middle of an error": (Where(error="or: 100%"), "a"),
    "case of an error": (Where(error="value"), ""),
    "percent in an error": (Where(error="V%r"), ""),
    "underscore in an error": (Where(error="V_lue"), ""),
    "star in an error": (Where(error="V*"), ""),
    "no error": (Where(error=""), "abc"),
    "several": (Where(task="greet", worker="w2", created=Span(since=CREATED)), "b"),
    **{f"{name} since": (_when(name, Span(since=at)), "bc") for name, at in _TIMES.items()},
    **{f"{name} until": (_when(name, Span(until=at)), "a") for name, at in _TIMES.items()},
    **{f"{name} within": (_when(name, Span(at, at + SECOND)), "b") for name, at in _TIMES.items()},
    **{f"{name} never": (_when(name, Span(at, at)), "") for name, at in _TIMES.items()},
    **{f"{name} ever": (_when(name, Span()), "abc") for name, at in _TIMES.items()},
    **{
        f"{name} a millisecond later": (_when(name, Span(since=at + MILLISECOND)), "c")
        for name, at in _TIMES.items()
    },
}
"""What is asked of heads, and which of three failed jobs have it."""


class Filtering(Ground):
    """Finding jobs by what their heads say."""

    @pytest.fixture
    def failed(self, backend: Backend, clock: VirtualClock) -> None:
        """Three failed jobs that differ in everything that can be asked for."""
        facts = {
            "a": ("greet", "w1", "ValueError: 100%"),
            "b": ("greet", "w2", None),
            "c": ("other", "w2", "Value"),
        }
        for key, (task, _, _) in facts.items():
            inserted(backend, an_item(key, task=task))
            clock.advance(1)
        clock.advance(STARTED - SECOND - clock.now())
        for _, worker, _ in facts.values():
            a_claim(backend, limit=1, worker=worker)
            clock.advance(1)
        clock.advance(ENDED - SECOND - clock.now())
        for key, (_, _, error) in facts.items():
            change(backend, the(backend, key), State.FAILED, due=WAIT, error=error)
            clock.advance(1)

    @pytest.mark.usefixtures("failed")
    @pytest.mark.parametrize("name", WHERES)
    def test_a_listing_shows_the_jobs_whose_heads_say_what_is_asked(
        self, backend: Backend, name: str
    ) -> None:
        """Each field by itself and several together; spans begin with their beginning and end before their end."""
        where, keys = WHERES[name]

        assert keys_of(listed(backend, QUEUE, State.FAILED, where=where)) == list(keys)

    @pytest.mark.parametrize("name", ["started", "ended"])
    def test_what_never_happened_lies_in_no_span(self, backend: Backend, name: str) -> None:
        """However wide that is."""
        inserted(backend, an_item())
        where = _when(name, Span())

        assert listed(backend, QUEUE, State.QUEUED, where=where) == []
        assert keys_of(listed(backend, QUEUE, State.QUEUED, where=Where(created=Span()))) == ["a"]

    def test_a_worker_is_asked_for_while_its_job_runs_and_after(self, backend: Backend) -> None:
        """Find jobs by the worker that holds them, or held them last."""
        inserted(backend, *items("abc"))
        a_claim(backend, limit=1, worker="w1")
        (second,) = a_claim(backend, limit=1, worker="w1").records
        change(backend, second, State.RETRYING, due=WAIT)
        where = Where(worker="w1")
        found = {state: keys_of(listed(backend, QUEUE, state, where=where)) for state in State}

        assert {state: keys for state, keys in found.items() if keys} == {
            State.RUNNING: ["a"],
            State.RETRYING: ["b"],
        }

    def test_tag_and_head_are_asked_for_together(self, backend: Backend) -> None:
        """Only jobs that have both are shown, in their order."""
        inserted(
            backend,
            *items("ab", tags=("t",), task="one"),
            *items("c", task="one"),
            *items("d", tags=("t",), task="two"),
            *items("e", tags=("t",), task="one", priority=1),
        )

        assert keys_of(listed(backend, QUEUE, State.QUEUED, tag="t", where=Where(task="one"))) == [
            "e",
            "a",
            "b",
        ]

    @pytest.mark.parametrize("state", sorted(State))
    def test_newest_is_the_reverse(self, backend: Backend, clock: VirtualClock, state: State) -> None:
        """Of every listing, with filters and without, in pages of any size."""
        for n in range(7):
            in_states(
                backend,
                {f"{n}": state},
                tags=("even",) if n % 2 == 0 else (),
                task="odd" if n % 2 else "even",
            )
            clock.advance(1 if n % 3 else 0)
        filters: list[dict[str, Any]] = [{}, {"tag": "even"}, {"where": Where(task="odd")}]

        for given in filters:
            right = keys_of(listed(backend, QUEUE, state, **given))
            sizes = (None, 1, 2, 3, 7)
            pages = {
                size: keys_of(listed(backend, QUEUE, state, newest=True, limit=size, **given))
                for size in sizes
            }
            assert pages == dict.fromkeys(sizes, right[::-1])

    def test_newest_is_the_reverse_of_priorities_and_places(self, backend: Backend) -> None:
        """Put the queued job first that is taken last."""
        inserted(backend, *(an_item(f"{n}", priority=n % 3 - 1) for n in range(9)))
        order = keys_of(listed(backend, QUEUE, State.QUEUED))

        assert keys_of(listed(backend, QUEUE, State.QUEUED, newest=True)) == order[::-1]

    def test_newest_begins_with_jobs_without_a_deadline(self, backend: Backend) -> None:
        """They stand last otherwise."""
        inserted(
            backend, *items("ab", state=State.SCHEDULED), an_item("none", state=State.SCHEDULED, due=None)
        )

        assert keys_of(listed(backend, QUEUE, State.SCHEDULED, newest=True)) == ["none", "b", "a"]

    @pytest.mark.parametrize("newest", [False, True])
    def test_a_page_is_at_most_as_long_as_asked_for(self, backend: Backend, newest: bool) -> None:
        """And at most a batch, whatever is asked for."""
        size = backend.limits.batch
        inserted(backend, *items(f"{n:04}" for n in range(size + 5)))

        def first(**given: Any) -> int:
            return len(backend.list(List(queue=QUEUE, state=State.QUEUED, newest=newest, **given)).heads)

        assert [first(limit=one) for one in (1, 2, size, size + 1, 10 * size)] == [1, 2, size, size, size]
        assert first() == size
        assert first(limit=3, where=Where(task="greet")) == 3

    @pytest.mark.parametrize("newest", [False, True])
    def test_a_page_looks_at_a_bounded_number_of_heads(self, backend: Backend, newest: bool) -> None:
        """Behind very many that are not asked for, it is short and says that there is more."""
        looks = backend.limits.looks
        inserted(backend, *items((f"{n:06}" for n in range(looks + 20)), task="other"))
        wanted = looks + 10 if not newest else 9
        change(backend, the(backend, f"{wanted:06}"), State.QUEUED, tags=("t",), error="found")
        where = Where(error="found")
        asked: dict[str, Any] = {"newest": newest, "limit": 5}
        first = backend.list(List(queue=QUEUE, state=State.QUEUED, where=where, **asked))

        assert first.heads == []
        assert first.cursor is not None
        assert keys_of(listed(backend, QUEUE, State.QUEUED, where=where, **asked)) == [f"{wanted:06}"]
        assert keys_of(listed(backend, QUEUE, State.QUEUED, where=where, tag="t", **asked)) == [
            f"{wanted:06}"
        ]

    @pytest.mark.parametrize("newest", [False, True])
    @pytest.mark.parametrize(
        "given", [{"tag": "t"}, {"where": Where(task="greet")}, {}], ids=["tag", "where", "all"]
    )
    def test_a_job_that_stays_put_is_found_once_while_others_come_and_go(
        self, backend: Backend, newest: bool, given: Mapping[str, Any]
    ) -> None:
        """Between two pages, jobs of the pages before leave and others arrive before and behind the cursor."""
        keys = [f"{n:04}" for n in range(24)]
        inserted(backend, *(_waiting(key, n, other=n % 3 == 2) for n, key in enumerate(keys)))
        seen: list[str] = []
        gone: set[str] = set()
        cursor: str | None = None
        for turn in range(60):
            asked: dict[str, Any] = {"cursor": cursor, "newest": newest, "limit": 2, **given}
            page = backend.list(List(queue=QUEUE, state=State.SCHEDULED, **asked))
            seen += keys_of(page.heads)
            gone |= set(keys_of(page.heads[:1]))
            applied_all(backend, (a_change(head, State.CANCELLED, due=None) for head in page.heads[:1]))
            inserted(backend, *(_waiting(f"new{turn}-{n}", n * 23) for n in range(2)) if turn < 5 else ())
            cursor = page.cursor
            if cursor is None:
                break
        wanted = [key for n, key in enumerate(keys) if not given or n % 3 != 2]
        old = [key for key in seen if not key.startswith("new")]

        assert cursor is None
        assert old == (wanted[::-1] if newest else wanted)
        assert len(seen) == len(set(seen))

    def test_a_claim_between_two_pages_hides_no_job(self, backend: Backend) -> None:
        """Show each job once, the newest first, though jobs are taken at the other end."""
        inserted(backend, *items("abcdef"))
        first = backend.list(List(queue=QUEUE, state=State.QUEUED, newest=True, limit=2))
        a_claim(backend, limit=2)
        inserted(backend, an_item("g"))
        second = backend.list(List(queue=QUEUE, state=State.QUEUED, cursor=first.cursor, newest=True))

        assert (keys_of(first.heads), keys_of(second.heads)) == (["f", "e"], ["d", "c"])


def _waiting(key: str, seconds: int, *, other: bool = False) -> Any:
    """Return a job that waits; one of the others is found by no filter."""
    due = timedelta(hours=1, seconds=seconds)
    given: dict[str, Any] = {"task": "other"} if other else {"tags": ("t",)}
    return an_item(key, state=State.SCHEDULED, due=due, **given)
