"""Clients of the server: how they are made, what their errors mean, and what is asked of the server at first."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ConnectionError as RedisConnectionError,
    RedisError,
    TimeoutError as RedisTimeoutError,
)
from redis.retry import Retry

from stanchion.config import redacted
from stanchion.errors import BackendError, ConfigError, Unavailable

_log: Final = logging.getLogger("stanchion.redis")

DEADLINE: Final = timedelta(seconds=5)
"""How long a call may take; a sixth of the default lease, so that a beat that hangs can be tried again in time."""

CONNECTIONS: Final = 64
"""How many calls one process makes at a time; further ones wait for one of these to end."""

OLDEST: Final = (6, 2)
"""The oldest Redis whose scripts have all that ours use."""


@contextmanager
def translating(url: str) -> Iterator[None]:
    """Turn the driver's errors into ours, the cause kept; the URL is shown without its password."""
    try:
        yield
    except (AuthenticationError, BusyLoadingError) as error:
        raise BackendError(f"{redacted(url)}: {error}") from error
    except (RedisConnectionError, RedisTimeoutError, OSError) as error:
        raise Unavailable(f"{redacted(url)} did not answer: {error}") from error
    except RedisError as error:
        raise BackendError(f"{redacted(url)}: {error}") from error


def split_url(url: str) -> tuple[str, bool]:
    """A URL as the driver takes it, and whether it says `allow_eviction=true`.

    Raises:
        ConfigError: It is no URL of a server.
    """
    parts = urlsplit(url.replace("valkey://", "redis://", 1))
    query = dict(parse_qsl(parts.query))
    allow = query.pop("allow_eviction", "false")
    if allow not in ("true", "false"):
        raise ConfigError(f"allow_eviction is true or false, not {allow!r}")
    try:
        plain = urlunsplit(parts._replace(query=urlencode(query)))
        redis.connection.parse_url(plain)
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


def connect(url: str, deadline: timedelta) -> "redis.Redis":
    """A client for calls that end within the deadline; it connects when first used."""
    pool = redis.BlockingConnectionPool.from_url(url, **_options(deadline, Retry(NoBackoff(), 0)))
    return redis.Redis.from_pool(pool)


def connect_async(url: str, deadline: timedelta) -> "redis.asyncio.Redis":
    """The same for the running loop."""
    pool = redis.asyncio.BlockingConnectionPool.from_url(url, **_options(deadline, AsyncRetry(NoBackoff(), 0)))
    return redis.asyncio.Redis.from_pool(pool)


def inspect_server(info: Mapping[str, Any], url: str, allow_eviction: bool) -> None:
    """Refuse a server that would lose jobs, warn of one that might; read-only.

    Args:
        info: What the server answered to INFO.

        url: Where it is.

        allow_eviction: Whether an eviction policy that deletes jobs is accepted.

    Raises:
        ConfigError: It is too old, a replica, or deletes jobs when its memory is full.
    """
    where = redacted(url)
    version = str(info.get("redis_version", ""))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers and numbers < OLDEST:
        raise ConfigError(f"{where} is Redis {version}; Stanchion needs 6.2 or newer, or Valkey")
    if info.get("role", "master") != "master":
        raise ConfigError(f"{where} is a replica, which cannot be written to; give the URL of its primary")
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction" and not allow_eviction:
        raise ConfigError(
            f"{where} deletes jobs when its memory is full (maxmemory-policy {policy}); set it to noeviction, "
            "or add ?allow_eviction=true to the URL if jobs may be lost"
        )
    if str(info.get("aof_enabled", "1")) == "0":
        _log.warning("%s keeps no append-only file: a restart loses what came after its last snapshot", where)
