"""Watches: hearing of jobs over the server's channels."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import redis
import redis.asyncio
from redis.exceptions import RedisError

from stanchion.backend import Topic
from stanchion_redis.keys import Keys

_RECONNECT: Final = 0.2
"""Seconds to wait before listening again on a connection that was cut; what was said meanwhile is not heard."""


def _ids(keys: Keys, message: Mapping[str, Any] | None) -> frozenset[str]:
    if message is None or message["type"] != "message":
        return frozenset()
    queue = keys.queue_of(message["channel"].decode())
    return frozenset(f"{queue}:{key}" for key in message["data"].decode().split(" "))


class RedisWatch:
    """See `stanchion.backend.Watch`."""

    def __init__(
        self, client: "redis.Redis", keys: Keys, queues: Sequence[str], topic: Topic, deadline: timedelta
    ) -> None:
        self._keys = keys
        self._channels = client.pubsub()
        self._closed = False
        try:
            self._channels.subscribe(*(keys.channel(queue, topic.value) for queue in queues))
            for _ in queues:
                if self._channels.get_message(timeout=deadline.total_seconds()) is None:
                    raise TimeoutError("the server did not confirm a subscription")
        except BaseException:
            self._channels.close()
            raise

    def next(self, timeout: timedelta) -> frozenset[str]:
        heard: frozenset[str] = frozenset()
        end = time.monotonic() + timeout.total_seconds()
        while not self._closed:
            left = 0.0 if heard else max(0.0, end - time.monotonic())
            try:
                message = self._channels.get_message(timeout=left)
            except (
                RedisError,
                OSError,
                ValueError,
                TypeError,
            ):  # the last two where `close` took the socket away
                if not self._closed:
                    time.sleep(min(left, _RECONNECT))
                break
            if message is None:
                break
            heard |= _ids(self._keys, message)
        return heard

    def close(self) -> None:
        self._closed = True
        self._channels.close()


class AsyncRedisWatch:
    """See `stanchion.backend.AsyncWatch`."""

    def __init__(self, channels: Any, keys: Keys) -> None:
        self._channels, self._keys = channels, keys

    @classmethod
    async def open(
        cls,
        client: "redis.asyncio.Redis",
        keys: Keys,
        queues: Sequence[str],
        topic: Topic,
        deadline: timedelta,
    ) -> "AsyncRedisWatch":
        channels = client.pubsub()
        try:
            async with asyncio.timeout(deadline.total_seconds()):
                await channels.subscribe(*(keys.channel(queue, topic.value) for queue in queues))
                for _ in queues:
                    while await channels.get_message(timeout=1) is None:
                        pass  # until the server confirms it
        except BaseException:
            await channels.aclose()
            raise
        return cls(channels, keys)

    async def next(self, timeout: timedelta) -> frozenset[str]:
        heard: frozenset[str] = frozenset()
        end = time.monotonic() + timeout.total_seconds()
        while True:
            left = 0.0 if heard else max(0.0, end - time.monotonic())
            try:
                message = await self._channels.get_message(timeout=left)
            except (RedisError, OSError):
                await asyncio.sleep(min(left, _RECONNECT))
                return heard
            if message is None:
                return heard
            heard |= _ids(self._keys, message)

    async def close(self) -> None:
        await self._channels.aclose()
