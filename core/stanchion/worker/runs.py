"""One run of a job inside a worker, from its claim until its outcome is recorded: a small state machine of its own.

Three threads look at a run: the loop (or a handler's thread), the keeper and the guard. What each of them learns is
an `Act`; the table `MOVES` says in which phase it counts. A pair that is absent came too late: another thread was
quicker, and nothing changes. So each run has one outcome, whichever thread decides it.

Phase and times change by `Run.move` only. What else is learned of a run has one method each, which its loop, its
runner or its keeper calls.
"""

import threading
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final

from stanchion.app.tasks import Definition
from stanchion.codec.specs import policy_of
from stanchion.context import RunningJob, StopReason
from stanchion.errors.texts import shown
from stanchion.model.policies import Policy
from stanchion.model.records import Record

_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def monotonic() -> float:
    """Return seconds that only go forward, and continue while the system sleeps, as leases do.

    Returns:
        Seconds since an unspecified instant; without the time asleep where the system cannot measure it.
    """
    return time.clock_gettime(_CLOCK)


class Phase(StrEnum):
    """Where a run is inside its worker."""

    __hash__ = str.__hash__  # as with `State`

    CLAIMED = "claimed"
    """Its handler was not entered yet."""

    IN_HANDLER = "in_handler"
    """Its handler runs, and decides the outcome."""

    OVERRULED = "overruled"
    """Its handler runs, and the outcome was decided without it: it is past its time limit, or its lease is lost."""

    DECIDED = "decided"
    """No handler runs; the outcome waits to be recorded."""

    LINGERING = "lingering"
    """Its outcome is settled, and its handler still runs."""

    OVER = "over"
    """Nothing is left to do."""


class Act(StrEnum):
    """What happens to a run."""

    __hash__ = str.__hash__

    ENTER = "enter"
    """Its handler begins."""

    LEAVE = "leave"
    """Its handler has ended."""

    DECIDE = "decide"
    """The outcome of a run whose handler will not be entered is known."""

    OVERRULE = "overrule"
    """The outcome of a run whose handler still runs is known."""

    SETTLE = "settle"
    """The outcome is recorded, or cannot be any more."""


MOVES: Final[Mapping[Phase, Mapping[Act, Phase]]] = {
    Phase.CLAIMED: {Act.ENTER: Phase.IN_HANDLER, Act.DECIDE: Phase.DECIDED},
    Phase.IN_HANDLER: {Act.LEAVE: Phase.DECIDED, Act.OVERRULE: Phase.OVERRULED},
    Phase.OVERRULED: {Act.LEAVE: Phase.DECIDED, Act.SETTLE: Phase.LINGERING},
    Phase.DECIDED: {Act.SETTLE: Phase.OVER},
    Phase.LINGERING: {Act.LEAVE: Phase.OVER},
    Phase.OVER: {},
}
"""The machine: the phase that an act leads to from each phase; an absent pair came too late."""

# Python 3.11 calls a function for each access to a member, and each run makes three moves.
_ENTER, _LEAVE, _IN_HANDLER = Act.ENTER, Act.LEAVE, Phase.IN_HANDLER

IN_HANDLER: Final = frozenset({Phase.IN_HANDLER, Phase.OVERRULED, Phase.LINGERING})
"""The phases in which the handler runs."""

SETTLED: Final = frozenset({Phase.LINGERING, Phase.OVER})
"""The phases in which nothing is to be recorded any more."""


class Lease:
    """When a run's lease is to be extended, and when its handler must stop; seconds of `monotonic`.

    A claim or beat counts from when it was asked for: the backend answered later, so its lease ends no sooner.

    Args:
        asked_at: When the claim was asked for.

        length: How long claims and beats last, in seconds.
    """

    __slots__ = ("beat_at", "ends", "length")

    def __init__(self, asked_at: float, length: float) -> None:
        self.length = length
        self.ends, self.beat_at = asked_at + length, asked_at + length / 3

    def extend(self, asked_at: float) -> None:
        """Count from a beat that was accepted: two more may be missed.

        Args:
            asked_at: When the beat was asked for.
        """
        self.ends, self.beat_at = asked_at + self.length, asked_at + self.length / 3

    def missed(self, now: float) -> None:
        """Plan the next beat after one that was not accepted.

        Args:
            now: The time, in seconds of `monotonic`.
        """
        self.beat_at = now + self.length / 12

    def skip(self, asked_at: float) -> None:
        """Plan the next beat although the lease was not extended: nothing depends on it any more.

        Args:
            asked_at: When the last beat was asked for.
        """
        self.beat_at = asked_at + self.length / 3

    @property
    def stop_at(self) -> float:
        """When a handler must stop whose lease was not extended: early enough to leave before the lease ends."""
        return self.ends - self.length / 6


class Run:
    """A run and what its worker knows of it; shared by its threads.

    Args:
        record: The job as claimed.

        lease: Until when the claim holds it.

        known_at: When the claim was answered, in seconds of `monotonic`.
    """

    __slots__ = (
        "_moving",
        "_policy",
        "definition",
        "ended_at",
        "error",
        "interrupt",
        "is_own",
        "job",
        "key",
        "known_at",
        "lease",
        "phase",
        "record",
        "revision",
        "started_at",
        "stop",
    )

    def __init__(self, record: Record, lease: Lease, known_at: float) -> None:
        self.record = record
        self.key: Final = (record.id, record.claim)
        """What distinguishes it from other runs."""
        self.revision = record.revision
        """The job's revision that this worker knows of."""
        self.definition: Definition | None = None
        """The task's definition, once its runner is chosen; `None` if this worker does not know the task."""
        self.job: RunningJob | None = None
        """What its handler sees of it, once its spec was read."""
        self.interrupt: Callable[[], object] | None = None
        """Stops the handler, called on the loop; `None` if the handler can only be asked to stop."""
        self.lease = lease
        self.known_at = known_at
        """When the claim was answered."""
        self.started_at: float | None = None
        """When the handler was entered; `None` if it was not."""
        self.ended_at: float | None = None
        """When the handler left; `None` while it has not."""
        self.error: BaseException | None = None
        """What was raised, by the handler or around it; for the log and for tests."""
        self.is_own = False
        """Whether the handler left by itself, so that its end is the outcome."""
        self.phase = Phase.CLAIMED
        self.stop: StopReason | None = None
        """Why the handler was asked to stop."""
        self._policy: Policy | None = None
        self._moving = threading.Lock()

    def move(self, act: Act) -> Phase | None:
        """Make a move of the table.

        Args:
            act: What happened.

        Returns:
            The phase it was in; `None` if the act came too late, and nothing has changed.
        """
        with self._moving:
            before = self.phase
            after = MOVES[before].get(act)
            if after is None:
                return None
            self.phase = after
            if act is _ENTER:
                self.started_at = monotonic()
            elif act is _LEAVE:
                self.ended_at, self.is_own = monotonic(), before is _IN_HANDLER
            return before

    def assign(self, definition: Definition) -> None:
        """Set the task whose handler will be called.

        Args:
            definition: The task.
        """
        self.definition = definition

    def open(self, policy: Policy) -> RunningJob:
        """Set the policy that its record says, and make what its handler sees of it.

        Args:
            policy: The job's policy.

        Returns:
            What its handler sees of it.
        """
        self._policy = policy
        self.job = RunningJob(self.record, policy, is_async=self.is_async)
        return self.job

    def can_be_interrupted(self, interrupt: Callable[[], object]) -> None:
        """Set what stops its handler.

        Args:
            interrupt: Called on the loop, after the handler was asked to stop.
        """
        self.interrupt = interrupt

    def raised(self, error: BaseException | None) -> None:
        """Set what was raised.

        Args:
            error: The exception; `None` once it is recorded: a traceback keeps alive all that a handler had.
        """
        self.error = error

    def noticed(self, revision: int) -> None:
        """Set the revision of its job, changed by others.

        Args:
            revision: The revision.
        """
        self.revision = revision

    def ask_to_stop(self, reason: StopReason) -> None:
        """Ask the handler to stop; the first reason stays.

        Args:
            reason: Why.
        """
        self.stop = self.stop or reason
        if self.job is not None:
            self.job.stop(self.stop)

    @property
    def policy(self) -> Policy:
        """The job's policy; one that fails the job at once if it cannot be read."""
        if self._policy is None:
            self._policy = policy_of(self.record.policy)
        return self._policy

    @property
    def started(self) -> bool:
        """Whether the handler was entered."""
        return self.started_at is not None

    @property
    def elapsed(self) -> float:
        """For how many seconds the handler ran, or has run until now; zero if it was not entered."""
        if self.started_at is None:
            return 0.0
        return (monotonic() if self.ended_at is None else self.ended_at) - self.started_at

    def is_overdue(self, now: float) -> bool:
        """Return whether its handler is past its time limit, and that was not noticed yet.

        Args:
            now: The time, in seconds of `monotonic`.

        Returns:
            `True` if it is.
        """
        if self.phase is not Phase.IN_HANDLER or self.started_at is None:
            return False
        return now >= self.started_at + self.policy.timeout.total_seconds()

    @property
    def is_async(self) -> bool:
        """Whether its handler runs on the loop."""
        return self.definition is not None and self.definition.is_async

    def written(self, *, last: bool) -> dict[str, Any]:
        """Return what its handler wrote, as fields of a signal.

        Args:
            last: Everything that may not have been sent, for the run's outcome; otherwise what is new, for a beat.

        Returns:
            The fields `notes` and `append`; nothing if no handler was prepared.
        """
        if self.job is None:
            return {}
        notes, append = self.job.unsent.take_all() if last else self.job.unsent.take()
        return {"notes": notes, "append": append}

    def __repr__(self) -> str:
        return f"<Run {shown(self.record.id)} run {self.record.run}, {self.phase}>"
