"""Redis stores for the conformance suite: a namespace for each test, and everything in it as bytes."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from os import urandom
from typing import Any, Final

import fakeredis
import redis
import redis.asyncio

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
    """Makes clients of one fake server, as `stanchion_redis.connections.Clients` makes those of a real one."""

    def __init__(self) -> None:
        self.server = fakeredis.FakeServer()

    def sync(self, deadline: timedelta) -> "redis.Redis":
        """A sync client."""
        return fakeredis.FakeStrictRedis(server=self.server)

    def asynchronous(self, deadline: timedelta) -> "redis.asyncio.Redis":
        """An async client."""
        return fakeredis.FakeAsyncRedis(server=self.server)
