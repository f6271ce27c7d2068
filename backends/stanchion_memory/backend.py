"""The memory backend: the contract over dictionaries, behind one lock."""

from collections.abc import Mapping, Sequence

from stanchion.contract.answers import CheckPage, Configured, Counts, Due, Fault, Finding, Page, unbalanced
from stanchion.contract.backend import Limits
from stanchion.contract.paging import page_of
from stanchion.contract.requests import Check, Configure, Count, FindDue, Forget, Get, List, ReadLedger, Wait
from stanchion.model.changes import Topic
from stanchion.model.ledger import Books
from stanchion.model.queues import QueueSettings, patched
from stanchion.model.records import Record, head_of
from stanchion.model.states import SWEPT
from stanchion_memory.jobs import LIMITS, Jobs
from stanchion_memory.store import Shelf
from stanchion_memory.watching import MemoryWatch


class MemoryBackend(Jobs):
    """A store of its own, gone with the process; safe to use from any thread.

    Args:
        clock: For tests: where the time comes from.
    """

    @property
    def limits(self) -> Limits:
        return LIMITS

    def due(self, request: FindDue) -> Due:
        with self._open():
            now, limit = self.now(), request.limit
            shelves = [shelf for _, shelf in self._there(request.queues)]
            found = [one for state in SWEPT for shelf in shelves for one in shelf.due(state, now, limit + 1)]
            return Due(now=now, heads=list(map(head_of, found[:limit])), more=len(found) > limit)

    def get(self, request: Get) -> Sequence[Record | None]:
        with self._open():
            return list(map(self._find, request.ids))

    def list(self, request: List) -> Page:
        with self._open():
            shelf = self._shelves.get(request.queue) or Shelf()
            behind = shelf.page(request.state, request.tag, request.cursor, newest=request.newest)
            return page_of(behind, request, LIMITS)

    def count(self, request: Count) -> Mapping[str, Counts]:
        with self._open():
            return {
                queue: (self._shelves.get(queue) or Shelf()).count(request.tag) for queue in request.queues
            }

    def ledger(self, request: ReadLedger) -> Books:
        with self._open():
            return (self._shelves.get(request.queue) or Shelf()).account.read(request.since, self.now())

    def wait(self, request: Wait) -> bool:
        queues = request.queues
        unsubscribe = self._clock.subscribe(lambda: self._notices.wake(*queues)) if self._clock else None
        try:
            return self._notices.wait(queues, request.timeout)
        finally:
            if unsubscribe:
                unsubscribe()

    def queues(self) -> Mapping[str, QueueSettings]:
        with self._open():
            return {queue: self._shelves[queue].settings for queue in sorted(self._shelves)}

    def configure(self, request: Configure) -> Configured:
        with self._open():
            shelf = self._shelves.setdefault(request.queue, Shelf())
            before = shelf.settings
            shelf.settings = patched(before, request.set, request.unset)
            if not shelf.settings.paused:
                self._notices.wake(request.queue)
            return Configured(before=before, after=shelf.settings)

    def forget(self, request: Forget) -> bool:
        with self._open():
            shelf = self._shelves.get(request.queue)
            if shelf is not None and shelf.records:
                return False
            self._shelves.pop(request.queue, None)
            return True

    def check(self, request: Check) -> CheckPage:
        with self._open():
            shelf = self._shelves.get(request.queue) or Shelf()
            faults = [
                Finding(fault=Fault.MISPLACED, where=where, detail=detail) for where, detail in shelf.faults()
            ]
            faults += unbalanced(request.queue, shelf.account.ledger.totals, shelf.count(None))
            return CheckPage(findings=faults, cursor=None)

    def watch(self, queues: Sequence[str], topic: Topic) -> MemoryWatch:
        """See `stanchion.contract.capabilities.WatchesJobs`."""
        with self._open():
            return MemoryWatch(self._notices, frozenset(queues), topic)

    def close(self) -> None:
        self._notices.close()
