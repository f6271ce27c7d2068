"""Clients of the server: how they are made, what their errors mean, and what is asked of the server at first."""

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import hiredis
import redis
import redis.asyncio
from redis import exceptions
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry

from stanchion.config import redacted
from stanchion.errors import BackendError, ConfigError, StanchionError, Unavailable
from stanchion.logs import logger

_log: Final = logger("stanchion.redis")

DEADLINE: Final = timedelta(seconds=5)
"""How long a call may take; a sixth of the default lease, so that a beat that hangs can be tried again in time."""

CONNECTIONS: Final = 64
"""How many calls one process makes at a time; further ones wait for one of these to end."""

NO_CONNECTION: Final = "No connection available."
"""What the driver says when all of a process's connections are in use."""

PATIENCE: Final = 0.5
"""Seconds to wait for a connection to wait on: a result can be asked for now and then instead."""

OLDEST: Final = (6, 2)
"""The oldest Redis whose scripts have all that ours use."""


def translated(error: Exception, url: str) -> StanchionError | None:
    """Our error for one of the driver's; none if it is not one. The URL is shown without its password."""
    if isinstance(error, exceptions.AuthenticationError) or str(error) == NO_CONNECTION:
        return BackendError(f"{redacted(url)}: {error}")
    if isinstance(
        error, exceptions.ConnectionError | exceptions.TimeoutError | exceptions.ReadOnlyError | OSError
    ):
        return Unavailable(f"{redacted(url)} did not answer: {error}")
    if isinstance(error, exceptions.RedisError):
        return BackendError(f"{redacted(url)}: {error}")
    return None


@contextmanager
def translating(url: str) -> Iterator[None]:
    """Turn the driver's errors into ours, the cause kept."""
    try:
        yield
    except Exception as error:
        raise translated(error, url) or error from error


def split_url(url: str) -> tuple[str, bool]:
    """A URL as the driver takes it, and whether it says `allow_eviction=true`.

    Raises:
        ConfigError: It is no URL of a server.
    """
    try:
        parts = urlsplit(url.replace("valkey://", "redis://", 1))
        _ = parts.port
    except ValueError:  # it quotes what it took for a port, which may be half of a password
        raise ConfigError(
            f"{redacted(url)} is no URL: what stands for its port is no number; "
            "in a user's name or password, / @ : ? # must be percent-encoded"
        ) from None
    query = dict(parse_qsl(parts.query))
    allow = query.pop("allow_eviction", "false")
    if allow not in ("true", "false"):
        raise ConfigError(f"allow_eviction is true or false, not {allow!r}")
    try:
        plain = urlunsplit(parts._replace(query=urlencode(query)))
        parse_url(plain)
    except ValueError as error:
        raise ConfigError(f"{redacted(url)} is no URL of a Redis server: {error}") from error
    return plain, allow == "true"


def _options(deadline: timedelta, retry: object) -> dict[str, Any]:
    seconds = deadline.total_seconds()
    return {
        "socket_timeout": seconds,
        "socket_connect_timeout": seconds,
        "timeout": seconds,
        "max_connections": CONNECTIONS,
        "retry": retry,  # the driver would send a command again without knowing whether it may
        "protocol": 2,
        "client_name": "stanchion",
    }


class Clients:
    """Makes clients of one server; they connect when first used."""

    def __init__(self, url: str) -> None:
        self._url = url

    def sync(self, deadline: timedelta) -> "redis.Redis":
        """A client whose calls end within the deadline."""
        pool = redis.BlockingConnectionPool.from_url(self._url, **_options(deadline, Retry(NoBackoff(), 0)))
        return redis.Redis.from_pool(pool)

    def asynchronous(self, deadline: timedelta) -> "redis.asyncio.Redis":
        """The same for the running loop."""
        options = _options(deadline, AsyncRetry(NoBackoff(), 0))
        options["socket_timeout"] = None  # see `AsyncLane`
        pool = redis.asyncio.BlockingConnectionPool.from_url(self._url, **options)
        return redis.asyncio.Redis.from_pool(pool)


def impatient(client: Any) -> None:
    """Let a client wait only `PATIENCE` for a connection."""
    client.connection_pool.timeout = PATIENCE


def _packed(args: tuple[str | bytes | int, ...]) -> list[bytes]:
    return [hiredis.pack_command(args)]  # type: ignore[arg-type]  # its stub allows for one argument only


class Lane:
    """Sends commands over connections that it keeps in hand, packed in C.

    The driver's own way costs as much as a script does; its packing alone was a third of a worker's time.
    A connection that the server closed meanwhile is noticed by its first command, which fails `Unavailable`.
    """

    def __init__(self, client: "redis.Redis", deadline: timedelta) -> None:
        self._pool = client.connection_pool
        self._deadline = deadline.total_seconds()
        self._begin()

    def _begin(self) -> None:
        self._spare: list[Any] = []
        self._turns = threading.BoundedSemaphore(CONNECTIONS)
        self._process = os.getpid()

    def send(self, *args: str | bytes | int) -> Any:
        """Send one command and read its reply."""
        if self._process != os.getpid():
            self._begin()  # a fork must not use its parent's connections
        if not self._turns.acquire(timeout=self._deadline):
            raise exceptions.TimeoutError(f"{CONNECTIONS} calls were under way all the time")
        try:
            return self._send(self._connection(), args)
        finally:
            self._turns.release()

    def _connection(self) -> Any:
        try:
            return self._spare.pop()
        except IndexError:  # asked first, another thread could take the last one meanwhile
            return self._pool.get_connection()

    def _send(self, connection: Any, args: tuple[str | bytes | int, ...]) -> Any:
        try:
            connection.send_packed_command(_packed(args))
            reply = connection.read_response()
        except BaseException as error:
            if _is_answer(error):
                self._spare.append(connection)
            else:
                connection.disconnect()
                self._pool.release(connection)
            raise
        self._spare.append(connection)
        return reply


class AsyncLane:
    """The same for one loop, with a deadline of its own.

    The driver's way of keeping one, `asyncio.wait_for`, can swallow a cancellation before Python 3.12.
    """

    def __init__(self, client: "redis.asyncio.Redis", deadline: timedelta) -> None:
        self._pool = client.connection_pool
        self._deadline = deadline.total_seconds()
        self._spare: list[Any] = []
        self._turns = asyncio.Semaphore(CONNECTIONS)

    async def send(self, *args: str | bytes | int) -> Any:
        """Send one command and read its reply."""
        async with asyncio.timeout(self._deadline), self._turns:
            connection = self._spare.pop() if self._spare else await self._pool.get_connection()
            return await self._send(connection, args)

    async def _send(self, connection: Any, args: tuple[str | bytes | int, ...]) -> Any:
        try:
            await connection.send_packed_command(_packed(args))
            reply = await connection.read_response()
        except BaseException as error:
            if _is_answer(error):
                self._spare.append(connection)
            else:
                await connection.disconnect(nowait=True)
                await self._pool.release(connection)
            raise
        self._spare.append(connection)
        return reply


def _is_answer(error: BaseException) -> bool:
    """Whether the server answered with an error, so that the connection is good for the next command.

    Otherwise what is left in it would be the next command's reply. A server that answers READONLY has become a
    replica, and another connection may find the primary.
    """
    return isinstance(error, exceptions.ResponseError) and not isinstance(error, exceptions.ReadOnlyError)


class Inspection:
    """Refuses a server that would lose jobs, and warns of one that might; once for a backend and its twins.

    Args:
        url: Where the server is.

        allow_eviction: Whether an eviction policy that deletes jobs is accepted.
    """

    def __init__(self, url: str, allow_eviction: bool) -> None:
        self._where, self._allow_eviction = redacted(url), allow_eviction
        self.done = False
        """Whether the server was found fit."""

    def conclude(self, answer: bytes) -> None:
        """Judge a server by its answer to INFO.

        Raises:
            ConfigError: It is too old, a replica, or deletes jobs when its memory is full.
        """
        lines = answer.decode("utf-8", "replace").splitlines()
        info = dict(line.split(":", 1) for line in lines if ":" in line)
        version = info.get("redis_version", "")
        numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
        if numbers and numbers < OLDEST:
            raise ConfigError(f"{self._where} is Redis {version}; Stanchion needs 6.2 or newer, or Valkey")
        if info.get("role", "master") != "master":
            raise ConfigError(
                f"{self._where} is a replica and cannot be written to; name its primary instead"
            )
        policy = info.get("maxmemory_policy", "noeviction")
        if policy != "noeviction" and not self._allow_eviction:
            raise ConfigError(
                f"{self._where} deletes jobs when its memory is full (maxmemory-policy {policy}); set it to "
                "noeviction, or add ?allow_eviction=true to the URL if jobs may be lost"
            )
        if info.get("aof_enabled") == "0":
            _log.warning(
                "%s has no append-only file: a restart loses what came after its last snapshot", self._where
            )
        self.done = True
