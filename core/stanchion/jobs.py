"""Records: what a backend keeps of a job; and the ids that say where a job lives."""

import re
import threading
import time
from binascii import b2a_base64
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from os import register_at_fork, urandom
from struct import iter_unpack
from typing import Final

import msgspec

from stanchion.errors import InvalidArgument
from stanchion.queues import check_name
from stanchion.retries import Until
from stanchion.states import State
from stanchion.texts import shown

_KEY: Final = re.compile(r"[A-Za-z0-9_.~:@+=-]{1,128}")
_BASE64: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_ORDERED: Final = bytes.maketrans(_BASE64, bytes(sorted(_BASE64.replace(b"+", b"-").replace(b"/", b"_"))))

HIGHEST_PRIORITY: Final = 100
LOWEST_PRIORITY: Final = -100


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
        go on from that. The producer's clock only sorts names for people; nothing compares it.
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
    """Return the key of a job if it is one: 1 to 128 of `A-Z a-z 0-9 _ . ~ : @ + = -`.

    Raises:
        InvalidArgument: It is not.
    """
    if isinstance(value, str) and _KEY.fullmatch(value):
        return value
    raise InvalidArgument(f"a job's key is 1 to 128 of A-Z a-z 0-9 _ . ~ : @ + = -, not {value!r}")


def check_id(value: object) -> str:
    """Return a job's id, `<queue>:<key>`, if it is one.

    Raises:
        InvalidArgument: It is not.
    """
    if not isinstance(value, str) or ":" not in value:
        raise InvalidArgument(f"a job's id is <queue>:<key>, not {value!r}")
    queue, _, key = value.partition(":")
    check_name(queue)
    check_key(key)
    return value


def split_id(job_id: str) -> tuple[str, str]:
    """The queue and the key that an id consists of, split at the first colon."""
    queue, _, key = job_id.partition(":")
    return queue, key


def check_priority(value: object) -> int:
    """Return a priority if it is one: an integer from -100 (last) to 100 (first).

    Raises:
        InvalidArgument: It is not.
    """
    if type(value) is int and LOWEST_PRIORITY <= value <= HIGHEST_PRIORITY:
        return value
    raise InvalidArgument(f"a priority is an integer from -100 (last) to 100 (first), not {value!r}")


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a record's append-only list."""

    at: datetime
    """When it was appended, by the backend's clock."""

    data: bytes
    """What was appended; a backend never decodes it."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A job as a backend keeps it, as last read.

    The head is all that a backend reads. Spec, notes and lists are bytes to it.
    """

    id: str
    """Where the job lives: `<queue>:<key>`."""

    task: str
    """The name of the task it runs."""

    state: State
    """Where it is in its life."""

    claim: str | None = None
    """While running: the id of the claim that holds it, the fencing token."""

    run: int = 0
    """How often it was started; the number of its current or last run."""

    worker: str | None = None
    """While running: the worker that holds it."""

    revision: int = 0
    """How many changes were made to it without a claim."""

    due_at: datetime | None = None
    """Its state's one clock; see `stanchion.states`."""

    priority: int = 0
    """-100 (last) to 100 (first)."""

    place: int = 0
    """Its place among jobs of its priority: lower goes first. Given by the backend when it is queued."""

    unique: str | None = None
    """The digest of the unique key it holds now, if any."""

    scope: Until | None = None
    """Until when it holds its unique key."""

    tags: tuple[str, ...] = ()
    """What it can be found by."""

    created_at: datetime
    """When it was inserted."""

    started_at: datetime | None = None
    """When its current or last run started."""

    ended_at: datetime | None = None
    """When it became final."""

    spec: bytes
    """Arguments and policy, written once at insert; see `stanchion.payloads`."""

    notes: Mapping[str, bytes] = {}
    """Named values, each present only once written."""

    lists: Mapping[str, tuple[Entry, ...]] = {}
    """Named append-only lists, oldest entry first, bounded."""

    @property
    def queue(self) -> str:
        """The queue it lives in."""
        return self.id.partition(":")[0]

    @property
    def cancel_requested(self) -> bool:
        """Whether somebody asked to cancel it while it was running."""
        return "cancel" in self.notes

    def count(self, note: str) -> int:
        """A counter among the notes. One that cannot be read counts as used up, so that the job can end."""
        digits = self.notes.get(note, b"0")
        return int(digits) if digits.isdigit() and len(digits) < 10 else 1_000_000_000

    def __repr__(self) -> str:
        return f"<Record {shown(self.id)} {self.state}, run {self.run}>"


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """A job to insert."""

    id: str
    """Where it shall live: `<queue>:<key>`."""

    task: str
    """The name of its task."""

    state: State
    """One of `stanchion.states.FIRST`."""

    clock: datetime | timedelta | None = None
    """Its state's clock: an instant, or a timedelta from the backend's now."""

    priority: int = 0
    """-100 (last) to 100 (first)."""

    unique: str | None = None
    """The digest of the unique key it takes."""

    scope: Until | None = None
    """Until when it holds its unique key."""

    tags: tuple[str, ...] = ()
    """What it can be found by."""

    spec: bytes
    """Arguments and policy."""
