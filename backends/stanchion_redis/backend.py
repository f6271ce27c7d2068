"""The Redis backend: one atomic script for each verb, on Redis 6.2 or newer and Valkey."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from redis.exceptions import NoScriptError, ReadOnlyError, RedisError

from stanchion.contract.answers import CheckPage, Claimed, Counts, Due, Inserted, Page
from stanchion.contract.backend import Clock, Limits, Topic
from stanchion.errors import BackendError
from stanchion.model.changes import Applied, Change, Refused
from stanchion.model.queues import QueueSettings
from stanchion.model.records import Item, Record
from stanchion.model.states import State
from stanchion_redis.connections import DEADLINE, AsyncLane, Clients, Lane
from stanchion_redis.lua import SCRIPTS
from stanchion_redis.operations import LIMITS, Operations, Script, Sent
from stanchion_redis.servers import Inspection, translated, translating
from stanchion_redis.urls import split_url
from stanchion_redis.watching import AsyncRedisWatch, AsyncWatching, RedisWatch, Subscription, Watching

T = TypeVar("T")

SLICE: Final = timedelta(seconds=5)
"""The longest that one blocking read lasts, so that a connection that died unnoticed is found out."""


class RedisBackend:
    """The verbs over a sync client.

    Args:
        url: Where the server is.

        namespace: What all keys begin with.

        clock: For tests: the time, instead of the server's.

        deadline: How long a call may take.

        clients: For tests: makes connections, instead of those to the URL's server.
    """

    def __init__(
        self,
        url: str,
        *,
        namespace: str,
        clock: Clock | None = None,
        deadline: timedelta = DEADLINE,
        clients: Clients | None = None,
    ) -> None:
        self._url, self._namespace, self._clock = url, namespace, clock
        options, allow_eviction = split_url(url)
        self._clients = clients or Clients(options)
        self._inspection = Inspection(url, allow_eviction)
        self._deadline = deadline
        self._lane = Lane(self._clients.sync(deadline), deadline)
        self._waiting = Lane(self._clients.sync(SLICE + deadline), SLICE + deadline)
        self._watching = Watching(self._clients.sync(deadline), deadline)
        self._operations = Operations(namespace, clock)
        self._closed = False

    @property
    def limits(self) -> Limits:
        return LIMITS

    def insert(self, items: Sequence[Item]) -> Sequence[Inserted]:
        return self._run(self._operations.insert(items), enqueues=True)

    def claim(
        self, queues: Sequence[str], *, limit: int, claim_id: str, worker: str, lease: timedelta
    ) -> Claimed:
        return self._run(self._operations.claim(queues, limit, claim_id, worker, lease))

    def apply(self, changes: Sequence[Change]) -> Sequence[Applied | Refused]:
        return self._run(self._operations.apply(changes))

    def due(self, queues: Sequence[str], limit: int) -> Due:
        return self._run(self._operations.due(queues, limit))

    def get(self, ids: Sequence[str]) -> Sequence[Record | None]:
        return self._run(self._operations.get(ids))

    def list(self, queue: str, state: State, cursor: str | None = None) -> Page:
        return self._run(self._operations.list(queue, state, cursor))

    def count(self, queues: Sequence[str]) -> Mapping[str, Counts]:
        return self._run(self._operations.count(queues))

    def queues(self) -> Mapping[str, QueueSettings]:
        return self._run(self._operations.queues())

    def quarantined(self, queues: Sequence[str]) -> Mapping[str, int]:
        """See `stanchion.contract.backend.Quarantines`."""
        return self._run(self._operations.quarantined(queues))

    def configure(self, queue: str, settings: QueueSettings) -> None:
        self._run(self._operations.configure(queue, settings))

    def forget(self, queue: str) -> bool:
        return self._run(self._operations.forget(queue))

    def now(self) -> datetime:
        return self._run(self._operations.now())

    def check(self, queue: str, cursor: str | None = None) -> CheckPage:
        return self._run(self._operations.check(queue, cursor))

    def wait(self, queues: Sequence[str], timeout: timedelta) -> bool:
        keys = [self._operations.keys.wake(queue) for queue in queues]
        end = time.monotonic() + timeout.total_seconds()
        with translating(self._url), self._woken_by_clock(keys):
            while not self._closed:
                try:
                    if self._waiting.send("BLPOP", *keys, _slice(end)) is not None:
                        return True
                except Exception:  # whatever comes of a socket that `close` took away
                    if not self._closed:
                        raise
                if time.monotonic() >= end:
                    break
        return False

    @contextmanager
    def _woken_by_clock(self, keys: Sequence[str]) -> Iterator[None]:
        """While entered, wakes whenever a test moves its clock."""
        end = self._clock.subscribe(lambda: self._lane.send("LPUSH", keys[0], "1")) if self._clock else None
        try:
            yield
        finally:
            if end is not None:
                end()

    def watch(self, queues: Sequence[str], topic: Topic) -> RedisWatch:
        """See `stanchion.contract.backend.WatchesJobs`."""
        with translating(self._url):
            return RedisWatch(self._watching, Subscription(self._operations.keys, queues, topic))

    def to_async(self) -> "AsyncRedisBackend":
        """See `stanchion.contract.backend.HasAsync`."""
        return AsyncRedisBackend(self)

    def within(self, deadline: timedelta) -> "RedisBackend":
        """See `stanchion.contract.backend.HasDeadlines`."""
        twin = RedisBackend(
            self._url, namespace=self._namespace, clock=self._clock, deadline=deadline, clients=self._clients
        )
        twin._inspection = self._inspection
        return twin

    def close(self) -> None:
        self._closed = True
        self._lane.close()
        self._waiting.close()

    def _run(self, sent: Sent[T], *, enqueues: bool = False) -> T:
        if self._closed:
            raise BackendError("this backend is closed")
        reply: Any = None
        try:
            inspection = self._inspection
            if inspection.again_at < time.monotonic() or (enqueues and inspection.evicts):
                inspection.conclude(self._lane.send("INFO"), enqueues=enqueues)
            while True:
                step = sent.send(reply)
                reply = self._evaluate(step) if isinstance(step, Script) else self._lane.send(*step.args)
        except StopIteration as end:
            result: T = end.value
            return result
        except (RedisError, OSError) as error:
            if isinstance(error, ReadOnlyError):
                self._inspection.begin()
            raise translated(error, self._url) or error from error

    def _evaluate(self, script: Script) -> Any:
        text, sha = SCRIPTS[script.name]
        rest = (str(len(script.keys)), *script.keys, *script.args)
        try:
            return self._lane.send("EVALSHA", sha, *rest)
        except NoScriptError:
            return self._lane.send("EVAL", text, *rest)


class AsyncRedisBackend:
    """The verbs over an async client, for one loop: the twin of a `RedisBackend`."""

    def __init__(self, twin: RedisBackend) -> None:
        self._twin, self._url, self._inspection = twin, twin._url, twin._inspection
        connect, deadline = twin._clients.asynchronous(twin._deadline), twin._deadline
        self._lane = AsyncLane(connect, deadline)
        self._waiting = AsyncLane(connect, SLICE + deadline)
        self._watching = AsyncWatching(connect, deadline)
        self._operations = Operations(twin._namespace, twin._clock)
        self._closed = False

    @property
    def limits(self) -> Limits:
        return LIMITS

    async def insert(self, items: Sequence[Item]) -> Sequence[Inserted]:
        return await self._run(self._operations.insert(items), enqueues=True)

    async def claim(
        self, queues: Sequence[str], *, limit: int, claim_id: str, worker: str, lease: timedelta
    ) -> Claimed:
        return await self._run(self._operations.claim(queues, limit, claim_id, worker, lease))

    async def apply(self, changes: Sequence[Change]) -> Sequence[Applied | Refused]:
        return await self._run(self._operations.apply(changes))

    async def due(self, queues: Sequence[str], limit: int) -> Due:
        return await self._run(self._operations.due(queues, limit))

    async def get(self, ids: Sequence[str]) -> Sequence[Record | None]:
        return await self._run(self._operations.get(ids))

    async def list(self, queue: str, state: State, cursor: str | None = None) -> Page:
        return await self._run(self._operations.list(queue, state, cursor))

    async def count(self, queues: Sequence[str]) -> Mapping[str, Counts]:
        return await self._run(self._operations.count(queues))

    async def queues(self) -> Mapping[str, QueueSettings]:
        return await self._run(self._operations.queues())

    async def configure(self, queue: str, settings: QueueSettings) -> None:
        await self._run(self._operations.configure(queue, settings))

    async def forget(self, queue: str) -> bool:
        return await self._run(self._operations.forget(queue))

    async def now(self) -> datetime:
        return await self._run(self._operations.now())

    async def check(self, queue: str, cursor: str | None = None) -> CheckPage:
        return await self._run(self._operations.check(queue, cursor))

    async def wait(self, queues: Sequence[str], timeout: timedelta) -> bool:
        keys = [self._operations.keys.wake(queue) for queue in queues]
        end = time.monotonic() + timeout.total_seconds()
        with translating(self._url), self._twin._woken_by_clock(keys):
            while not self._closed:
                try:
                    if await self._waiting.send("BLPOP", *keys, _slice(end)) is not None:
                        return True
                except Exception:  # whatever comes of a socket that `close` took away
                    if not self._closed:
                        raise
                if time.monotonic() >= end:
                    break
        return False

    async def watch(self, queues: Sequence[str], topic: Topic) -> AsyncRedisWatch:
        """See `stanchion.contract.backend.WatchesJobs`."""
        with translating(self._url):
            subscription = Subscription(self._operations.keys, queues, topic)
            return await AsyncRedisWatch.open(self._watching, subscription)

    async def close(self) -> None:
        self._closed = True
        await self._lane.close()
        await self._waiting.close()

    async def _run(self, sent: Sent[T], *, enqueues: bool = False) -> T:
        if self._closed:
            raise BackendError("this backend is closed")
        reply: Any = None
        try:
            inspection = self._inspection
            if inspection.again_at < time.monotonic() or (enqueues and inspection.evicts):
                inspection.conclude(await self._lane.send("INFO"), enqueues=enqueues)
            while True:
                step = sent.send(reply)
                reply = await (
                    self._evaluate(step) if isinstance(step, Script) else self._lane.send(*step.args)
                )
        except StopIteration as end:
            result: T = end.value
            return result
        except (RedisError, OSError) as error:
            if isinstance(error, ReadOnlyError):
                self._inspection.begin()
            raise translated(error, self._url) or error from error

    async def _evaluate(self, script: Script) -> Any:
        text, sha = SCRIPTS[script.name]
        rest = (str(len(script.keys)), *script.keys, *script.args)
        try:
            return await self._lane.send("EVALSHA", sha, *rest)
        except NoScriptError:
            return await self._lane.send("EVAL", text, *rest)


def _slice(end: float) -> str:
    """How long the next blocking read lasts, in seconds; zero would mean for ever."""
    return f"{max(0.001, min(end - time.monotonic(), SLICE.total_seconds())):.3f}"
