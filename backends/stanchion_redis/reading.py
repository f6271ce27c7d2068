"""The verbs that find jobs, read them and count them."""

from collections.abc import Mapping, Sequence
from typing import Any

from stanchion.contract.answers import Counts, Due, Page
from stanchion.contract.paging import size_of_page
from stanchion.contract.requests import Count, FindDue, Get, List, ReadLedger
from stanchion.model.ledger import Books, Snapshots, minute_of, thinned
from stanchion.model.records import Head, Record
from stanchion_redis.arguments import where_arguments
from stanchion_redis.keys import grouped
from stanchion_redis.moving import id_of
from stanchion_redis.operations import BYTES, LIMITS, Arguments, Namespace, Script, Sent
from stanchion_redis.replies import counts, head, record, snapshots, totals
from stanchion_redis.wire import instant_of


class Reading(Namespace):
    """See `stanchion.contract.backend.Verbs`."""

    def due(self, request: FindDue) -> Sent[Due]:
        args: Arguments = [self._now(), str(request.limit), BYTES]
        now_ms, more, quarantined, *found = yield Script("due", self.keys.bases(request.queues), args)
        self._warn_of(quarantined)
        heads = [_head(request.queues, reply) for reply in found]
        return Due(now=instant_of(now_ms), heads=heads, more=bool(more))

    def get(self, request: Get) -> Sent[Sequence[Record | None]]:
        if not request.ids:
            return []
        queues, places = grouped(request.ids)
        args: Arguments = [part for number, key in places for part in (str(number), key)]
        replies = yield Script("get", self.keys.bases(queues), args)
        return [None if reply == 0 else record(id_of(queues, reply), reply[3], reply[2]) for reply in replies]

    def list(self, request: List) -> Sent[Page]:
        score, _, key = (request.cursor or "").partition(" ")
        size = size_of_page(request, LIMITS)
        looks = size if request.where is None else LIMITS.looks
        args: Arguments = [
            request.state.value,
            str(size),
            score,
            key.encode("utf-8", "surrogateescape"),
            BYTES,
            "1" if request.newest else "",
            request.tag or "",
            str(looks),
            *where_arguments(request.where),
        ]
        score, last, *found = yield Script("list", [self.keys.base(request.queue)], args)
        cursor = f"{score.decode()} {last.decode('utf-8', 'surrogateescape')}" if score else None
        return Page(heads=[_head([request.queue], reply) for reply in found], cursor=cursor)

    def count(self, request: Count) -> Sent[Mapping[str, Counts]]:
        replies = yield Script("count", self.keys.bases(request.queues), [request.tag or ""])
        return {queue: counts(numbers) for queue, numbers in zip(request.queues, replies, strict=True)}

    def quarantined(self, queues: Sequence[str]) -> Sent[Mapping[str, int]]:
        replies = yield Script("count", self.keys.bases(queues), [""])
        return {queue: numbers[-1] for queue, numbers in zip(queues, replies, strict=True)}

    def ledger(self, request: ReadLedger) -> Sent[Books]:
        since = "" if request.since is None else str(minute_of(request.since))
        args: Arguments = [self._now(), since, "1" if request.hourly else ""]
        now_ms, minute, rows, _, texts = yield Script("ledger", [self.keys.base(request.queue)], args)
        found = snapshots(texts)
        kept = Snapshots(thinned(found, found[-1].minute) if found else [])
        return Books(
            now=instant_of(now_ms),
            minute=minute,
            totals=totals(rows),
            snapshots=kept.read(request.since),
        )


def _head(queues: Sequence[str], reply: Sequence[Any]) -> Head:
    return head(id_of(queues, reply), reply[3], reply[2])
