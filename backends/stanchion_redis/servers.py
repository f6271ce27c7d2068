"""What the server's errors mean, and which servers are fit to keep jobs."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from redis import exceptions

from stanchion.contract.opening import redacted
from stanchion.errors import BackendError, ConfigError, StanchionError, Unavailable
from stanchion.errors.logs import logger

_log: Final = logger("stanchion.redis")

AGAIN: Final = 60.0
"""Seconds after which a server is inspected again: its settings can be changed while it runs."""

_UNPERMITTED: Final = "can't run this command"
"""What the server says of a command that a script may not send; it does not say which."""

OLDEST: Final = (6, 2)
"""The oldest Redis whose scripts have all that ours use."""


def translated(error: Exception, url: str) -> StanchionError | None:
    """Translate an error of the driver's.

    Args:
        error: Any error.

        url: Where the server is; it is shown without its password.

    Returns:
        Our error, or `None` if it is none of the driver's.
    """
    if isinstance(error, exceptions.AuthenticationError | exceptions.MaxConnectionsError):
        return BackendError(f"{redacted(url)}: {error}")
    if isinstance(
        error, exceptions.ConnectionError | exceptions.TimeoutError | exceptions.ReadOnlyError | OSError
    ):
        return Unavailable(f"{redacted(url)} did not answer: {error}")
    if isinstance(error, exceptions.NoPermissionError) or _UNPERMITTED in str(error):
        return BackendError(
            f"{redacted(url)}: {error} The rights that are needed are listed in docs/redis.md."
        )
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
    """Refuses a server that would lose jobs, and warns of one that might; once for all that share its connections.

    Args:
        url: Where the server is.

        allow_eviction: Whether an eviction policy that deletes jobs is accepted.
    """

    def __init__(self, url: str, allow_eviction: bool) -> None:
        self._where, self._allow_eviction = redacted(url), allow_eviction
        self.begin()

    def begin(self) -> None:
        """Begin anew: the server is inspected before the next call."""
        self._done = False
        self.again_at = 0.0
        """When the server is inspected next, on the monotonic clock."""
        self.evicts = ""
        """What is wrong with a server that deletes jobs since it was inspected at first; it is looked at before each
        enqueue."""

    def skip(self) -> None:
        """For tests: do not inspect."""
        self.again_at = math.inf

    def conclude(self, answer: bytes, *, enqueues: bool) -> None:
        """Judge a server by its answer to INFO.

        Args:
            answer: The answer.

            enqueues: Whether the call that follows makes jobs; it is refused where they would be deleted, while calls
                about jobs that are there go on.

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
        self._judge_eviction(info.get("maxmemory_policy", "noeviction"))
        if info.get("aof_enabled") == "0" and not self._done:
            _log.warning(
                "%s has no append-only file: a restart loses what came after its last snapshot", self._where
            )
        self._done, self.again_at = True, time.monotonic() + AGAIN
        if enqueues and self.evicts:
            raise ConfigError(self.evicts)

    def _judge_eviction(self, policy: str) -> None:
        before, self.evicts = self.evicts, ""
        if policy == "noeviction" or self._allow_eviction:
            return
        problem = (
            f"{self._where} deletes jobs when its memory is full (maxmemory-policy {policy}); set it to "
            "noeviction, or add ?allow_eviction=true to the URL if jobs may be lost"
        )
        if not self._done:
            raise ConfigError(problem)
        self.evicts = problem
        if not before:
            _log.error("%s; no jobs are enqueued until then", problem)
