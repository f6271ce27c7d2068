"""Planted bugs in listing, counting, sweeping, waiting, watching, and the settings of queues."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from msgspec.structs import replace

from stanchion.contract.answers import Counts, Due, Inserted, Page
from stanchion.contract.backend import Topic
from stanchion.model.changes import Applied, Change, Refused
from stanchion.model.queues import QueueSettings
from stanchion.model.records import Item, Record
from stanchion.model.states import FINAL, Event, State
from stanchion_memory.backend import MemoryWatch
from stanchion_memory.store import cursor_of
from testing.planted import Unbroken, planted

POLL: Final = timedelta(milliseconds=100)
"""After which a backend that loses wakes looks by itself."""


@planted("test_get_answers_in_the_order_asked")
class LeavesOutWhatIsAbsent(Unbroken):
    """Asked for three jobs of which one is gone, it answers two."""

    def get(self, ids: Sequence[str]) -> Sequence[Record | None]:
        return [record for record in super().get(ids) if record is not None]


@planted("test_a_job_that_stays_put_is_listed_once_while_others_come_and_go")
class CountsPagesFromTheFront(Unbroken):
    """A page begins a number of jobs behind the first, and skips as many as left meanwhile."""

    def list(self, queue: str, state: State, cursor: str | None = None) -> Page:
        start, size = int(cursor or 0), self.limits.batch
        found = self._shelves[queue].after(state, None, 1 << 30)[start:] if queue in self._shelves else []
        return Page(records=found[:size], cursor=str(start + size) if len(found) > size else None)


@planted("test_a_job_that_stays_put_is_listed_once_while_others_come_and_go")
class PagesEndBetweenClocks(Unbroken):
    """A cursor is the last job's clock, and others of the same clock are skipped."""

    def list(self, queue: str, state: State, cursor: str | None = None) -> Page:
        page = super().list(queue, state, cursor)
        behind_all = page.cursor and f"{page.cursor.split()[0]} {1 << 60} ~"
        return replace(page, cursor=behind_all)


@planted("test_a_page_is_at_most_a_batch")
class PagesOverlap(Unbroken):
    """The last job of a page is the first of the next."""

    def list(self, queue: str, state: State, cursor: str | None = None) -> Page:
        page = super().list(queue, state, cursor)
        return replace(page, cursor=page.cursor and cursor_of(page.records[-2]))


@planted("test_count_counts_every_state_of_every_queue")
class CountsForgetBlockedJobs(Unbroken):
    """A state that came later is not counted."""

    def count(self, queues: Sequence[str]) -> Mapping[str, Counts]:
        return {queue: {**counts, State.BLOCKED: 0} for queue, counts in super().count(queues).items()}


@planted("test_due_changes_nothing")
class HandsOutDueJobsOnce(Unbroken):
    """A due job is handed to one sweeper, and if that one dies, to nobody ever again."""

    def due(self, queues: Sequence[str], limit: int) -> Due:
        answer = super().due(queues, limit)
        left = [one for one in answer.records if self.seen.get(one.id) != one.due_at]
        self.seen.update({one.id: one.due_at for one in left})
        return replace(answer, records=left)


@planted("test_due_answers_running_jobs_before_older_ones_that_wait")
class SweepsTheOldestFirst(Unbroken):
    """A crowd of old jobs keeps the sweep from those whose worker died."""

    def due(self, queues: Sequence[str], limit: int) -> Due:
        answer = super().due(queues, 1 << 30)
        return replace(
            answer, records=sorted(answer.records, key=lambda one: one.due_at or answer.now)[:limit]
        )


@planted("test_due_finds_a_job_at_its_instant_and_not_before")
class FinalJobsAreNeverDue(Unbroken):
    """What is final is kept for ever, and the store fills up."""

    def due(self, queues: Sequence[str], limit: int) -> Due:
        answer = super().due(queues, limit)
        return replace(answer, records=[one for one in answer.records if one.state not in FINAL])


@planted("test_due_serves_paused_queues")
class PausedQueuesAreNotSwept(Unbroken):
    """A worker that dies while its queue is paused keeps its job."""

    def due(self, queues: Sequence[str], limit: int) -> Due:
        settings = self.queues()
        return super().due([one for one in queues if one in settings and not settings[one].paused], limit)


# Queues


@planted("test_a_queue_with_a_job_is_not_forgotten")
class ForgetsQueuesWithFinalJobs(Unbroken):
    """A queue in which nothing waits or runs is taken for empty."""

    def forget(self, queue: str) -> bool:
        shelves = self.shelves_of([queue])
        if any(record.state not in FINAL for shelf in shelves for record in shelf.records.values()):
            return False
        self._shelves.pop(queue, None)
        return True


@planted("test_a_forgotten_queue_is_gone_with_its_settings")
class ForgottenQueuesStayPaused(Unbroken):
    """Settings outlive their queue, and a new one of its name begins paused."""

    def forget(self, queue: str) -> bool:
        self.seen[queue] = self.queues().get(queue, QueueSettings())
        return super().forget(queue)

    def _insert(self, item: Item, now: datetime) -> Inserted:
        answer = super()._insert(item, now)
        shelf = self.shelf(item.id)
        shelf.settings = self.seen.pop(item.id.partition(":")[0], shelf.settings)
        return answer


@planted("test_a_final_job_expires_when_its_time_is_over")
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

    def configure(self, queue: str, settings: QueueSettings) -> None:
        with self._lock:
            super().configure(queue, settings)
            self._woken.discard(queue)


@planted("test_a_change_that_queues_a_job_wakes")
class ChangesWakeNobody(Unbroken):
    """Only an insert wakes: a job that is promoted by a sweep, released or retried waits for a poll."""

    def _apply(self, change: Change, now: datetime) -> Applied | Refused:
        woken = set(self._woken)
        answer = super()._apply(change, now)
        self._woken &= woken
        return answer


@planted("test_a_new_earliest_due_time_wakes")
class EarlierClocksWakeNobody(Unbroken):
    """Who sleeps until the next job is due sleeps through one that is due before."""

    def _wake_for(self, record: Record) -> None:
        if record.state is State.QUEUED:
            super()._wake_for(record)


@planted("test_a_wake_that_came_before_is_not_lost")
class WakesAreForThoseWhoWait(Unbroken):
    """An edge, not a level: a wake that comes between a claim and the wait behind it is lost."""

    def wait(self, queues: Sequence[str], timeout: timedelta) -> bool:
        self._woken.difference_update(queues)
        return super().wait(queues, min(timeout, POLL))


@planted("test_a_claim_that_leaves_jobs_behind_wakes_the_next")
class ClaimsKeepTheWake(Unbroken):
    """A wake goes to one waiter, whose claim takes one of ten jobs; the others sleep on."""

    def claim(self, queues: Sequence[str], **request: Any) -> Any:
        with self._lock:
            answer = super().claim(queues, **request)
            self._woken.difference_update(queues)
            return answer


@planted("test_close_ends_a_wait")
class ClosingLeavesWaitsAlone(Unbroken):
    """A worker that is told to stop waits on until its poll."""

    def close(self) -> None:
        self._closed = True


@planted("test_the_end_of_a_job_is_heard")
class DeletionsAreNotHeard(Unbroken):
    """Who waits for the end of a job that is deleted waits on."""

    def _tell(self, job_id: str, topic: Topic) -> None:
        if self.job(job_id) is not None:
            super()._tell(job_id, topic)


class Repeating(MemoryWatch):
    """A watch that says all that it ever heard."""

    before: frozenset[str] = frozenset()

    def next(self, timeout: timedelta) -> frozenset[str]:
        self.before |= super().next(timedelta(0) if self.before else timeout)
        return self.before


@planted("test_what_was_heard_is_not_heard_again")
class NewsAreReadFromTheBeginning(Unbroken):
    """Whoever waits for another job is told of the first one, again and again, and never sleeps."""

    def watch(self, queues: Sequence[str], topic: Topic) -> Repeating:
        with self._lock:
            watch = Repeating(self, frozenset(queues), topic)
            self._watches.add(watch)
            return watch
