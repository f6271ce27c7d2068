"""The verbs that create jobs and move them."""

from collections.abc import Sequence
from typing import Any, Final

from stanchion.contract.answers import Claimed, Inserted
from stanchion.contract.requests import Apply, Claim, Insert
from stanchion.errors import BackendError
from stanchion.model.changes import HISTORY, Applied, Refusal, Refused, remembered
from stanchion.model.records import Head, Item
from stanchion.model.states import State
from stanchion_redis.arguments import Plan, item_arguments, planned, queue_argument
from stanchion_redis.keys import grouped
from stanchion_redis.operations import BATCH, BYTES, Arguments, Namespace, Script, Sent
from stanchion_redis.replies import claimed, due_of, head, history
from stanchion_redis.wire import from_ms, instant_of, span_ms, to_ms


class Moving(Namespace):
    """See `stanchion.contract.backend.Verbs`."""

    def insert(self, request: Insert) -> Sent[Sequence[Inserted]]:
        if not request.items:
            return []
        queues, places = grouped([item.id for item in request.items])
        registered = yield from self._register(queues)
        args: Arguments = []
        if len(queues) == 1:
            args.append(queue_argument(request.items))
            for item, (_, key) in zip(request.items, places, strict=True):
                args += item_arguments(key, item)
        else:
            args += _of_several(len(queues), request.items, places)
        now_ms, new, *replies = yield Script("insert", self.keys.bases(queues), [self._now(), *args])
        if new:
            yield from self._register_again([queues[number - 1] for number in new], registered)
        now = instant_of(now_ms)
        created = Inserted(True, None, now)
        return [created if reply == 1 else Inserted(False, _holder(queues, reply), now) for reply in replies]

    def claim(self, request: Claim) -> Sent[Claimed]:
        queues = request.queues
        args: Arguments = [
            self._now(),
            str(request.limit),
            request.claim_id,
            request.worker,
            str(span_ms(request.lease)),
            BATCH,
            BYTES,
            str(max(1, span_ms(remembered(request.lease)))),
        ]
        now_ms, more, next_due, replies, quarantined = yield Script("claim", self.keys.bases(queues), args)
        self._warn_of(quarantined)
        now = instant_of(now_ms)
        instants = {ms: due_of(ms) for reply in replies for ms in reply[4:6]}
        return Claimed(
            records=[
                claimed(id_of(queues, reply), reply, request.claim_id, request.worker, instants)
                for reply in replies
            ],
            now=now,
            ask_again_at=now if more else from_ms(next_due) if next_due != b"" else None,
        )

    def apply(self, request: Apply) -> Sent[Sequence[Applied | Refused]]:
        changes = request.changes
        if not changes:
            return []
        queues, places = grouped([change.job_id for change in changes])
        plans: dict[Plan, str] = {}
        indexes: dict[tuple[str, State], None] = {}
        args: Arguments = []
        for change, (number, key) in zip(changes, places, strict=True):
            plan, values = planned(change)
            of = str(number)
            args += (of, key, plans.setdefault(plan, str(len(plans) + 1)), change.claim or "")
            args.append("" if change.created_at is None else str(to_ms(change.created_at)))
            args += ("" if change.revision is None else str(change.revision), *values)
            indexes[of, change.state] = None
            if change.move.to is not None:
                indexes[of, change.move.to] = None
        touched = [part for index in indexes for part in index]
        common = [part for plan in plans for part in plan]
        first = [self._now(), str(len(indexes)), *touched, str(len(plans)), *common]
        now_ms, quarantined, *replies = yield Script("apply", self.keys.bases(queues), [*first, *args])
        self._warn_of(quarantined)
        now = instant_of(now_ms)
        return [
            Applied(now, reply) if isinstance(reply, int) else _refused(change.job_id, reply)
            for change, reply in zip(changes, replies, strict=True)
        ]

    def _register_again(self, new: Sequence[str], registered: Sequence[str]) -> Sent[None]:
        """Write queues that did not exist, though we had registered them before: the store was emptied."""
        gone = [queue for queue in new if queue not in registered]
        if gone:
            yield from self._write_again(gone)

    def _write_again(self, queues: Sequence[str]) -> Sent[None]:
        for queue in queues:
            self._registered.pop(queue, None)
        yield from self._register(queues)


def _of_several(queues: int, items: Sequence[Item], places: Sequence[tuple[int, str]]) -> Arguments:
    """Return jobs of several queues as insert.lua takes them."""
    by_queue: list[list[Item]] = [[] for _ in range(queues)]
    args: Arguments = []
    for item, (number, key) in zip(items, places, strict=True):
        by_queue[number - 1].append(item)
        args += (str(number), *item_arguments(key, item))
    return [*map(queue_argument, by_queue), *args]


def id_of(queues: Sequence[str], reply: Sequence[Any]) -> str:
    """Return the id of the job that a reply begins with.

    Args:
        queues: The queues that were asked.

        reply: Begins with its queue's number and its key.

    Returns:
        The id, damaged as it may be.
    """
    return f"{queues[reply[0] - 1]}:{reply[1].decode('utf-8', 'replace')}"


_SHORT: Final = 2
"""How long a reply is that names a job which cannot be read."""


def _holder(queues: Sequence[str], reply: Sequence[Any]) -> Head:
    """Return the job that holds an id or a unique key.

    Raises:
        BackendError: It cannot be read.
    """
    job_id = id_of(queues, reply)
    if len(reply) == _SHORT:
        raise BackendError(
            f"cannot create a job: {job_id} has its id or its unique key and cannot be read; "
            f"see `stanchion check {queues[reply[0] - 1]}`"
        )
    return head(job_id, reply[3], reply[2])


def _refused(job_id: str, reply: Sequence[Any]) -> Refused:
    word, score, *flat = reply
    if not flat:
        return Refused(Refusal(word.decode()), None)
    return Refused(Refusal(word.decode()), head(job_id, flat[0], score), history(flat[0], HISTORY))
