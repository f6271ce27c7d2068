"""What stories are drawn from: drafts of jobs, and words for all that can be said of one.

Everything that a story is told with has a short name, so that one that fails can be read.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec
from hypothesis import strategies as st

from stanchion.codec.payloads import encode_policy, encode_spec
from stanchion.model.decisions import (
    Beaten,
    CancelAsked,
    Cancelled,
    Completed,
    Deleted,
    Expired,
    Failed,
    GivenUp,
    Lost,
    Promoted,
    Released,
    RetryAsked,
    Signal,
    Snoozed,
    TaskUnknown,
    TimedOut,
    Unblocked,
    Updated,
)
from stanchion.model.history import Failure
from stanchion.model.policies import Exponential, Fixed, Policy, Until
from stanchion.model.records import Item
from stanchion.model.states import State

SECOND: Final = timedelta(seconds=1)
MINUTE: Final = timedelta(minutes=1)
HOUR: Final = timedelta(hours=1)
LEASE: Final = timedelta(seconds=30)

QUEUES: Final = ("mail", "mailing")
"""The queues that stories are about."""

LED: Final = "led"
"""The queue of jobs that are led somewhere, where nobody else claims."""


STARTS: Final[Mapping[str, tuple[State, timedelta | None]]] = {
    "at once": (State.QUEUED, None),
    "when due, which it is": (State.SCHEDULED, 0 * SECOND),
    "in 1.5 ms": (State.SCHEDULED, timedelta(microseconds=1500)),
    "in 1 min": (State.SCHEDULED, MINUTE),
    "in 1 h": (State.SCHEDULED, HOUR),
    "after others": (State.BLOCKED, MINUTE),
    "after none": (State.BLOCKED, 0 * SECOND),
}
"""When a job may start."""

POLICIES: Final[Mapping[str, Policy]] = {
    "plain": Policy(retries=1, max_lost=1, backoff=Fixed(MINUTE), keep=HOUR, keep_failed=2 * HOUR),
    "at most once": Policy(retries=0, max_lost=0, keep=HOUR, keep_failed=2 * HOUR),
    "no retries": Policy(retries=0, max_lost=2, keep=None, keep_failed=None),
    "backs off": Policy(retries=2, max_lost=0, backoff=Exponential(2, 5)),
    "not kept": Policy(retries=1, backoff=Fixed(0), keep=0 * SECOND, keep_failed=0 * SECOND),
}


class Draft(msgspec.Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """A job that somebody wants."""

    queue: str = QUEUES[0]
    key: str = "a"
    start: str = "at once"
    priority: int = 0
    unique: str | None = None
    until: Until = "end"
    policy: str = "plain"

    @property
    def full_policy(self) -> Policy:
        """The policy it is enqueued with."""
        return msgspec.structs.replace(
            POLICIES[self.policy], unique=self.unique, unique_until=self.until if self.unique else "end"
        )

    def item(self, prefix: str, call: str) -> Item:
        """Return the item to insert, in a queue of one story, by a call of this name."""
        state, clock = STARTS[self.start]
        return Item(
            id=f"{prefix}{self.queue}:{self.key}",
            task="greet",
            state=state,
            clock=clock,
            priority=self.priority,
            unique=self.unique,
            scope=self.until if self.unique else None,
            tags=("kind:a", self.key),
            spec=encode_spec(b"{}", encode_policy(self.full_policy), call),
        )


Said = Mapping[str, Callable[[datetime], Signal]]
"""Signals by name; some depend on what time it is."""

_FAILURE: Final = Failure(type="ValueError", message="no", run=7)


def _just(signal: Signal) -> Callable[[datetime], Signal]:
    def said(now: datetime) -> Signal:  # noqa: ARG001  # the same at any time
        return signal

    return said


ENDS: Final[Said] = {
    "complete": _just(Completed(result=b"1")),
    "complete, with data": _just(Completed(result=b"2", notes={"saved": b"x"}, append={"log": b"done"})),
    "fail": _just(Failed(failure=_FAILURE, append={"log": b"oh"})),
    "fail, again in a while": _just(Failed(failure=_FAILURE, wait=90 * SECOND)),
    "fail, again at once": _just(Failed(failure=_FAILURE, wait=0 * SECOND)),
    "fail for good": _just(Failed(failure=_FAILURE, for_good=True)),
    "time out": _just(TimedOut(failure=_FAILURE, notes={"progress": b"0.9"})),
    "release": _just(Released(notes={"saved": b"half"})),
    "snooze": _just(Snoozed(until=MINUTE)),
    "snooze until an instant": lambda now: Snoozed(until=now + timedelta(seconds=45, microseconds=1500)),
    "snooze until the past": lambda now: Snoozed(until=now - SECOND),
    "unknown task": _just(TaskUnknown()),
    "cancel itself": _just(Cancelled(reason="not me")),
    "give up": _just(GivenUp()),
}
"""How a run can end."""

BEATS: Final[Said] = {
    "beat": _just(Beaten(lease=LEASE)),
    "beat, shorter": _just(Beaten(lease=SECOND)),
    "beat, with news": _just(
        Beaten(lease=2 * LEASE, notes={"progress": b"0.5", "saved": b"\xff"}, append={"log": b"half"})
    ),
}

ASKS: Final[Said] = {
    "cancel": _just(CancelAsked()),
    "cancel, because": _just(CancelAsked(reason="enough")),
    "retry": _just(RetryAsked()),
    "retry by force": _just(RetryAsked(force=True)),
    "first": _just(Updated(priority=9)),
    "last": _just(Updated(priority=-9)),
    "start later": _just(Updated(start=HOUR)),
    "start then": lambda now: Updated(start=now + MINUTE, priority=1),
    "start now": _just(Updated(start=0 * SECOND)),
    "delete": _just(Deleted()),
}

SWEPT: Final[Said] = {
    "promote": _just(Promoted()),
    "unblock": _just(Unblocked()),
    "lose": _just(Lost()),
    "expire": _just(Expired()),
}

RUNS: Final[Said] = {**ENDS, **BEATS}
EVERY: Final[Said] = {**RUNS, **ASKS, **SWEPT}

AS_A_SWEEP: Final = "what a sweep says"
"""Stands for the word of `SWEPT` that belongs to the job's state."""

SWEEPS: Final[Mapping[str, str]] = {
    "blocked": "unblock",
    "scheduled": "promote",
    "queued": "promote",
    "running": "lose",
    "retrying": "promote",
    **dict.fromkeys(("completed", "failed", "timed_out", "cancelled"), "expire"),
}
"""What a sweep says of a job in each state."""

STEPS: Final[Mapping[str, timedelta]] = {
    "1 ms": timedelta(milliseconds=1),
    "1 s": SECOND,
    "20 s": 20 * SECOND,
    "1 min": MINUTE,
    "1 h": HOUR,
    "1 day": 24 * HOUR,
}
"""Steps in time; those to the next clock, and just before it, depend on the story."""

SPANS: Final = (*STEPS, *("1 ms", "1 s", "20 s", "1 min") * 2, *("to the next clock", "just before it") * 3)
"""What stories choose from: most of them short, or nothing would ever be in use."""


@st.composite
def drafts(draw: st.DrawFn) -> Draft:
    """A draft of a job: there are few ids and unique keys, so that they meet."""
    queue, key = draw(
        st.sampled_from(["mail:a", "mail:b", "mail:c", "mail:A", "mailing:a", "mailing:b"])
    ).split(":")
    unique, until = draw(st.sampled_from(_UNIQUE))
    return Draft(
        queue=queue,
        key=key,
        start=draw(st.sampled_from(["at once", "at once", *STARTS])),
        priority=draw(st.sampled_from([0, 0, 0, 1, -1, 100, -100])),
        unique=unique,
        until=until,
        policy=draw(st.sampled_from(list(POLICIES))),
    )


_UNIQUE: Final[Sequence[tuple[str | None, Until]]] = (
    (None, "end"),
    ("u", "end"),
    (None, "end"),
    ("u", "start"),
    ("v", "end"),
)


def spoken(said: Said) -> st.SearchStrategy[str]:
    """One of these words."""
    return st.sampled_from(list(said))


def anything() -> st.SearchStrategy[str]:
    """Any word at all, fitting or not; half of them what a sweep says."""
    return st.one_of(st.just(AS_A_SWEEP), spoken(EVERY))
