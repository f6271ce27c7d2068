"""Redis stores for the conformance suite: a namespace for each test, and everything in it as bytes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from os import urandom
from time import monotonic
from typing import Any, Final

import fakeredis
import redis
from fakeredis import FakeRedisConnection, aioredis

_numbers: Final = count()
_session: Final = urandom(4).hex()


def a_namespace() -> str:
    """A name that no test used before, in this session or another."""
    return f"test-{_session}-{next(_numbers)}"


@contextmanager
def own_namespace(client: "redis.Redis") -> Iterator[str]:
    """A namespace whose keys are gone afterwards."""
    namespace = a_namespace()
    yield namespace
    if keys := keys_of(client, namespace):
        client.delete(*keys)


def keys_of(client: "redis.Redis", namespace: str) -> list[bytes]:
    """All keys of a namespace."""
    return sorted(client.scan_iter(f"{namespace}:*", count=1000))


def dump_of(client: "redis.Redis", namespace: str) -> dict[bytes, Any]:
    """Everything stored in a namespace, but for what may differ without meaning anything.

    That is the counter of places, of which any may be skipped, and hints to waiting workers.
    """
    stored = {key: _value(client, key) for key in keys_of(client, namespace) if not key.endswith(b"}:wake")}
    return {key: value for key, value in stored.items() if value}


def _value(client: "redis.Redis", key: bytes) -> Any:
    match client.type(key):
        case b"hash":
            return {field: value for field, value in client.hgetall(key).items() if field != b"seq"}
        case b"zset":
            return client.zrange(key, 0, -1, withscores=True)
        case b"set":
            return client.smembers(key)
        case b"string":
            return client.get(key)
        case other:
            raise AssertionError(f"{key!r} is a {other!r}, which no key of ours is")


class FakeClients:
    """Makes connections to a fake server, as `stanchion_redis.connections.Clients` makes those to a real one."""

    def __init__(self) -> None:
        self.server = fakeredis.FakeServer()

    def client(self) -> "redis.Redis":
        """A client of the same server."""
        return fakeredis.FakeStrictRedis(server=self.server)

    def sync(self, deadline: timedelta) -> Callable[[], Any]:
        """Makes sync connections."""
        options = self.client().connection_pool.connection_kwargs
        return lambda: _FakeConnection(**options)

    def asynchronous(self, deadline: timedelta) -> Callable[[], Any]:
        """Makes async connections."""
        options = fakeredis.FakeAsyncRedis(server=self.server).connection_pool.connection_kwargs
        return lambda: aioredis.FakeAsyncRedisConnection(**options)


class _FakeConnection(FakeRedisConnection):
    """Waits for a message up to the deadline, as ours to a real server do; an answer comes when it is computed."""

    end = 0.0

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        self.connect()  # the driver's way to connect makes no selector
        super().send_packed_command(command, check_health)

    def read_response(self, **options: Any) -> Any:
        waits = not options.get("disconnect_on_error", True)
        if waits and not self.can_read(max(0.0, self.end - monotonic())):
            raise redis.TimeoutError("no answer")
        return super().read_response(**options)
