"""Ids: where a job lives, `<queue>:<key>`, and keys that count up."""

import re
import threading
import time
from binascii import b2a_base64
from collections.abc import Iterator
from os import register_at_fork, urandom
from struct import iter_unpack
from typing import Final

from stanchion.errors import InvalidArgument
from stanchion.model.queues import check_queue

LONGEST_KEY: Final = 128
"""Characters of the longest key of a job."""

_KEY: Final = re.compile(rf"[A-Za-z0-9_.~:@+=-]{{1,{LONGEST_KEY}}}")
_BASE64: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_ORDERED: Final = bytes.maketrans(_BASE64, bytes(sorted(_BASE64.replace(b"+", b"-").replace(b"/", b"_"))))


class Keys:
    """Makes keys that count up: each is greater than all that it made before, whichever thread asks."""

    def __init__(self) -> None:
        self._last = 0
        self.renew()

    def renew(self) -> None:
        """Start anew in a forked process: with random bits of its own, and not waiting for its parent's threads."""
        self._turn = threading.RLock()  # a signal's handler may enqueue in the middle of a key
        self._noise: Iterator[tuple[bytes]] = iter(())

    def new(self) -> str:
        """Return a new key: 20 characters in order of time, 64 bits of them random.

        42 bits of milliseconds since 1970 (they last until 2109), 14 bits that count the keys of a millisecond,
        64 random bits; an alphabet in ASCII order keeps them sorted. While the clock is behind the last key, keys
        continue from that. The producer's clock only sorts names for people; nothing compares it.

        Returns:
            The key.
        """
        with self._turn:
            tick = time.time_ns() // 1_000_000 << 14
            if tick <= self._last:
                tick = self._last + 1
            self._last = tick
            (noise,) = next(self._noise, None) or self._more_noise()
        return b2a_base64(tick.to_bytes(7, "big") + noise, newline=False).translate(_ORDERED).decode()

    def _more_noise(self) -> tuple[bytes]:
        """Ask the system for the random bits of the next 64 keys: asking for each takes half the time of a key."""
        self._noise = iter_unpack("8s", urandom(8 * 64))
        return next(self._noise)


_KEYS: Final = Keys()
new_key: Final = _KEYS.new
register_at_fork(after_in_child=_KEYS.renew)


def check_key(value: object) -> str:
    """Return a job's key if it is valid: 1 to 128 characters of `A-Z a-z 0-9 _ . ~ : @ + = -`.

    Args:
        value: A key.

    Returns:
        The key.

    Raises:
        InvalidArgument: It is not.
    """
    if isinstance(value, str) and _KEY.fullmatch(value):
        return value
    raise InvalidArgument(
        f"invalid job key {value!r}: use 1–{LONGEST_KEY} characters of A–Z a–z 0–9 _ . ~ : @ + = -"
    )


def check_id(value: object) -> str:
    """Return a job's id, `<queue>:<key>`, if it is one that a caller may use.

    Args:
        value: An id.

    Returns:
        The id.

    Raises:
        InvalidArgument: It is no id, or its queue is reserved.
    """
    if not isinstance(value, str) or ":" not in value:
        raise InvalidArgument(f"invalid job id {value!r}: use <queue>:<key>")
    queue, _, key = value.partition(":")
    check_queue(queue)
    check_key(key)
    return value


def split_id(job_id: str) -> tuple[str, str]:
    """Return the queue and the key that an id consists of, split at the first colon.

    Args:
        job_id: An id.

    Returns:
        The queue and the key.
    """
    queue, _, key = job_id.partition(":")
    return queue, key
