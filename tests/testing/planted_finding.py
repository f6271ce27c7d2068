"""Planted bugs in finding jobs by their tags, and by what their heads say."""

from bisect import insort
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from stanchion.contract.answers import Counts, Inserted, Page
from stanchion.contract.requests import Count, Get, List
from stanchion.model.ordering import Place, place_of
from stanchion.model.records import Head, Item, Record, head_of
from stanchion.model.selection import Span, Where
from stanchion.model.states import Event, State
from testing.planted import LenientShelf, Unbroken, planted

# Tags


class _Stale(LenientShelf):
    def change(self, found: Record, event: Event, after: Record | None, now: datetime) -> None:
        super().change(found, event, after, now)
        if after is not None and event is Event.COMPLETE:
            for tag in found.tags:
                insort(self.tagged[found.state, tag], place_of(after))


@planted("test_tags_may_change_with_the_state")
class CompletedJobsAreFoundAmongTheRunning(Unbroken):
    """An entry of the tag's index stays where the job was."""

    SHELF = _Stale


class _Missing(LenientShelf):
    def _indexes(self, record: Record) -> list[list[Place]]:
        return super()._indexes(record)[: 1 if record.state is State.RETRYING else None]


@planted("test_jobs_are_found_by_tags_in_every_state")
class RetryingJobsAreNotFoundByTags(Unbroken):
    """A state was forgotten when tags were indexed."""

    SHELF = _Missing


class _FirstTag(LenientShelf):
    def _indexes(self, record: Record) -> list[list[Place]]:
        return super()._indexes(record)[:2]


@planted("test_jobs_are_found_by_each_of_their_tags")
class OnlyTheFirstTagIsIndexed(Unbroken):
    """A job is found by one of its tags."""

    SHELF = _FirstTag


@planted("test_a_deleted_job_is_found_by_no_tag")
class DeletedJobsAreCountedByTag(Unbroken):
    """The count of a tag never goes down by a deletion."""

    def count(self, request: Count) -> Mapping[str, Counts]:
        counts = super().count(request)
        if request.tag is None:
            return counts
        for queue, by_state in counts.items():
            most: dict[State, int] = self.seen.setdefault(f"{queue} {request.tag}", {})
            stays = not any(by_state.values())
            most.update({state: number for state, number in by_state.items() if number or not stays})
        return {
            queue: {**by_state, **self.seen[f"{queue} {request.tag}"]} for queue, by_state in counts.items()
        }

    def _apply(self, change: Any, now: datetime) -> Any:
        found = self.job(change.job_id)
        for tag in found.tags if found else ():
            self.count(Count([change.job_id.partition(":")[0]], tag=tag))
        return super()._apply(change, now)


class _ByFirstTags(LenientShelf):
    """Indexes a job by the tags that it had first."""

    def __init__(self) -> None:
        super().__init__()
        self.first_tags: dict[str, tuple[str, ...]] = {}

    def _indexes(self, record: Record) -> list[list[Place]]:
        tags = self.first_tags.setdefault(record.id, record.tags)
        return super()._indexes(replace(record, tags=tags))


@planted("test_tags_that_are_changed_are_found_anew")
class ChangedTagsAreNotIndexed(Unbroken):
    """A job is found by the tags that it was enqueued with."""

    SHELF = _ByFirstTags


class _ByCreation(LenientShelf):
    """Shows the jobs of a tag in the order in which they were created."""

    def page(self, state: State, tag: str | None, cursor: str | None, *, newest: bool) -> Iterator[Record]:
        found = super().page(state, tag, cursor, newest=newest)
        return found if tag is None else iter(sorted(found, key=lambda one: (one.created_at, one.id)))


@planted("test_a_job_with_a_tag_stands_where_it_stands_without")
class TagsKeepTheFirstOrder(Unbroken):
    """A job whose priority is raised stands where it stood, if it is looked for by its tag."""

    SHELF = _ByCreation


@planted("test_each_queue_has_its_own_tags")
class TagsSpanQueues(Unbroken):
    """A tag is counted in all queues of one beginning."""

    def count(self, request: Count) -> Mapping[str, Counts]:
        if request.tag is None:
            return super().count(request)
        every = super().count(Count(list(self._shelves), request.tag))
        return {
            queue: {
                state: sum(one[state] for name, one in every.items() if name.startswith(queue))
                for state in State
            }
            for queue in request.queues
        }


@planted("test_tags_are_texts_and_no_patterns")
class TagsIgnoreCase(Unbroken):
    """The store's collation takes `A` and `a` for one."""

    def list(self, request: List) -> Page:
        page = super().list(request)
        if request.tag is None or page.heads == []:
            return page
        lower = request.tag.lower()
        shelves = self.shelves_of([request.queue])
        alike = [one for shelf in shelves for one in shelf.first(request.state, 99) if _has(one, lower)]
        return super().list(replace(request, tag=None)) if len(alike) > len(page.heads) else page


def _has(record: Record, lower: str) -> bool:
    return any(tag.lower() == lower for tag in record.tags)


@planted("test_jobs_of_one_tag_come_in_pages")
class OnePageForEachTag(Unbroken):
    """A listing by tag ends with its first page."""

    def list(self, request: List) -> Page:
        page = super().list(request)
        return page if request.tag is None else replace(page, cursor=None)


@planted("test_tags_follow_claims_and_promotions")
class PromotedJobsLoseTheirTags(Unbroken):
    """What a backend does by itself inside a claim is not indexed."""

    def _promote(self, shelf: Any, now: datetime) -> None:
        due = list(shelf.due(State.SCHEDULED, now, self.limits.batch))
        super()._promote(shelf, now)
        for record in due:
            self.put(replace(shelf.records[record.id], tags=()))


class _NoRetries(LenientShelf):
    """Forgets tags on one way."""

    def change(self, found: Record, event: Event, after: Record | None, now: datetime) -> None:
        if after is not None and event is Event.RETRY:
            after = replace(after, tags=())
        super().change(found, event, after, now)


@planted("test_tags_follow_every_move")
class RetriedJobsLoseTheirTags(Unbroken):
    """A job that runs again is found by no tag."""

    SHELF = _NoRetries


@planted("test_an_unknown_tag_finds_nothing")
class AnUnknownTagIsNoFilter(Unbroken):
    """A tag that no job has finds all of them."""

    def list(self, request: List) -> Page:
        page = super().list(request)
        return page if page.heads or request.tag is None else super().list(replace(request, tag=None))


@planted("test_a_listing_by_tag_shows_heads")
class TagsShowBodies(Unbroken):
    """A listing by tag brings arguments and results."""

    def list(self, request: List) -> Page:
        page = super().list(request)
        if request.tag is None:
            return page
        found: list[Head] = [
            one for one in self.get(Get([head.id for head in page.heads])) if one is not None
        ]
        return replace(page, heads=found)


@planted("test_jobs_are_found_by_tags_in_every_state")
class InsertsAloneAreTagged(Unbroken):
    """Tags are counted where jobs were enqueued."""

    def _insert(self, item: Item, now: datetime) -> Inserted:
        answer = super()._insert(item, now)
        self.seen.setdefault(item.id, item.state)
        return answer

    def count(self, request: Count) -> Mapping[str, Counts]:
        if request.tag is None:
            return super().count(request)
        tagged = [one for one in self.seen if (job := self.job(one)) is not None and request.tag in job.tags]
        return {
            queue: {
                state: sum(one.partition(":")[0] == queue and self.seen[one] is state for one in tagged)
                for state in State
            }
            for queue in request.queues
        }


# What heads say


class Asking(Unbroken):
    """Asks something else of heads than it was asked for."""

    def meant(self, where: Where) -> Where:
        """Return what is asked instead."""
        return where

    def list(self, request: List) -> Page:
        where = None if request.where is None else self.meant(request.where)
        return super().list(replace(request, where=where))


LISTS = "test_a_listing_shows_the_jobs_whose_heads_say_what_is_asked"


@planted(LISTS)
class DoesNotAskForTheTask(Asking):
    """The jobs of all tasks are shown."""

    def meant(self, where: Where) -> Where:
        return replace(where, task=None)


@planted(LISTS)
class DoesNotAskForTheWorker(Asking):
    """The jobs of all workers are shown."""

    def meant(self, where: Where) -> Where:
        return replace(where, worker=None)


@planted(LISTS)
class DoesNotAskForTheError(Asking):
    """Jobs with other errors are shown as well."""

    def meant(self, where: Where) -> Where:
        return replace(where, error=None)


@planted(LISTS)
class SpansBeginBehindTheirBeginning(Asking):
    """What happened at the instant a span begins is not in it."""

    def meant(self, where: Where) -> Where:
        return _moved(where, since=timedelta(milliseconds=1))


@planted(LISTS)
class SpansHoldTheirEnd(Asking):
    """What happened at the instant a span ends is in it, and in the next one."""

    def meant(self, where: Where) -> Where:
        return _moved(where, until=timedelta(milliseconds=1))


@planted(LISTS)
class SpansAreInWholeSeconds(Asking):
    """Milliseconds are not compared."""

    def meant(self, where: Where) -> Where:
        spans = {name: getattr(where, name) for name in ("created", "started", "ended")}
        whole = {
            name: replace(span, since=_whole(span.since)) for name, span in spans.items() if span is not None
        }
        return replace(where, **whole)


def _whole(at: datetime | None) -> datetime | None:
    return at and at.replace(microsecond=0)


def _moved(where: Where, **by: timedelta) -> Where:
    found = {}
    for name in ("created", "started", "ended"):
        span: Span | None = getattr(where, name)
        if span is not None:
            moved = {end: at + step for end, step in by.items() if (at := getattr(span, end)) is not None}
            found[name] = replace(span, **moved)
    return replace(where, **found)


@planted(LISTS)
class StartsAreCreations(Asking):
    """Jobs are asked when they were created instead of when they started."""

    def meant(self, where: Where) -> Where:
        return where if where.started is None else replace(where, started=None, created=where.started)


@planted(LISTS)
class ErrorsIgnoreCase(Asking):
    """The store compares texts without regard to case."""

    def meant(self, where: Where) -> Where:
        return replace(where, error=where.error and where.error.replace("value", "Value"))


@planted(LISTS)
class ErrorsArePatterns(Asking):
    """A percent sign stands for anything."""

    def meant(self, where: Where) -> Where:
        return replace(where, error=where.error and where.error.partition("%")[0])


@planted("test_what_never_happened_lies_in_no_span")
class AnOpenSpanHoldsEverything(Asking):
    """A span without ends is no question, though what it asks about never happened."""

    def meant(self, where: Where) -> Where:
        return replace(
            where, **{name: None for name in ("started", "ended") if getattr(where, name) == Span()}
        )


@planted("test_a_worker_is_asked_for_while_its_job_runs_and_after")
class AsksWhoRunsNow(Unbroken):
    """A worker's jobs are found only while they run."""

    def list(self, request: List) -> Page:
        page = super().list(request)
        asked = request.where is not None and request.where.worker is not None
        return replace(page, heads=[]) if asked and request.state is not State.RUNNING else page


@planted("test_tag_and_head_are_asked_for_together")
class TagsAreForgottenBesideAFilter(Unbroken):
    """A filter replaces the tag."""

    def list(self, request: List) -> Page:
        return super().list(request if request.where is None else replace(request, tag=None))


# Pages


@planted("test_newest_is_the_reverse")
class NewestIsForgotten(Unbroken):
    """A listing begins at the usual end."""

    def list(self, request: List) -> Page:
        return super().list(replace(request, newest=False))


@planted("test_newest_is_the_reverse")
class NewestWithinAPage(Unbroken):
    """Each page is reversed, and the first one is shown first."""

    def list(self, request: List) -> Page:
        page = super().list(replace(request, newest=False))
        return replace(page, heads=page.heads[::-1]) if request.newest else page


@planted("test_newest_is_the_reverse")
class NewestIsTheReverseWithoutATag(Unbroken):
    """A listing by tag has one direction."""

    def list(self, request: List) -> Page:
        return super().list(replace(request, newest=request.newest and request.tag is None))


@planted("test_newest_is_the_reverse_of_priorities_and_places")
class TheNewestOfThePriority(Unbroken):
    """The newest are shown by priority, too, and only their places are reversed."""

    def list(self, request: List) -> Page:
        page = super().list(request)
        by_priority = sorted(page.heads, key=lambda head: -head.priority)
        return replace(page, heads=by_priority) if request.newest and request.state is State.QUEUED else page


@planted("test_newest_begins_with_jobs_without_a_deadline")
class NewestLeavesOutWhatHasNoDeadline(Unbroken):
    """Jobs without a deadline stand last, from either end."""

    def list(self, request: List) -> Page:
        page = super().list(request)
        if not request.newest:
            return page
        return replace(page, heads=sorted(page.heads, key=lambda head: head.due_at is None))


@planted("test_a_page_is_at_most_as_long_as_asked_for")
class LimitsAreForgotten(Unbroken):
    """A page is always a batch."""

    def list(self, request: List) -> Page:
        return super().list(replace(request, limit=None))


@planted("test_a_page_is_at_most_as_long_as_asked_for")
class LimitsAreForgottenBesideAFilter(Unbroken):
    """A page of what is asked for is always a batch."""

    def list(self, request: List) -> Page:
        return super().list(request if request.where is None else replace(request, limit=None))


@planted("test_a_page_looks_at_a_bounded_number_of_heads")
class LooksAtAllHeads(Unbroken):
    """A filter that finds nothing looks at a million jobs in one call."""

    def list(self, request: List) -> Page:
        page = super().list(request)
        while request.where is not None and not page.heads and page.cursor is not None:
            page = super().list(replace(request, cursor=page.cursor))
        return page


@planted("test_a_page_looks_at_a_bounded_number_of_heads")
class EndsAtAnEmptyPage(Unbroken):
    """A page on which nothing was found says that it is the last one."""

    def list(self, request: List) -> Page:
        page = super().list(request)
        return page if page.heads else replace(page, cursor=None)


@planted("test_a_job_that_stays_put_is_found_once_while_others_come_and_go")
class CountsPagesFromTheOtherEnd(Unbroken):
    """The pages of the newest begin a number of jobs before the last, and overlap as others arrive."""

    def list(self, request: List) -> Page:
        if not request.newest:
            return super().list(request)
        start, limit = int(request.cursor or 0), request.limit or self.limits.batch
        whole = super().list(replace(request, cursor=None, limit=None))
        more = len(whole.heads) > start + limit
        return Page(heads=whole.heads[start : start + limit], cursor=str(start + limit) if more else None)


@planted("test_a_claim_between_two_pages_hides_no_job")
class PagesAreCountedFromTheFront(Unbroken):
    """The newest are found by their number from the front, and those of the next page move up with each claim."""

    def list(self, request: List) -> Page:
        if not request.newest or request.tag is not None or request.where is not None:
            return super().list(request)
        index = self._shelves[request.queue].index[request.state]
        end = len(index) if request.cursor is None else min(int(request.cursor), len(index))
        start = max(0, end - (request.limit or self.limits.batch))
        found = self._shelves[request.queue].first(request.state, end)[start:]
        return Page(heads=[head_of(one) for one in found[::-1]], cursor=str(start) if start else None)
