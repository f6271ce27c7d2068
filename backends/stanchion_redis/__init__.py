"""The Redis backend of Stanchion: `redis://`, `rediss://` and `valkey://`.

A URL is as redis-py takes it: `redis://[user:password@]host[:port][/database]`. `?allow_eviction=true` accepts a
server that deletes jobs when its memory is full. See docs/redis.md for the layout of the keys.
"""

from stanchion.contract.backend import Clock
from stanchion_redis.backend import RedisBackend

__all__ = ["RedisBackend", "open"]


def open(url: str, *, namespace: str, clock: Clock | None = None) -> RedisBackend:
    """Open a backend; it connects when it is first used.

    Args:
        url: Where the server is.

        namespace: What all keys begin with.

        clock: For tests: the time, instead of the server's.

    Returns:
        The backend.

    Raises:
        ConfigError: It is no URL of a Redis server.
    """
    return RedisBackend(url, namespace=namespace, clock=clock)
