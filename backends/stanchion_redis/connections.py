"""Connections to the server: how they are made, shared by calls, kept between them, and given up."""

import asyncio
import os
import time
import weakref
from collections.abc import Callable
from datetime import timedelta
from queue import Empty, SimpleQueue
from typing import Any, Final

import hiredis
import redis
import redis.asyncio
from redis import exceptions
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from stanchion.errors import ConfigError

DEADLINE: Final = timedelta(seconds=5)
"""How long a call may take; a sixth of the default lease, so that a beat that hangs can be tried again in time."""

CONNECTIONS: Final = 64
"""How many calls one process makes at a time; further ones wait for one of these to end."""

PATIENCE: Final = 0.5
"""Seconds to wait for a connection to wait on: a result can be asked for now and then instead."""

_SLACK: Final = 0.02
"""How far past its deadline a call may run, as a share of it; saves a system call for each read."""

Connect = Callable[[], Any]
"""Makes a connection of the driver, which connects when it is first used."""


class _Socket:
    """A socket whose reads end at the deadline of a whole call; the driver's own timeout begins anew with each."""

    def __init__(self, sock: Any, connection: "_WithDeadline") -> None:
        self._sock, self._connection = sock, connection
        self._timeout: float = sock.gettimeout()
        self.sendall, self.shutdown, self.close = sock.sendall, sock.shutdown, sock.close

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def recv_into(self, buffer: Any) -> int:
        """Read what there is, until the call's deadline.

        Args:
            buffer: Where to.

        Returns:
            How many bytes were read.
        """
        left = self._connection.end - time.monotonic()
        if abs(self._timeout - left) > self._connection.slack:
            if left <= 0:
                raise TimeoutError
            self._sock.settimeout(left)
            self._timeout = left
        count: int = self._sock.recv_into(buffer)
        return count


class _WithDeadline:
    """Mixed into the driver's connections: an attempt to connect and an answer end with the call."""

    end = 0.0
    """When the call ends, on the monotonic clock."""

    slack = 0.0
    """How many seconds later it may end."""

    def _connect(self) -> _Socket:
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.socket_connect_timeout = left
        return _Socket(super()._connect(), self)  # type: ignore[misc]  # the driver's, which this is mixed into


class _PlainConnection(_WithDeadline, redis.Connection):  # type: ignore[misc]  # see `_WithDeadline`
    pass


class _TlsConnection(_WithDeadline, redis.SSLConnection):  # type: ignore[misc]  # see `_WithDeadline`
    pass


class Clients:
    """Makes connections to one server.

    Args:
        options: The driver's, from a URL; see `stanchion_redis.urls`.

    Raises:
        ConfigError: The driver does not take them.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = dict(options)
        self._tls = self._options.pop("connection_class", None) is not None
        try:
            for make in (self.sync, self.asynchronous):
                make(DEADLINE)()
        except (TypeError, ValueError, exceptions.RedisError) as error:
            raise ConfigError(f"the options of the backend's URL cannot be used: {error}") from error

    def sync(self, deadline: timedelta) -> Connect:
        """Make connections whose calls end within the deadline.

        Args:
            deadline: How long a call may take.

        Returns:
            A function that makes one.
        """
        kind = _TlsConnection if self._tls else _PlainConnection
        retry, timeout = Retry(NoBackoff(), 0), deadline.total_seconds()
        options = {"socket_connect_timeout": timeout, **self._common(), "retry": retry}
        return lambda: kind(socket_timeout=timeout, **options)

    def asynchronous(self, deadline: timedelta) -> Connect:
        """Make connections for the running loop; `AsyncLane` keeps the deadline.

        Args:
            deadline: How long a call may take.

        Returns:
            A function that makes one.
        """
        kind = redis.asyncio.SSLConnection if self._tls else redis.asyncio.Connection
        options = {**self._common(), "retry": AsyncRetry(NoBackoff(), 0)}
        return lambda: kind(socket_timeout=None, socket_connect_timeout=None, **options)

    def _common(self) -> dict[str, Any]:
        return {"protocol": 2, "client_name": "stanchion", **self._options}


def packed(*args: str | bytes) -> list[bytes]:
    """Pack a command in C; the driver's own packing was a third of a worker's time.

    Args:
        args: Its parts; no numbers: hiredis crashes if a signal arrives while it converts one.

    Returns:
        The command as it goes over the wire.
    """
    return [hiredis.pack_command(args)]  # type: ignore[arg-type]  # its stub allows for one argument only


class AllInUse(exceptions.RedisError):
    """As many connections are in use as there may be."""


class _Turn:
    """The right to use a connection. One that gets lost is made anew; see `Turns`."""

    __slots__ = ("__weakref__",)


class Turns:
    """How many connections may be in use at a time, in a way that no exception can upset.

    A `KeyboardInterrupt` may strike between any two steps of Python's own semaphores: their lock then stays held,
    or a permit is never given back. Here each step is one of C's. A turn that was lost on its way leaves its
    reference dead (where a cycle keeps it: once that is collected), and is made anew when all others are taken.
    """

    def __init__(self, count: int) -> None:
        self._free: SimpleQueue[_Turn] = SimpleQueue()
        self._made: list[Callable[[], _Turn | None]] = [lambda: None] * count
        self._renew()

    def _renew(self) -> None:
        for number, made in enumerate(self._made):
            if made() is None:
                turn = _Turn()
                self._made[number] = weakref.ref(turn)
                self._free.put(turn)

    def take(self, seconds: float) -> _Turn:
        """Take a turn.

        Args:
            seconds: How long to wait for one.

        Returns:
            The turn, to be given back.

        Raises:
            AllInUse: All are taken all the time.
        """
        try:
            return self._free.get(block=False)
        except Empty:
            self._renew()
        try:
            return self._free.get(timeout=max(0.0, seconds))
        except Empty:
            raise AllInUse(f"all {len(self._made)} connections are in use") from None

    def give(self, turn: _Turn) -> None:
        """Give a turn back."""
        self._free.put(turn)


class _Kept:
    """Connections kept between calls, all of one life of the server.

    What died together is replaced together: when one fails, all that were made before are dropped with it. So a
    restart, or a balancer that cuts what is idle, costs one call a new connection and no call an error.
    """

    def __init__(self, connect: Connect, deadline: timedelta) -> None:
        self._connect = connect
        self._deadline = deadline.total_seconds()
        self._closed = False
        self._begin()

    def _begin(self) -> None:
        self._life = 0
        self._spare: list[Any] = []
        self._made: list[Callable[[], Any]] = []

    def _take(self) -> Any | None:
        try:
            return self._spare.pop()
        except IndexError:  # asked first, another thread could take the last one meanwhile
            return None

    def _new(self) -> Any:
        if self._closed:
            raise exceptions.ConnectionError("this backend is closed")
        connection = self._connect()
        connection.life = self._life
        for made in [made for made in self._made if made() is None]:
            self._made.remove(made)
        self._made.append(weakref.ref(connection))
        return connection

    def _in_use_or_kept(self) -> list[Any]:
        return [connection for made in self._made if (connection := made()) is not None]

    def _keep(self, connection: Any) -> bool:
        """Keep a connection that answered; whether it may be kept."""
        if connection.life != self._life or self._closed:
            return False
        self._spare.append(connection)
        return True

    def _dropped(self, life: int) -> list[Any]:
        """End a life of the server; the kept connections of it."""
        if life != self._life:
            return []
        self._life += 1
        dropped, self._spare = self._spare, []
        return dropped


class Lane(_Kept):
    """Sends commands over kept connections.

    A command that a kept connection does not answer, because it turns out to be dead, is sent again at once on a new
    one. Whether the server executed it is unknown then; every command of ours may be repeated, as every verb may.
    """

    def _begin(self) -> None:
        super()._begin()
        self._turns = Turns(CONNECTIONS)
        self._process = os.getpid()

    def send(self, *args: str | bytes) -> Any:
        """Send one command and read its reply.

        Args:
            args: Its parts.

        Returns:
            The reply.
        """
        end = time.monotonic() + self._deadline
        if self._process != os.getpid():
            self._begin()  # a fork must not use its parent's connections
        try:
            turn = self._turns.take(self._deadline)
        except AllInUse as error:
            raise exceptions.TimeoutError(str(error)) from None
        try:
            return self._send(args, end)
        finally:
            self._turns.give(turn)

    def _send(self, args: tuple[str | bytes, ...], end: float) -> Any:
        kept = self._take()
        if kept is not None:
            try:
                return self._exchange(kept, args, end)
            except exceptions.ConnectionError:
                pass
        return self._exchange(self._new(), args, end)

    def _exchange(self, connection: Any, args: tuple[str | bytes, ...], end: float) -> Any:
        connection.end, connection.slack = end, self._deadline * _SLACK
        try:
            connection.send_packed_command(packed(*args))
            reply = connection.read_response()
        except BaseException as error:
            if not is_answer(error):
                self._drop(connection, died=isinstance(error, Exception))
            elif not self._keep(connection):
                connection.disconnect()
            raise
        if not self._keep(connection):
            connection.disconnect()
        return reply

    def _drop(self, connection: Any, *, died: bool) -> None:
        connection.disconnect()
        for other in self._dropped(connection.life) if died else ():
            other.disconnect()

    def close(self) -> None:
        """Close all connections, those in use as well; their calls raise."""
        self._closed = True
        for connection in self._in_use_or_kept():
            connection.disconnect()


class AsyncLane(_Kept):
    """The same for one loop, with a deadline of its own.

    The driver's way of keeping one, `asyncio.wait_for`, can swallow a cancellation before Python 3.12.
    """

    def _begin(self) -> None:
        super()._begin()
        self._turns = asyncio.Semaphore(CONNECTIONS)

    async def send(self, *args: str | bytes) -> Any:
        """Send one command and read its reply.

        Args:
            args: Its parts.

        Returns:
            The reply.
        """
        life = self._life
        try:
            async with asyncio.timeout(self._deadline), self._turns:
                return await self._send(args)
        except TimeoutError:
            await self._end(life)
            raise

    async def _send(self, args: tuple[str | bytes, ...]) -> Any:
        kept = self._take()
        if kept is not None:
            try:
                return await self._exchange(kept, args)
            except exceptions.ConnectionError:
                pass
        return await self._exchange(self._new(), args)

    async def _exchange(self, connection: Any, args: tuple[str | bytes, ...]) -> Any:
        try:
            await connection.send_packed_command(packed(*args))
            reply = await connection.read_response()
        except BaseException as error:
            if not is_answer(error):
                await connection.disconnect(nowait=True)
                if isinstance(error, Exception):
                    await self._end(connection.life)
            elif not self._keep(connection):
                await connection.disconnect(nowait=True)
            raise
        if not self._keep(connection):
            await connection.disconnect(nowait=True)
        return reply

    async def _end(self, life: int) -> None:
        for other in self._dropped(life):
            await other.disconnect(nowait=True)

    async def close(self) -> None:
        """Close all connections, those in use as well; their calls raise."""
        self._closed = True
        for connection in self._in_use_or_kept():
            await connection.disconnect()


def is_answer(error: BaseException) -> bool:
    """Return whether the server answered with an error, so that the connection is good for the next command.

    Otherwise what is left in it would be the next command's reply. A server that answers READONLY has become a
    replica, and another connection may find the primary.

    Args:
        error: What was raised.

    Returns:
        `True` if it is the server's answer.
    """
    return isinstance(error, exceptions.ResponseError) and not isinstance(error, exceptions.ReadOnlyError)
