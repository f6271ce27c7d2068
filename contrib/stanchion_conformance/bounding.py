"""Bounds by bytes: what one call answers with, and how large a list of a job becomes."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Final

from stanchion.contract.answers import size_of
from stanchion.contract.backend import Backend
from stanchion.model.changes import LIST_BYTES
from stanchion.model.records import Item, Record
from stanchion.model.states import State
from stanchion_conformance.ground import Ground
from stanchion_conformance.making import (
    QUEUE,
    a_claim,
    an_item,
    change,
    inserted,
    keys_of,
    taken,
    the,
)
from stanchion_testing.clock import VirtualClock

SECOND: Final = timedelta(seconds=1)
KEYS: Final = "abcdefg"
OTHER: Final = "other"


def large(backend: Backend, keys: str = KEYS, share: int = 3, **given: Any) -> list[Item]:
    """Jobs of which so many fit into one answer, less what the store itself adds."""
    size = backend.limits.bytes // share - 1000
    return [an_item(key, spec=b"x" * size, **given) for key in keys]


def rounds(answers: Callable[[], list[Record]]) -> Iterator[list[Record]]:
    """What a call answers, until it is nothing."""
    while found := answers():
        yield found


class Bounding(Ground):
    """No answer is larger than a call may carry, but for a single job."""

    def test_a_claim_takes_no_more_bytes_than_a_call_carries(self, backend: Backend) -> None:
        """It says that there are more, and the next claims take them, in their order."""
        inserted(backend, *large(backend))
        first = a_claim(backend)
        others = [keys_of(found) for found in rounds(lambda: a_claim(backend).records)]

        assert keys_of(first.records) == list("abc")
        assert first.more
        assert others == [list("def"), ["g"]]

    def test_the_bytes_of_a_claim_are_those_of_all_its_queues(self, backend: Backend) -> None:
        """What did not fit stays where it is."""
        inserted(backend, *large(backend, "ab"), *large(backend, "cd", queue=OTHER))
        first, second = a_claim(backend, QUEUE, OTHER), a_claim(backend, QUEUE, OTHER)

        assert keys_of(first.records) == list("abc")
        assert first.more
        assert keys_of(second.records) == ["d"]
        assert not second.more

    def test_a_claim_takes_a_job_that_is_larger_than_that(self, backend: Backend) -> None:
        """Alone; nothing is too large to be handed out."""
        huge = an_item("b", spec=b"x" * (2 * backend.limits.bytes))
        inserted(backend, an_item("a"), huge, an_item("c"))
        found = [keys_of(one) for one in rounds(lambda: a_claim(backend).records)]

        assert found == [["a"], ["b"], ["c"]]

    def test_due_finds_no_more_bytes_than_a_call_carries(self, backend: Backend, clock: VirtualClock) -> None:
        """Over all states and queues; it says that there are more."""
        taken(backend, "r", spec=large(backend, "r")[0].spec)
        inserted(backend, *large(backend, "ab", state=State.SCHEDULED, clock=SECOND))
        inserted(backend, *large(backend, "cd", state=State.SCHEDULED, clock=SECOND, queue=OTHER))
        clock.advance(hours=1)
        sizes, found = [], []
        while True:
            due = backend.due([QUEUE, OTHER], 100)
            found += keys_of(due.records)
            sizes.append(sum(map(size_of, due.records)))
            for record in due.records:
                change(backend, record, None)
            if not due.records:
                break
            assert due.more == (len(found) < 5)

        assert found[0] == "r"
        assert sorted(found[1:]) == list("abcd")
        assert max(sizes) <= backend.limits.bytes
        assert len(sizes) == 3

    def test_due_says_when_its_limit_left_some_out(self, backend: Backend, clock: VirtualClock) -> None:
        """By their number; that there are none is never said while there are."""
        inserted(backend, *(an_item(key, state=State.SCHEDULED, clock=SECOND) for key in KEYS))
        clock.advance(1)

        assert backend.due([QUEUE], len(KEYS) - 1).more
        assert not backend.due([QUEUE], len(KEYS) + 1).more

    def test_a_page_holds_no_more_bytes_than_a_call_carries(self, backend: Backend) -> None:
        """Over all pages each job appears once."""
        inserted(backend, *large(backend))
        pages = [backend.list(QUEUE, State.QUEUED)]
        while (cursor := pages[-1].cursor) is not None:
            pages.append(backend.list(QUEUE, State.QUEUED, cursor))

        assert [keys_of(page.records) for page in pages if page.records] == [list("abc"), list("def"), ["g"]]

    def test_a_list_keeps_as_many_bytes_as_there_is_room_for(self, backend: Backend) -> None:
        """The newest entries; a hundred of them may be three megabytes of tracebacks."""
        quarter = LIST_BYTES // 4
        job = taken(backend)
        for number in range(6):
            entry = b"%d" % number * quarter
            change(backend, job, State.RUNNING, guards={"claim": job.claim}, append={"log": entry, "l": b"x"})
        entries = the(backend).lists

        assert [entry.data[:1] for entry in entries["log"]] == [b"2", b"3", b"4", b"5"]
        assert len(entries["l"]) == 6

    def test_an_entry_that_is_larger_than_a_list_is_kept_alone(self, backend: Backend) -> None:
        """What happened last is never lost; the next entry takes its place."""
        job = taken(backend)
        sizes = []
        for data in (b"small", b"x" * (LIST_BYTES + 1), b"last"):
            change(backend, job, State.RUNNING, guards={"claim": job.claim}, append={"log": data})
            sizes.append([len(entry.data) for entry in the(backend).lists["log"]])

        assert sizes == [[5], [LIST_BYTES + 1], [4]]
