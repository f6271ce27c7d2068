"""Planted bugs in listing, counting, sweeping, waiting, watching, and the settings of queues."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from msgspec.structs import replace

from stanchion.contract.answers import Claimed, Configured, Counts, Due, Inserted, Page
from stanchion.contract.requests import Claim, Configure, Count, FindDue, Forget, Get, List, Wait
from stanchion.model.changes import Applied, Change, Refused, Topic
from stanchion.model.ordering import cursor_of
from stanchion.model.queues import QueueSettings
from stanchion.model.records import Item, Record, head_of
from stanchion.model.states import FINAL, Event, State
from stanchion_memory.store import Shelf
from stanchion_memory.watching import MemoryWatch, Notices
from testing.planted import Unbroken, planted

POLL: Final = timedelta(milliseconds=100)
"""After which a backend that loses wakes looks by itself."""


@planted("test_get_answers_in_the_order_asked")
class LeavesOutWhatIsAbsent(Unbroken):
    """Asked for three jobs of which one is gone, it answers two."""

    def get(self, request: Get) -> Sequence[Record | None]:
        return [record for record in super().get(request) if record is not None]


@planted("test_a_job_that_stays_put_is_listed_once_while_others_come_and_go")
class CountsPagesFromTheFront(Unbroken):
    """A page begins a number of jobs behind the first, and skips as many as left meanwhile."""

    def list(self, request: List) -> Page:
        start, size = int(request.cursor or 0), self.limits.batch
        found = [
            one for shelf in self.shelves_of([request.queue]) for one in shelf.first(request.state, 1 << 30)
        ]
        heads = list(map(head_of, found[start : start + size]))
        return Page(heads=heads, cursor=str(start + size) if len(found) > start + size else None)


@planted("test_a_job_that_stays_put_is_listed_once_while_others_come_and_go")
class PagesEndBetweenDeadlines(Unbroken):
    """A cursor is the last job's deadline, and others of the same deadline are skipped."""

    def list(self, request: List) -> Page:
        page = super().list(request)
        behind_all = page.cursor and f"{page.cursor.split()[0]} {1 << 60} ~"
        return replace(page, cursor=behind_all)


@planted("test_a_page_is_at_most_a_batch")
class PagesOverlap(Unbroken):
    """The last job of a page is the first of the next."""

    def list(self, request: List) -> Page:
        page = super().list(request)
        return replace(
            page, cursor=page.cursor and cursor_of(self.shelf(page.heads[-2].id).records[page.heads[-2].id])
        )


@planted("test_count_counts_every_state_of_every_queue")
class CountsForgetBlockedJobs(Unbroken):
    """A state that came later is not counted."""

    def count(self, request: Count) -> Mapping[str, Counts]:
        return {queue: {**counts, State.BLOCKED: 0} for queue, counts in super().count(request).items()}


@planted("test_due_changes_nothing")
class HandsOutDueJobsOnce(Unbroken):
    """A due job is handed to one sweeper, and if that one dies, to nobody ever again."""

    def due(self, request: FindDue) -> Due:
        answer = super().due(request)
        left = [one for one in answer.heads if self.seen.get(one.id) != one.due_at]
        self.seen.update({one.id: one.due_at for one in left})
        return replace(answer, heads=left)


@planted("test_due_answers_running_jobs_before_older_ones_that_wait")
class SweepsTheOldestFirst(Unbroken):
    """A crowd of old jobs keeps the sweep from those whose worker died."""

    def due(self, request: FindDue) -> Due:
        answer = super().due(replace(request, limit=1 << 30))
        ordered = sorted(answer.heads, key=lambda one: one.due_at or answer.now)
        return replace(answer, heads=ordered[: request.limit])


@planted("test_due_finds_a_job_at_its_instant_and_not_before")
class FinalJobsAreNeverDue(Unbroken):
    """What is final is kept for ever, and the store fills up."""

    def due(self, request: FindDue) -> Due:
        answer = super().due(request)
        return replace(answer, heads=[one for one in answer.heads if one.state not in FINAL])


@planted("test_due_serves_paused_queues")
class PausedQueuesAreNotSwept(Unbroken):
    """A worker that dies while its queue is paused keeps its job."""

    def due(self, request: FindDue) -> Due:
        settings = self.queues()
        active = [one for one in request.queues if one in settings and not settings[one].paused]
        return super().due(replace(request, queues=active))


# Queues


@planted("test_a_queue_with_a_job_is_not_forgotten")
class ForgetsQueuesWithFinalJobs(Unbroken):
    """A queue in which nothing waits or runs is taken for empty."""

    def forget(self, request: Forget) -> bool:
        shelves = self.shelves_of([request.queue])
        if any(record.state not in FINAL for shelf in shelves for record in shelf.records.values()):
            return False
        self._shelves.pop(request.queue, None)
        return True


@planted("test_a_forgotten_queue_is_gone_with_its_settings")
class ForgottenQueuesStayPaused(Unbroken):
    """Settings outlive their queue, and a new one of its name begins paused."""

    def forget(self, request: Forget) -> bool:
        self.seen[request.queue] = self.queues().get(request.queue, QueueSettings())
        return super().forget(request)

    def _insert(self, item: Item, now: datetime) -> Inserted:
        answer = super()._insert(item, now)
        shelf = self.shelf(item.id)
        shelf.settings = self.seen.pop(item.id.partition(":")[0], shelf.settings)
        return answer


@planted("test_a_final_job_expires_when_its_retention_does")
class QueuesEndWithTheirLastJob(Unbroken):
    """A queue whose last job expires is gone, and with it that it was paused."""

    def _apply(self, change: Change, now: datetime) -> Applied | Refused:
        answer = super()._apply(change, now)
        if change.event is Event.EXPIRE and not self.shelf(change.job_id).records:
            self._shelves.pop(change.job_id.partition(":")[0], None)
        return answer


# Wakes


@planted("test_resuming_wakes")
class ResumingWakesNobody(Unbroken):
    """Workers find the jobs of a resumed queue when they next look by themselves."""

    def configure(self, request: Configure) -> Configured:
        with self._lock:
            answer = super().configure(request)
            self._notices._woken.discard(request.queue)
            return answer


@planted("test_a_change_that_queues_a_job_wakes")
class ChangesWakeNobody(Unbroken):
    """Only an insert wakes: a job that is promoted by a sweep, released or retried waits for a poll."""

    def _apply(self, change: Change, now: datetime) -> Applied | Refused:
        woken = set(self._notices._woken)
        answer = super()._apply(change, now)
        self._notices._woken &= woken
        return answer


@planted("test_a_new_earliest_due_time_wakes")
class EarlierDeadlinesWakeNobody(Unbroken):
    """Who sleeps until the next job is due sleeps through one that is due before."""

    def _wake_for(self, shelf: Shelf, record: Record) -> None:
        if record.state is State.QUEUED:
            super()._wake_for(shelf, record)


@planted("test_a_wake_that_came_before_is_not_lost")
class WakesAreForThoseWhoWait(Unbroken):
    """An edge, not a level: a wake that comes between a claim and the wait behind it is lost."""

    def wait(self, request: Wait) -> bool:
        self._notices.looked(request.queues)
        return super().wait(Wait(request.queues, min(request.timeout, POLL)))


@planted("test_a_claim_that_leaves_jobs_behind_wakes_the_next")
class ClaimsKeepTheWake(Unbroken):
    """A wake goes to one waiter, whose claim takes one of ten jobs; the others sleep on."""

    def claim(self, request: Claim) -> Claimed:
        with self._lock:
            answer = super().claim(request)
            self._notices.looked(request.queues)
            return answer


@planted("test_close_ends_a_wait")
class ClosingLeavesWaitsAlone(Unbroken):
    """A worker that is asked to stop waits on until its poll."""

    def close(self) -> None:
        self._notices.closed = True


class _Silent(Notices):
    backend: "DeletionsAreNotPublished"

    def publish(self, job_id: str, topic: Topic) -> None:
        if self.backend.job(job_id) is not None:
            super().publish(job_id, topic)


@planted("test_the_end_of_a_job_is_published")
class DeletionsAreNotPublished(Unbroken):
    """A caller that waits for the end of a job that is deleted waits on."""

    NOTICES = _Silent

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        if isinstance(self._notices, _Silent):
            self._notices.backend = self


class Repeating(MemoryWatch):
    """A watch that answers all that was ever published."""

    before: frozenset[str] = frozenset()

    def next(self, timeout: timedelta) -> frozenset[str]:
        self.before |= super().next(timedelta(0) if self.before else timeout)
        return self.before


@planted("test_what_was_published_is_not_published_again")
class NewsAreReadFromTheBeginning(Unbroken):
    """Whoever waits for another job is notified of the first one, again and again, and never sleeps."""

    def watch(self, queues: Sequence[str], topic: Topic) -> Repeating:
        with self._lock:
            return Repeating(self._notices, frozenset(queues), topic)
