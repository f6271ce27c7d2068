"""The Redis backend: one atomic script for each verb, on Redis 6.2 or newer and Valkey."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

import redis
import redis.asyncio
from redis.exceptions import NoScriptError

from stanchion.backend import Clock, Limits, Topic
from stanchion.changes import Applied, Change, Refused
from stanchion.errors import BackendError
from stanchion.jobs import Item, Record
from stanchion.queries import CheckPage, Claimed, Counts, Due, Inserted, Page
from stanchion.queues import QueueSettings
from stanchion.states import State
from stanchion_redis.connections import DEADLINE, connect, connect_async, inspect_server, split_url, translating
from stanchion_redis.operations import LIMITS, SCRIPTS, Operations, Script, Sent
from stanchion_redis.watching import AsyncRedisWatch, RedisWatch

T = TypeVar("T")

SLICE: Final = timedelta(seconds=5)
"""The longest that one blocking read lasts, so that a connection that died unnoticed is found out."""


MILLISECOND: Final = 0.001
"""The shortest blocking read; zero would block for ever."""


class RedisBackend:
    """The verbs over a sync client.

    Args:
        url: Where the server is.

        namespace: What all keys begin with.

        clock: For tests: the time, instead of the server's.

        deadline: How long a call may take.

        clients: For tests: makes the sync client, and the async one, from a deadline.
    """

    def __init__(
        self,
        url: str,
        *,
        namespace: str,
        clock: Clock | None = None,
        deadline: timedelta = DEADLINE,
        clients: "Clients | None" = None,
    ) -> None:
        self._url, self._namespace, self._clock, self._deadline = url, namespace, clock, deadline
        self._plain, self._allow_eviction = split_url(url)
        self._clients = clients or Clients(self._plain)
        self._client = self._clients.sync(deadline)
        self._blocking = self._clients.sync(SLICE + deadline)
        self._operations = Operations(namespace, clock)
        self._inspected = False
        self._closed = False

    @property
    def limits(self) -> Limits:
        return LIMITS

    def insert(self, items: Sequence[Item]) -> Sequence[Inserted]:
        return self._run(self._operations.insert(items))

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
        with translating(self._url), _WokenByClock(self._clock, lambda: self._client.lpush(keys[0], "1")):
            while not self._closed:
                pause = min(end - time.monotonic(), SLICE.total_seconds())
                if pause < MILLISECOND:
                    return self._client.execute_command("LPOP", keys[0]) is not None
                if self._blocking.execute_command("BLPOP", *keys, f"{pause:.3f}") is not None:
                    return True
        return False

    def watch(self, queues: Sequence[str], topic: Topic) -> RedisWatch:
        """See `stanchion.backend.WatchesJobs`."""
        with translating(self._url):
            return RedisWatch(self._blocking, self._operations.keys, queues, topic)

    def to_async(self) -> "AsyncRedisBackend":
        """See `stanchion.backend.HasAsync`."""
        return AsyncRedisBackend(
            self._url,
            namespace=self._namespace,
            clock=self._clock,
            deadline=self._deadline,
            clients=self._clients,
        )

    def within(self, deadline: timedelta) -> "RedisBackend":
        """See `stanchion.backend.HasDeadlines`."""
        return RedisBackend(
            self._url, namespace=self._namespace, clock=self._clock, deadline=deadline, clients=self._clients
        )

    def close(self) -> None:
        self._closed = True
        self._client.close()
        self._client.connection_pool.disconnect()
        self._blocking.connection_pool.disconnect()

    def _run(self, sent: Sent[T]) -> T:
        if self._closed:
            raise BackendError("this backend is closed")
        reply: Any = None
        with translating(self._url):
            if not self._inspected:
                inspect_server(self._client.info(), self._url, self._allow_eviction)
                self._inspected = True
            try:
                while True:
                    step = sent.send(reply)
                    if isinstance(step, Script):
                        reply = self._evaluate(step)
                    else:
                        reply = self._client.execute_command(*step.args)
            except StopIteration as end:
                result: T = end.value
                return result

    def _evaluate(self, script: Script) -> Any:
        text, sha = SCRIPTS[script.name]
        rest = (len(script.keys), *script.keys, *script.args)
        try:
            return self._client.execute_command("EVALSHA", sha, *rest)
        except NoScriptError:
            self._client.script_load(text)
            return self._client.execute_command("EVALSHA", sha, *rest)


class AsyncRedisBackend:
    """The verbs over an async client, for one loop; arguments as for `RedisBackend`."""

    def __init__(
        self, url: str, *, namespace: str, clock: Clock | None, deadline: timedelta, clients: "Clients"
    ) -> None:
        self._url = url
        self._allow_eviction = split_url(url)[1]
        self._client = clients.asynchronous(deadline)
        self._blocking = clients.asynchronous(SLICE + deadline)
        self._operations = Operations(namespace, clock)
        self._clock = clock
        self._inspected = False
        self._closed = asyncio.Event()

    @property
    def limits(self) -> Limits:
        return LIMITS

    async def insert(self, items: Sequence[Item]) -> Sequence[Inserted]:
        return await self._run(self._operations.insert(items))

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
        with translating(self._url):
            while not self._closed.is_set():
                pause = min(end - time.monotonic(), SLICE.total_seconds())
                if pause < MILLISECOND:
                    return await self._client.execute_command("LPOP", keys[0]) is not None
                if await self._blocking.execute_command("BLPOP", *keys, f"{pause:.3f}") is not None:
                    return True
        return False

    async def watch(self, queues: Sequence[str], topic: Topic) -> AsyncRedisWatch:
        """See `stanchion.backend.WatchesJobs`."""
        with translating(self._url):
            return await AsyncRedisWatch.open(self._blocking, self._operations.keys, queues, topic)

    async def close(self) -> None:
        self._closed.set()
        await self._client.aclose()
        await self._client.connection_pool.disconnect()
        await self._blocking.connection_pool.disconnect()

    async def _run(self, sent: Sent[T]) -> T:
        if self._closed.is_set():
            raise BackendError("this backend is closed")
        reply: Any = None
        with translating(self._url):
            if not self._inspected:
                inspect_server(await self._client.info(), self._url, self._allow_eviction)
                self._inspected = True
            try:
                while True:
                    step = sent.send(reply)
                    if isinstance(step, Script):
                        reply = await self._evaluate(step)
                    else:
                        reply = await self._client.execute_command(*step.args)
            except StopIteration as end:
                result: T = end.value
                return result

    async def _evaluate(self, script: Script) -> Any:
        text, sha = SCRIPTS[script.name]
        rest = (len(script.keys), *script.keys, *script.args)
        try:
            return await self._client.execute_command("EVALSHA", sha, *rest)
        except NoScriptError:
            await self._client.script_load(text)
            return await self._client.execute_command("EVALSHA", sha, *rest)


class Clients:
    """Makes clients of one server."""

    def __init__(self, url: str) -> None:
        self._url = url

    def sync(self, deadline: timedelta) -> "redis.Redis":
        """A sync client whose calls end within the deadline."""
        return connect(self._url, deadline)

    def asynchronous(self, deadline: timedelta) -> "redis.asyncio.Redis":
        """An async client whose calls end within the deadline."""
        return connect_async(self._url, deadline)


class _WokenByClock:
    """While entered, wakes whenever a test moves its clock."""

    def __init__(self, clock: Clock | None, wake: Callable[[], Any]) -> None:
        self._clock, self._wake = clock, wake

    def __enter__(self) -> None:
        self._end = self._clock.subscribe(self._wake) if self._clock else None

    def __exit__(self, *_: object) -> None:
        if self._end:
            self._end()
