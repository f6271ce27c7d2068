"""What stories are drawn from: drafts of jobs, and words for all that can be said of one.

Everything in a story has a short name, so that one that fails can be read.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, TypeVar

import msgspec
from hypothesis import strategies as st

from stanchion.codec.specs import encode_args, encode_policy, name_call
from stanchion.model.history import Failure
from stanchion.model.policies import Exponential, Fixed, Policy, Until
from stanchion.model.records import Item
from stanchion.model.selection import Span, Where
from stanchion.model.signals import (
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
from stanchion.model.states import State

T = TypeVar("T")

SECOND: Final = timedelta(seconds=1)
MINUTE: Final = timedelta(minutes=1)
HOUR: Final = timedelta(hours=1)
LEASE: Final = timedelta(seconds=30)

QUEUES: Final = ("mail", "mailing")
"""The queues that stories are about."""

LED: Final = "led"
"""The queue of jobs that are led somewhere, where no other worker claims."""

TAGS: Final = ("kind:a", "kind:b")
"""The tags by which jobs of stories are counted and listed."""

STARTS: Final[Mapping[str, tuple[State, timedelta | None]]] = {
    "at once": (State.QUEUED, None),
    "when due, which it is": (State.SCHEDULED, 0 * SECOND),
    "in 1.5 ms": (State.SCHEDULED, timedelta(microseconds=1500)),
    "in 1 min": (State.SCHEDULED, MINUTE),
    "in 1 h": (State.SCHEDULED, HOUR),
    "after others": (State.BLOCKED, MINUTE),
    "after none": (State.BLOCKED, 0 * SECOND),
    "running": (State.RUNNING, LEASE),
    "running, for a second": (State.RUNNING, SECOND),
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
    """A job that a caller wants."""

    queue: str = QUEUES[0]
    key: str = "a"
    start: str = "at once"
    priority: int = 0
    unique: str | None = None
    until: Until = "end"
    policy: str = "plain"
    tags: tuple[str, ...] = TAGS[:1]

    @property
    def full_policy(self) -> Policy:
        """Return the policy it is enqueued with."""
        return msgspec.structs.replace(
            POLICIES[self.policy], unique=self.unique, unique_until=self.until if self.unique else "end"
        )

    def item(self, prefix: str, call: str) -> Item:
        """Return the item to insert, in a queue of one story, by a call of this name.

        Returns:
            The item, whose policy names the call.
        """
        state, due = STARTS[self.start]
        runs = state is State.RUNNING
        return Item(
            id=f"{prefix}{self.queue}:{self.key}",
            task="greet",
            state=state,
            due=due,
            priority=self.priority,
            unique=self.unique,
            scope=self.until if self.unique else None,
            tags=(*self.tags, self.key),
            claim=f"claim-{prefix}{call}" if runs else None,
            worker="ann" if runs else None,
            policy=name_call(encode_policy(self.full_policy), call),
            args=encode_args(b"{}"),
        )


Said = Mapping[str, Callable[[datetime], Signal]]
"""Signals by name; some depend on what time it is."""

_FAILURE: Final = Failure(type="ValueError", message="no", run=7)


def _always(value: T) -> Callable[[datetime], T]:
    def said(now: datetime) -> T:  # noqa: ARG001  # the same at any time
        return value

    return said


ENDS: Final[Said] = {
    "complete": _always(Completed(result=b"1")),
    "complete, with data": _always(Completed(result=b"2", notes={"saved": b"x"}, append={"log": b"done"})),
    "fail": _always(Failed(failure=_FAILURE, append={"log": b"oh"})),
    "fail, again in a while": _always(Failed(failure=_FAILURE, wait=90 * SECOND)),
    "fail, again at once": _always(Failed(failure=_FAILURE, wait=0 * SECOND)),
    "fail for good": _always(Failed(failure=_FAILURE, for_good=True)),
    "time out": _always(TimedOut(failure=_FAILURE, notes={"progress": b"0.9"})),
    "release": _always(Released(notes={"saved": b"half"})),
    "snooze": _always(Snoozed(until=MINUTE)),
    "snooze until an instant": lambda now: Snoozed(until=now + timedelta(seconds=45, microseconds=1500)),
    "snooze until the past": lambda now: Snoozed(until=now - SECOND),
    "unknown task": _always(TaskUnknown()),
    "cancel itself": _always(Cancelled(reason="not me")),
    "give up": _always(GivenUp()),
}
"""How a run can end."""

BEATS: Final[Said] = {
    "beat": _always(Beaten(lease=LEASE)),
    "beat, shorter": _always(Beaten(lease=SECOND)),
    "beat, with news": _always(
        Beaten(lease=2 * LEASE, notes={"progress": b"0.5", "saved": b"\xff"}, append={"log": b"half"})
    ),
}

ASKS: Final[Said] = {
    "cancel": _always(CancelAsked()),
    "cancel, because": _always(CancelAsked(reason="enough")),
    "retry": _always(RetryAsked()),
    "retry by force": _always(RetryAsked(force=True)),
    "first": _always(Updated(priority=9)),
    "last": _always(Updated(priority=-9)),
    "start later": _always(Updated(start=HOUR)),
    "start then": lambda now: Updated(start=now + MINUTE, priority=1),
    "start now": _always(Updated(start=0 * SECOND)),
    "tag otherwise": _always(Updated(tags=("kind:b", "new"))),
    "untag": _always(Updated(tags=())),
    "delete": _always(Deleted()),
}

SWEPT: Final[Said] = {
    "promote": _always(Promoted()),
    "unblock": _always(Unblocked()),
    "lose": _always(Lost()),
    "expire": _always(Expired()),
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
"""Steps in time; those to the next deadline, and just before it, depend on the story."""

SPANS: Final = (
    *STEPS,
    *("1 ms", "1 s", "20 s", "1 min") * 2,
    *("to the next deadline", "just before it") * 3,
)
"""What stories choose from: most of them short, or nothing would ever be in use."""


@st.composite
def drafts(draw: st.DrawFn) -> Draft:
    """Draw a draft of a job: there are few ids and unique keys, so that they meet.

    Returns:
        The draft.
    """
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
        tags=draw(st.sampled_from([TAGS[:1], TAGS[1:], TAGS, ()])),
    )


WHERES: Final[Mapping[str, Callable[[datetime], Where]]] = {
    "of ann": _always(Where(worker="ann")),
    "of bob": _always(Where(worker="bob")),
    "of another task": _always(Where(task="other")),
    "with an error": _always(Where(task="greet", error="ValueError")),
    "lost": _always(Where(error="lost: its")),
    "new": lambda now: Where(created=Span(since=now - MINUTE)),
    "old": lambda now: Where(created=Span(until=now)),
    "started lately": lambda now: Where(started=Span(since=now - MINUTE, until=now)),
    "ended lately": lambda now: Where(ended=Span(since=now - MINUTE)),
}
"""What can be asked of heads."""


_UNIQUE: Final[Sequence[tuple[str | None, Until]]] = (
    (None, "end"),
    ("u", "end"),
    (None, "end"),
    ("u", "start"),
    ("v", "end"),
)


def spoken(said: Mapping[str, object]) -> st.SearchStrategy[str]:
    """Draw one of these words.

    Returns:
        A strategy for it.
    """
    return st.sampled_from(list(said))


def anything() -> st.SearchStrategy[str]:
    """Draw any word at all, fitting or not; half of them what a sweep says.

    Returns:
        A strategy for it.
    """
    return st.one_of(st.just(AS_A_SWEEP), spoken(EVERY))
