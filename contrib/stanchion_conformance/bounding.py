"""Bounds by bytes: what one call answers with, and how large a list of a job becomes."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Final

from stanchion.contract.backend import Backend
from stanchion.contract.requests import FindDue, List
from stanchion.model.changes import LIST_BYTES
from stanchion.model.records import Head, Item, Record
from stanchion.model.states import State
from stanchion_conformance.ground import Ground
from stanchion_conformance.making import QUEUE, a_claim, an_item, change, inserted, keys_of, taken, the
from stanchion_testing.clock import VirtualClock

SECOND: Final = timedelta(seconds=1)
KEYS: Final = "abcdefg"
OTHER: Final = "other"


def large(backend: Backend, keys: str = KEYS, share: int = 3, **given: Any) -> list[Item]:
    """Return jobs of which so many fit into one answer, less what the store itself adds.

    Returns:
        An item for each key.
    """
    size = backend.limits.bytes // share - 1000
    return [an_item(key, args=b"x" * size, **given) for key in keys]


def rounds(answers: Callable[[], list[Record]]) -> Iterator[list[Record]]:
    """Yield what a call answers, until it answers nothing.

    Returns:
        The answers, one by one.
    """
    while found := answers():
        yield found


class Bounding(Ground):
    """No answer is larger than a call may carry, but for a single job."""

    def test_a_claim_takes_no_more_bytes_than_a_call_carries(self, backend: Backend) -> None:
        """Answer that there are more; the next claims take them, in their order."""
        inserted(backend, *large(backend))
        first = a_claim(backend)
        others = [keys_of(found) for found in rounds(lambda: a_claim(backend).records)]

        assert keys_of(first.records) == list("abc")
        assert first.more
        assert others == [list("def"), ["g"]]

    def test_the_bytes_of_a_claim_are_those_of_all_its_queues(self, backend: Backend) -> None:
        """Leave what did not fit where it is."""
        inserted(backend, *large(backend, "ab"), *large(backend, "cd", queue=OTHER))
        first, second = a_claim(backend, QUEUE, OTHER), a_claim(backend, QUEUE, OTHER)

        assert keys_of(first.records) == list("abc")
        assert first.more
        assert keys_of(second.records) == ["d"]
        assert not second.more

    def test_a_claim_takes_a_job_that_is_larger_than_that(self, backend: Backend) -> None:
        """Alone; nothing is too large to be handed out."""
        huge = an_item("b", args=b"x" * (2 * backend.limits.bytes))
        inserted(backend, an_item("a"), huge, an_item("c"))
        found = [keys_of(one) for one in rounds(lambda: a_claim(backend).records)]

        assert found == [["a"], ["b"], ["c"]]

    def test_due_finds_heads_however_large_the_jobs_are(self, backend: Backend, clock: VirtualClock) -> None:
        """Answer up to the limit, whatever arguments there are: a sweep need not carry what it deletes or promotes."""
        taken(backend, "r", args=large(backend, "r")[0].args)
        inserted(backend, *large(backend, "ab", state=State.SCHEDULED, due=SECOND))
        inserted(backend, *large(backend, "cd", state=State.SCHEDULED, due=SECOND, queue=OTHER))
        clock.advance(hours=1)
        due = backend.due(FindDue([QUEUE, OTHER], 100))

        assert keys_of(due.heads)[0] == "r"
        assert sorted(keys_of(due.heads)) == list("abcdr")
        assert not due.more
        assert {type(head) for head in due.heads} == {Head}

    def test_due_says_when_its_limit_left_some_out(self, backend: Backend, clock: VirtualClock) -> None:
        """By their number; that there are none is never said while there are."""
        inserted(backend, *(an_item(key, state=State.SCHEDULED, due=SECOND) for key in KEYS))
        clock.advance(1)

        assert backend.due(FindDue([QUEUE], len(KEYS) - 1)).more
        assert not backend.due(FindDue([QUEUE], len(KEYS) + 1)).more

    def test_a_page_holds_heads_however_large_the_jobs_are(self, backend: Backend) -> None:
        """Leave arguments, notes and lists where they are."""
        inserted(backend, *large(backend))
        page = backend.list(List(queue=QUEUE, state=State.QUEUED))

        assert keys_of(page.heads) == list(KEYS)
        assert {type(head) for head in page.heads} == {Head}

    def test_a_list_keeps_as_many_bytes_as_there_is_room_for(self, backend: Backend) -> None:
        """Keep the newest entries; a hundred of them may be three megabytes of tracebacks."""
        quarter = LIST_BYTES // 4
        job = taken(backend)
        for number in range(6):
            entry = b"%d" % number * quarter
            change(backend, job, State.RUNNING, guards={"claim": job.claim}, append={"log": entry, "l": b"x"})
        entries = the(backend).lists

        assert [entry.data[:1] for entry in entries["log"]] == [b"2", b"3", b"4", b"5"]
        assert len(entries["l"]) == 6

    def test_an_entry_that_is_larger_than_a_list_is_kept_alone(self, backend: Backend) -> None:
        """Never lose the newest entry; the next one takes its place."""
        job = taken(backend)
        sizes = []
        for data in (b"small", b"x" * (LIST_BYTES + 1), b"last"):
            change(backend, job, State.RUNNING, guards={"claim": job.claim}, append={"log": data})
            sizes.append([len(entry.data) for entry in the(backend).lists["log"]])

        assert sizes == [[5], [LIST_BYTES + 1], [4]]
