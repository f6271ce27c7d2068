"""The verbs, each written once: generators that yield what is to be sent and are sent the reply.

A few lines of `backend.py` drive them for the sync client, a few others for the async one.
"""

import time
from collections.abc import Generator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, TypeVar

from stanchion.contract.answers import CheckPage, Claimed, Counts, Due, Fault, Finding, Inserted, Page
from stanchion.contract.backend import Clock, Limits
from stanchion.errors import BackendError, InvalidArgument
from stanchion.errors.logs import logger
from stanchion.model.changes import Applied, Change, Refusal, Refused, remembered
from stanchion.model.queues import QueueSettings, check_name
from stanchion.model.records import Item, Record
from stanchion.model.states import State
from stanchion_redis.keys import Keys, grouped
from stanchion_redis.wire import (
    Argument,
    Plan,
    claimed,
    from_ms,
    item_arguments,
    planned,
    record,
    span_ms,
    to_ms,
)

T = TypeVar("T")
Arguments = list[Argument]

_log: Final = logger("stanchion.redis")

LIMITS: Final = Limits(batch=100, local=False)
"""A hundred jobs keep every script well under a millisecond or two, and the round trip's share of each small."""

_BATCH: Final = str(LIMITS.batch)
_BYTES: Final = str(LIMITS.bytes)

REGISTERED: Final = 60.0
"""Seconds after which a queue is written to the registry again, in case somebody removed it."""

_PARTS: Final = (*[state.value for state in State], "quarantine", "unique", "records")


class Script(NamedTuple):
    """Run a script."""

    name: str
    keys: list[str]
    args: list[Argument]


class Command(NamedTuple):
    """Send a command."""

    args: tuple[Argument, ...]


Sent = Generator[Script | Command, Any, T]


class Operations:
    """The verbs for one namespace."""

    def __init__(self, namespace: str, clock: Clock | None) -> None:
        self.keys = Keys(namespace)
        self._clock = clock
        self._registered: dict[str, float] = {}

    def _now(self) -> Argument:
        return "" if self._clock is None else str(to_ms(self._clock.now()))

    def insert(self, items: Sequence[Item]) -> Sent[Sequence[Inserted]]:
        if not items:
            return []
        queues, places = grouped([item.id for item in items])
        registered = yield from self._register(queues)
        counts = [0, 0, 0] * len(queues)
        args: Arguments = []
        for item, (number, key) in zip(items, places, strict=True):
            counts[3 * number - (3 if item.state is State.QUEUED else 2)] += 1
            counts[3 * number - 1] += item.unique is not None
            args += item_arguments(number, key, item)
        new, *replies = yield Script(
            "insert", self.keys.bases(queues), [self._now(), *map(str, counts), *args]
        )
        if new:
            yield from self._register_again([queues[number - 1] for number in new], registered)
        return [_CREATED if reply == 1 else Inserted(False, _holder(queues, reply)) for reply in replies]

    def claim(
        self, queues: Sequence[str], limit: int, claim_id: str, worker: str, lease: timedelta
    ) -> Sent[Claimed]:
        kept = max(1, span_ms(remembered(lease)))
        args: Arguments = [
            self._now(),
            str(limit),
            claim_id,
            worker,
            str(span_ms(lease)),
            _BATCH,
            _BYTES,
            str(kept),
        ]
        now, more, next_due, replies, quarantined = yield Script("claim", self.keys.bases(queues), args)
        self._tell_of(quarantined)
        instants = {ms: from_ms(ms) for reply in replies for ms in reply[4:6]}
        return Claimed(
            records=[
                claimed(
                    f"{queues[reply[0] - 1]}:{reply[1].decode('utf-8', 'replace')}",
                    reply,
                    claim_id,
                    worker,
                    instants,
                )
                for reply in replies
            ],
            now=from_ms(now),
            more=bool(more),
            next_due_at=from_ms(next_due) if next_due else None,
        )

    def apply(self, changes: Sequence[Change]) -> Sent[Sequence[Applied | Refused]]:
        if not changes:
            return []
        queues, places = grouped([change.job_id for change in changes])
        plans: dict[Plan, str] = {}
        indexes: dict[tuple[str, str], None] = {}
        args: Arguments = []
        for change, (number, key) in zip(changes, places, strict=True):
            plan, values = planned(change)
            of = str(number)
            args += (of, key, plans.setdefault(plan, str(len(plans) + 1)), change.claim or "")
            args.append("" if change.created_at is None else str(to_ms(change.created_at)))
            args += ("" if change.revision is None else str(change.revision), *values)
            indexes[of, change.state.value] = None
            indexes[of, (change.move.to or change.state).value] = None
        touched = [part for index in indexes for part in index]
        common = [part for plan in plans for part in plan]
        head = [self._now(), str(len(indexes)), *touched, str(len(plans)), *common]
        replies = yield Script("apply", self.keys.bases(queues), [*head, *args])
        now = from_ms(replies[0])
        self._tell_of(replies[1])
        return [
            Applied(now, reply) if isinstance(reply, int) else _refused(change.job_id, reply)
            for change, reply in zip(changes, replies[2:], strict=True)
        ]

    def due(self, queues: Sequence[str], limit: int) -> Sent[Due]:
        replies = yield Script("due", self.keys.bases(queues), [self._now(), str(limit), _BYTES])
        now, more, quarantined, *found = replies
        self._tell_of(quarantined)
        records = [record for reply in found if (record := _found(queues, reply))]
        return Due(now=from_ms(now), records=records, more=bool(more))

    def get(self, ids: Sequence[str]) -> Sent[Sequence[Record | None]]:
        if not ids:
            return []
        queues, places = grouped(ids)
        args: Arguments = [part for number, key in places for part in (str(number), key)]
        replies = yield Script("get", self.keys.bases(queues), args)
        return [None if reply == 0 else _found(queues, reply) for reply in replies]

    def list(self, queue: str, state: State, cursor: str | None) -> Sent[Page]:
        score, _, key = (cursor or "").partition(" ")
        more, *replies = yield Script(
            "list", [self.keys.base(queue)], [state.value, _BATCH, score, key, _BYTES]
        )
        last = replies[-1] if more else None
        return Page(
            records=[found for reply in replies if (found := _found([queue], reply))],
            cursor=f"{last[2].decode()} {last[1].decode('utf-8', 'surrogateescape')}" if last else None,
        )

    def count(self, queues: Sequence[str]) -> Sent[Mapping[str, Counts]]:
        replies = yield Script("count", self.keys.bases(queues), [])
        return {
            queue: dict(zip(State, counts, strict=False))
            for queue, counts in zip(queues, replies, strict=True)
        }

    def quarantined(self, queues: Sequence[str]) -> Sent[Mapping[str, int]]:
        replies = yield Script("count", self.keys.bases(queues), [])
        return {queue: counts[-1] for queue, counts in zip(queues, replies, strict=True)}

    def queues(self) -> Sent[Mapping[str, QueueSettings]]:
        members = yield Command(("SMEMBERS", self.keys.registry))
        names = sorted(name for member in members if (name := _name(member)))
        paused = yield Script("queues", self.keys.bases(names), [])
        return {name: QueueSettings(paused=is_1 == b"1") for name, is_1 in zip(names, paused, strict=True)}

    def configure(self, queue: str, settings: QueueSettings) -> Sent[None]:
        self._registered.pop(queue, None)
        yield from self._register([queue])
        yield Script("configure", [self.keys.base(queue)], ["1" if settings.paused else ""])

    def forget(self, queue: str) -> Sent[bool]:
        if not (yield Script("forget", [self.keys.base(queue)], [])):
            return False
        self._registered.pop(queue, None)
        exists = Command(("EXISTS", self.keys.base(queue)))  # somebody may make it anew at any time
        if not (yield exists):
            yield Command(("SREM", self.keys.registry, queue))
            if (yield exists):  # and registered it too early
                yield from self._register([queue])
        return True

    def now(self) -> Sent[datetime]:
        if self._clock is not None:
            return self._clock.now()
        seconds, micros = yield Command(("TIME",))
        return from_ms(int(seconds) * 1000 + int(micros) // 1000)

    def check(self, queue: str, cursor: str | None) -> Sent[CheckPage]:
        part, _, position = (cursor or f"{_PARTS[0]} 0").partition(" ")
        args: Arguments = [part, position, _BATCH]
        scanned = None
        if part == "records":
            prefix = self.keys.job(queue)
            pattern = _literal(prefix) + "*"
            scanned, names = yield Command(("SCAN", position, "MATCH", pattern, "COUNT", _BATCH))
            args += [name[len(prefix) :] for name in names]
        next_page, *found = yield Script("check", [self.keys.base(queue)], args)
        more = (next_page if scanned is None else scanned).decode()
        following = _PARTS[_PARTS.index(part) + 1 :]
        after = f"{part} {more}" if more != "0" else f"{following[0]} 0" if following else None
        return CheckPage(findings=_findings(queue, found), cursor=after)

    def _register(self, queues: Sequence[str]) -> Sent[Sequence[str]]:
        """Write queues to the registry, which lies in another slot, before their first job and each minute.

        Returns:
            The queues that were written.
        """
        now = time.monotonic()
        new = [queue for queue in queues if now - self._registered.get(queue, -REGISTERED) >= REGISTERED]
        if new:
            yield Command(("SADD", self.keys.registry, *new))
            self._registered.update(dict.fromkeys(new, now))
        return new

    def _register_again(self, new: Sequence[str], registered: Sequence[str]) -> Sent[None]:
        """Write queues that did not exist, though we had registered them before: somebody emptied the store."""
        gone = [queue for queue in new if queue not in registered]
        if gone:
            yield Command(("SADD", self.keys.registry, *gone))

    def _tell_of(self, quarantined: Sequence[bytes]) -> None:
        for base, key in zip(quarantined[::2], quarantined[1::2], strict=True):
            queue, name = self.keys.queue_of(base.decode()), key.decode("utf-8", "backslashreplace")
            _log.warning(
                "%s:%s cannot be read and is quarantined; see `stanchion check %s`", queue, name, queue
            )


_CREATED: Final = Inserted(True, None)


def _found(queues: Sequence[str], reply: Sequence[Any]) -> Record | None:
    _, _, score, *flat = reply
    return record(_id(queues, reply), flat, score) if flat and score else None


def _holder(queues: Sequence[str], reply: Sequence[Any]) -> Record:
    """The job that holds an id or a unique key.

    Raises:
        BackendError: It cannot be read.
    """
    found = _found(queues, reply) if len(reply) > 2 else None
    if found is None:
        job_id = _id(queues, reply)
        raise BackendError(
            f"cannot create a job: {job_id} has its id or its unique key and cannot be read; "
            f"see `stanchion check {queues[reply[0] - 1]}`"
        )
    return found


def _name(member: bytes) -> str | None:
    """The name of a queue; `None` if somebody wrote what is none to the registry."""
    try:
        return check_name(member.decode())
    except (UnicodeDecodeError, InvalidArgument):
        return None


def _id(queues: Sequence[str], reply: Sequence[Any]) -> str:
    """The id of the job that a reply begins with: its queue's number and its key, damaged as that may be."""
    return f"{queues[reply[0] - 1]}:{reply[1].decode('utf-8', 'replace')}"


def _refused(job_id: str, reply: Sequence[bytes]) -> Refused:
    word, score, *flat = reply
    return Refused(Refusal(word.decode()), record(job_id, flat, score) if flat else None)


def _findings(queue: str, flat: Sequence[bytes]) -> list[Finding]:
    texts = [one.decode("utf-8", "replace") for one in flat]
    return [
        Finding(fault=Fault(fault), where=f"{queue}:{where}", detail=detail)
        for fault, where, detail in zip(texts[::3], texts[1::3], texts[2::3], strict=True)
    ]


def _literal(text: str) -> str:
    """A text as a pattern that matches just it."""
    return "".join(f"\\{char}" if char in r"*?[]\^-" else char for char in text)
