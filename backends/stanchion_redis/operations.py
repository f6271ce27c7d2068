"""The verbs, each written once: generators that yield what is to be sent and are sent the reply.

`backend.py` drives them for the sync client and for the async one.
"""

import time
from collections.abc import Generator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, TypeVar

from stanchion.contract.backend import Clock, Limits
from stanchion.contract.requests import Wait
from stanchion.errors.logs import logger
from stanchion.model.effects import whole
from stanchion_redis.keys import Keys
from stanchion_redis.wire import Argument, from_ms, to_ms

T = TypeVar("T")
Arguments = list[Argument]

_log: Final = logger("stanchion.redis")

LIMITS: Final = Limits(batch=100, local=False)
"""A hundred jobs keep every script well under a millisecond or two, and the round trip's share of each small."""

BATCH: Final = str(LIMITS.batch)
BYTES: Final = str(LIMITS.bytes)

REGISTERED: Final = 60.0
"""Seconds after which a queue is written to the registry again, in case it was removed."""

SLICE: Final = timedelta(seconds=5)
"""The longest that one blocking read lasts, so that a connection that died unnoticed is found out."""


class Script(NamedTuple):
    """Run a script."""

    name: str
    keys: list[str]
    args: list[Argument]


class Command(NamedTuple):
    """Send a command."""

    args: tuple[Argument, ...]


class Blocking(NamedTuple):
    """Send a command that waits: the reply is `None` if it waited in vain, and `False` if the backend was closed."""

    args: tuple[Argument, ...]


Step = Script | Command | Blocking
Sent = Generator[Step, Any, T]


class Namespace:
    """What the verbs of one namespace have in common.

    Args:
        namespace: What all keys begin with.

        clock: For tests: the time, instead of the server's.
    """

    def __init__(self, namespace: str, clock: Clock | None) -> None:
        self.keys = Keys(namespace)
        self._clock = clock
        self._registered: dict[str, float] = {}

    def now(self) -> Sent[datetime]:
        if self._clock is not None:
            return whole(self._clock.now())
        seconds, micros = yield Command(("TIME",))
        return from_ms(int(seconds) * 1000 + int(micros) // 1000)

    def wait(self, request: Wait) -> Sent[bool]:
        keys = [self.keys.wake(queue) for queue in request.queues]
        end = time.monotonic() + request.timeout.total_seconds()
        while True:
            woken = yield Blocking(("BLPOP", *keys, _slice(end)))
            if woken is not None or time.monotonic() >= end:
                return bool(woken)

    def _now(self) -> Argument:
        """The time as scripts take it."""
        return "" if self._clock is None else str(to_ms(self._clock.now()))

    def _register(self, queues: Sequence[str]) -> Sent[Sequence[str]]:
        """Write queues to the registry, which lies in another slot, before their first job and each minute.

        Returns:
            The queues that were written.
        """
        now = time.monotonic()
        new = [queue for queue in queues if now - self._registered.get(queue, -REGISTERED) >= REGISTERED]
        if new:
            yield Command(("SADD", self.keys.registry, *new))
            self._registered.update(dict.fromkeys(new, now))
        return new

    def _warn_of(self, quarantined: Sequence[bytes]) -> None:
        for base, key in zip(quarantined[::2], quarantined[1::2], strict=True):
            queue, name = self.keys.queue_of(base.decode()), key.decode("utf-8", "backslashreplace")
            _log.warning(
                "%s:%s cannot be read and is quarantined; see `stanchion check %s`", queue, name, queue
            )


def _slice(end: float) -> str:
    """How long the next blocking read lasts, in seconds; zero would mean for ever."""
    return f"{max(0.001, min(end - time.monotonic(), SLICE.total_seconds())):.3f}"
