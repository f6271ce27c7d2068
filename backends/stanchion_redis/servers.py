"""What the server's errors mean, and which servers are fit to keep jobs."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from redis import exceptions

from stanchion.config import redacted
from stanchion.errors import BackendError, ConfigError, StanchionError, Unavailable
from stanchion.logs import logger

_log: Final = logger("stanchion.redis")

AGAIN: Final = 60.0
"""Seconds after which a server is inspected again: its settings can be changed while it runs."""

OLDEST: Final = (6, 2)
"""The oldest Redis whose scripts have all that ours use."""


def translated(error: Exception, url: str) -> StanchionError | None:
    """Return our error for one of the driver's, or `None` if it is not one. The URL is shown without its password."""
    if isinstance(error, exceptions.AuthenticationError | exceptions.MaxConnectionsError):
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
        self._at: float | None = None
        self._evicts = ""

    def is_due(self, *, enqueues: bool) -> bool:
        """Whether the server is to be inspected before a call; one that was found to evict, before each enqueue."""
        if not self.done or (enqueues and self._evicts):
            return True
        return self._at is not None and time.monotonic() - self._at >= AGAIN

    def check(self, *, enqueues: bool) -> None:
        """Refuse to make jobs on a server that would delete them. Calls about jobs that are there go on.

        Raises:
            ConfigError: An eviction policy was switched on since the server was inspected at first.
        """
        if enqueues and self._evicts:
            raise ConfigError(self._evicts)

    def conclude(self, answer: bytes) -> None:
        """Judge a server by its answer to INFO.

        Raises:
            ConfigError: It is too old, a replica, or, when asked for the first time, deletes jobs when its memory is
                full.
        """
        self._at = time.monotonic()
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
        self._judge_eviction(info.get("maxmemory_policy", "noeviction"))
        if info.get("aof_enabled") == "0" and not self.done:
            _log.warning(
                "%s has no append-only file: a restart loses what came after its last snapshot", self._where
            )
        self.done = True

    def _judge_eviction(self, policy: str) -> None:
        before, self._evicts = self._evicts, ""
        if policy == "noeviction" or self._allow_eviction:
            return
        problem = (
            f"{self._where} deletes jobs when its memory is full (maxmemory-policy {policy}); set it to "
            "noeviction, or add ?allow_eviction=true to the URL if jobs may be lost"
        )
        if not self.done:
            raise ConfigError(problem)
        self._evicts = problem
        if not before:
            _log.error("%s; no jobs are enqueued until then", problem)
