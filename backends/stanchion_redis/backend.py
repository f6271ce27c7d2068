"""The Redis backend: one atomic script for each verb, on Redis 6.2 or newer and Valkey."""

import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Concatenate, ParamSpec, TypeVar

from redis.exceptions import NoScriptError, ReadOnlyError, RedisError

from stanchion.contract.backend import Clock, Limits
from stanchion.contract.requests import Wait
from stanchion.errors import BackendError
from stanchion.model.changes import Topic
from stanchion_redis.connections import DEADLINE, AsyncLane, Clients, Lane
from stanchion_redis.lua import SCRIPTS
from stanchion_redis.managing import Managing
from stanchion_redis.moving import Moving
from stanchion_redis.operations import LIMITS, SLICE, Blocking, Script, Sent, Step
from stanchion_redis.reading import Reading
from stanchion_redis.servers import Inspection, translated, translating
from stanchion_redis.urls import split_url
from stanchion_redis.watching import AsyncRedisWatch, AsyncWatching, RedisWatch, Subscription, Watching

P = ParamSpec("P")
T = TypeVar("T")


class Operations(Moving, Reading, Managing):
    """The verbs of one namespace."""


_Operation = Callable[Concatenate[Operations, P], Sent[T]]


def _verb(
    operation: _Operation[P, T], *, enqueues: bool = False
) -> "Callable[Concatenate[RedisBackend, P], T]":
    """Return an operation as a method of the backend."""

    def verb(backend: "RedisBackend", /, *args: P.args, **named: P.kwargs) -> T:
        return backend._run(operation(backend._operations, *args, **named), enqueues=enqueues)

    return verb


def _async_verb(
    operation: _Operation[P, T], *, enqueues: bool = False
) -> "Callable[Concatenate[AsyncRedisBackend, P], Coroutine[Any, Any, T]]":
    """Return an operation as a method of the async backend."""

    def verb(backend: "AsyncRedisBackend", /, *args: P.args, **named: P.kwargs) -> Coroutine[Any, Any, T]:
        return backend._run(operation(backend._operations, *args, **named), enqueues=enqueues)

    return verb


def _check_open(*, closed: bool) -> None:
    """Refuse to use a backend that was closed."""
    if closed:
        raise BackendError("this backend is closed")


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

    insert = _verb(Operations.insert, enqueues=True)
    claim = _verb(Operations.claim)
    apply = _verb(Operations.apply)
    due = _verb(Operations.due)
    get = _verb(Operations.get)
    list = _verb(Operations.list)
    count = _verb(Operations.count)
    ledger = _verb(Operations.ledger)
    queues = _verb(Operations.queues)
    quarantined = _verb(Operations.quarantined)
    configure = _verb(Operations.configure)
    forget = _verb(Operations.forget)
    now = _verb(Operations.now)
    check = _verb(Operations.check)

    def wait(self, request: Wait) -> bool:
        with self._woken_by_clock(request):
            return self._run(self._operations.wait(request))

    @contextmanager
    def _woken_by_clock(self, request: Wait) -> Iterator[None]:
        """Wake those who wait whenever a test moves the time, while entered."""
        key = self._operations.keys.wake(request.queues[0])
        end = self._clock.subscribe(lambda: self._lane.send("LPUSH", key, "1")) if self._clock else None
        try:
            yield
        finally:
            if end is not None:
                end()

    def watch(self, queues: Sequence[str], topic: Topic) -> RedisWatch:
        """See `stanchion.contract.capabilities.WatchesJobs`."""
        _check_open(closed=self._closed)
        with translating(self._url):
            return RedisWatch(self._watching, Subscription(self._operations.keys, queues, topic))

    def to_async(self) -> "AsyncRedisBackend":
        """See `stanchion.contract.capabilities.HasAsync`."""
        return AsyncRedisBackend(self)

    def within(self, deadline: timedelta) -> "RedisBackend":
        """See `stanchion.contract.capabilities.HasDeadlines`."""
        clone = RedisBackend(
            self._url, namespace=self._namespace, clock=self._clock, deadline=deadline, clients=self._clients
        )
        clone._inspection = self._inspection
        return clone

    def close(self) -> None:
        self._closed = True
        self._lane.close()
        self._waiting.close()

    def _run(self, sent: Sent[T], *, enqueues: bool = False) -> T:
        _check_open(closed=self._closed)
        reply: Any = None
        try:
            inspection = self._inspection
            if inspection.again_at < time.monotonic() or (enqueues and inspection.evicts):
                inspection.conclude(self._lane.send("INFO"), enqueues=enqueues)
            while True:
                reply = self._perform(sent.send(reply))
        except StopIteration as end:
            result: T = end.value
            return result
        except (RedisError, OSError) as error:
            if isinstance(error, ReadOnlyError):
                self._inspection.begin()
            raise translated(error, self._url) or error from error

    def _perform(self, step: Step) -> Any:
        if isinstance(step, Script):
            text, sha = SCRIPTS[step.name]
            rest = (str(len(step.keys)), *step.keys, *step.args)
            try:
                return self._lane.send("EVALSHA", sha, *rest)
            except NoScriptError:
                return self._lane.send("EVAL", text, *rest)
        if isinstance(step, Blocking):
            return self._wait(step)
        return self._lane.send(*step.args)

    def _wait(self, step: Blocking) -> Any:
        try:
            return self._waiting.send(*step.args)
        except Exception:  # whatever comes of a socket that `close` took away
            if self._closed:
                return False
            raise


class AsyncRedisBackend:
    """The verbs over an async client, for one loop.

    Args:
        backend: The sync backend that it belongs to.
    """

    def __init__(self, backend: RedisBackend) -> None:
        self._backend, self._url, self._inspection = backend, backend._url, backend._inspection
        connect, deadline = backend._clients.asynchronous(backend._deadline), backend._deadline
        self._lane = AsyncLane(connect, deadline)
        self._waiting = AsyncLane(connect, SLICE + deadline)
        self._watching = AsyncWatching(connect, deadline)
        self._operations = Operations(backend._namespace, backend._clock)
        self._closed = False

    @property
    def limits(self) -> Limits:
        return LIMITS

    insert = _async_verb(Operations.insert, enqueues=True)
    claim = _async_verb(Operations.claim)
    apply = _async_verb(Operations.apply)
    due = _async_verb(Operations.due)
    get = _async_verb(Operations.get)
    list = _async_verb(Operations.list)
    count = _async_verb(Operations.count)
    ledger = _async_verb(Operations.ledger)
    queues = _async_verb(Operations.queues)
    quarantined = _async_verb(Operations.quarantined)
    configure = _async_verb(Operations.configure)
    forget = _async_verb(Operations.forget)
    now = _async_verb(Operations.now)
    check = _async_verb(Operations.check)

    async def wait(self, request: Wait) -> bool:
        with self._backend._woken_by_clock(request):
            return await self._run(self._operations.wait(request))

    async def watch(self, queues: Sequence[str], topic: Topic) -> AsyncRedisWatch:
        """See `stanchion.contract.capabilities.WatchesJobs`."""
        _check_open(closed=self._closed)
        with translating(self._url):
            subscription = Subscription(self._operations.keys, queues, topic)
            return await AsyncRedisWatch.open(self._watching, subscription)

    async def close(self) -> None:
        self._closed = True
        await self._lane.close()
        await self._waiting.close()

    async def _run(self, sent: Sent[T], *, enqueues: bool = False) -> T:
        _check_open(closed=self._closed)
        reply: Any = None
        try:
            inspection = self._inspection
            if inspection.again_at < time.monotonic() or (enqueues and inspection.evicts):
                inspection.conclude(await self._lane.send("INFO"), enqueues=enqueues)
            while True:
                reply = await self._perform(sent.send(reply))
        except StopIteration as end:
            result: T = end.value
            return result
        except (RedisError, OSError) as error:
            if isinstance(error, ReadOnlyError):
                self._inspection.begin()
            raise translated(error, self._url) or error from error

    async def _perform(self, step: Step) -> Any:
        if isinstance(step, Script):
            text, sha = SCRIPTS[step.name]
            rest = (str(len(step.keys)), *step.keys, *step.args)
            try:
                return await self._lane.send("EVALSHA", sha, *rest)
            except NoScriptError:
                return await self._lane.send("EVAL", text, *rest)
        if isinstance(step, Blocking):
            return await self._wait(step)
        return await self._lane.send(*step.args)

    async def _wait(self, step: Blocking) -> Any:
        try:
            return await self._waiting.send(*step.args)
        except Exception:  # whatever comes of a socket that `close` took away
            if self._closed:
                return False
            raise
