"""Watches: notifications of jobs over the server's channels, each on a connection of its own."""

import asyncio
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

from redis import exceptions
from redis.exceptions import RedisError

from stanchion.model.changes import Topic
from stanchion_redis.connections import CONNECTIONS, PATIENCE, AllInUse, Connect, Turns, packed
from stanchion_redis.keys import Keys

_RECONNECT: Final = 0.2
"""Seconds to wait before listening again on a connection that was cut; what was published meanwhile is lost."""

_GLANCE: Final = 0.001
"""Seconds to wait for what is there already."""


class Subscription:
    """The channels of some queues, and what a message on them says."""

    def __init__(self, keys: Keys, queues: Sequence[str], topic: Topic) -> None:
        self._queues = {keys.channel(queue, topic.value).encode(): queue for queue in queues}

    def command(self) -> list[bytes]:
        """Return what is sent to listen.

        Returns:
            The command, packed.
        """
        return packed("SUBSCRIBE", *self._queues)

    def __len__(self) -> int:
        return len(self._queues)

    def ids(self, message: Any) -> frozenset[str]:
        """Return the ids of the jobs that a message names.

        Args:
            message: A reply of the server.

        Returns:
            The ids; a message that is not ours names none.
        """
        if not isinstance(message, list) or len(message) != 3 or message[0] != b"message":
            return frozenset()
        queue = self._queues.get(message[1])
        keys = message[2].decode("utf-8", "replace").split(" ") if queue is not None else []
        return frozenset(f"{queue}:{key}" for key in keys)


class Watching:
    """Opens the watches of one process."""

    def __init__(self, connect: Connect, deadline: timedelta) -> None:
        self.connect, self.deadline = connect, deadline.total_seconds()
        self._turns, self._process = Turns(CONNECTIONS), os.getpid()

    def turns(self) -> Turns:
        """Return this process's turns; a fork has its own.

        Returns:
            The turns.
        """
        if self._process != os.getpid():
            self._turns, self._process = Turns(CONNECTIONS), os.getpid()
        return self._turns


class RedisWatch:
    """See `stanchion.contract.capabilities.Watch`."""

    def __init__(self, watching: Watching, subscription: Subscription) -> None:
        self._watching, self._subscription = watching, subscription
        self._connection: Any = None
        self._closed = False
        self._turns = watching.turns()
        self._turn: Any = self._turns.take(PATIENCE)
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        """Listen on a new connection; the server confirms each channel."""
        self._process = os.getpid()
        self._connection = connection = self._watching.connect()
        connection.end = time.monotonic() + self._watching.deadline
        connection.send_packed_command(self._subscription.command())
        for _ in range(len(self._subscription)):
            connection.read_response()
        self._listens = True

    def next(self, timeout: timedelta) -> frozenset[str]:
        end = time.monotonic() + timeout.total_seconds()
        heard: frozenset[str] = frozenset()
        while not self._closed:
            left = 0.0 if heard else max(0.0, end - time.monotonic())
            try:
                message = self._message(left)
            except Exception as error:
                if self._closed:  # which took the socket away while it was read from
                    break
                if not isinstance(error, RedisError | OSError):
                    raise
                self._listens = False
                self._connection.disconnect()
                time.sleep(min(left, _RECONNECT))
                break
            if message is None:
                break
            heard |= self._subscription.ids(message)
        return heard

    def _message(self, left: float) -> Any:
        """The next message, or `None` after so many seconds without one."""
        if self._process != os.getpid() or not self._listens:  # a fork must not use its parent's connection
            self._listens = False
            self._open()
            return []
        self._connection.end = time.monotonic() + max(left, _GLANCE)
        try:
            return self._connection.read_response(disconnect_on_error=False)
        except exceptions.TimeoutError:
            return None

    def close(self) -> None:
        self._closed = True
        if self._connection is not None:
            self._connection.disconnect()
        turn, self._turn = self._turn, None
        if turn is not None:
            self._turns.give(turn)


class AsyncWatching:
    """Opens the watches of one loop."""

    def __init__(self, connect: Connect, deadline: timedelta) -> None:
        self.connect, self.deadline = connect, deadline.total_seconds()
        self.turns = asyncio.Semaphore(CONNECTIONS)


class AsyncRedisWatch:
    """See `stanchion.contract.capabilities.AsyncWatch`."""

    def __init__(self, watching: AsyncWatching, subscription: Subscription) -> None:
        self._watching, self._subscription = watching, subscription
        self._connection: Any = None
        self._holds_turn = False

    @classmethod
    async def open(cls, watching: AsyncWatching, subscription: Subscription) -> "AsyncRedisWatch":
        """Listen from now on.

        Args:
            watching: Opens connections.

            subscription: What to listen to.

        Returns:
            An open watch.

        Raises:
            AllInUse: All connections are in use.
        """
        watch = cls(watching, subscription)
        try:
            async with asyncio.timeout(PATIENCE):
                await watching.turns.acquire()
                watch._holds_turn = True
        except TimeoutError:
            if not watch._holds_turn:
                raise AllInUse(f"all {CONNECTIONS} connections are in use") from None
        try:
            async with asyncio.timeout(watching.deadline):
                await watch._open()
        except BaseException:
            await watch.close()
            raise
        return watch

    async def _open(self) -> None:
        connection = self._watching.connect()
        try:
            await connection.send_packed_command(self._subscription.command())
            for _ in range(len(self._subscription)):
                await connection.read_response()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        self._connection = connection

    async def next(self, timeout: timedelta) -> frozenset[str]:
        end = time.monotonic() + timeout.total_seconds()
        heard: frozenset[str] = frozenset()
        while self._holds_turn:
            left = 0.0 if heard else max(0.0, end - time.monotonic())
            try:
                message = await self._message(left)
            except (RedisError, OSError):
                await self._disconnect()
                await asyncio.sleep(min(left, _RECONNECT))
                break
            if message is None:
                break
            heard |= self._subscription.ids(message)
        return heard

    async def _message(self, left: float) -> Any:
        """The next message, or `None` after so many seconds without one."""
        if self._connection is None:
            async with asyncio.timeout(self._watching.deadline):
                await self._open()
            return []
        with suppress(TimeoutError):
            async with asyncio.timeout(left):
                return await self._connection.read_response(disconnect_on_error=False)
        return None

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)

    async def close(self) -> None:
        if self._holds_turn:
            self._holds_turn = False
            self._watching.turns.release()
        await self._disconnect()
