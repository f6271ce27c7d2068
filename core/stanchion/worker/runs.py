"""One run of a job inside a worker, from its claim until its settlement is answered."""

import time
from asyncio import Task
from enum import StrEnum
from typing import Any, Final

from stanchion.jobs import Record
from stanchion.payloads import UNREADABLE
from stanchion.retries import Policy
from stanchion.running import RunningJob
from stanchion.tasks import Definition

_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def monotonic() -> float:
    """Seconds that only go forward, and where the system can tell, go on while it sleeps, as leases do."""
    return time.clock_gettime(_CLOCK)


class Stop(StrEnum):
    """Why a worker stops a handler."""

    CANCEL = "cancel"
    """Somebody asked to cancel the job."""

    TIMEOUT = "timeout"
    """It ran past its time limit."""

    LEASE = "lease"
    """The lease is gone, or will be before it could be renewed."""

    SHUTDOWN = "shutdown"
    """The worker shuts down."""


class Run:
    """A run and what its worker knows of it. Shared by the loop and the keeper's thread.

    Each field has one writer, but for `stop` and `settled`, which only ever go from unset to set.
    """

    __slots__ = (
        "beat_at",
        "definition",
        "ended_at",
        "error",
        "job",
        "lease_ends",
        "policy",
        "record",
        "revision",
        "settled",
        "started",
        "started_at",
        "stop",
        "task",
    )

    def __init__(self, record: Record, claimed_at: float, lease: float) -> None:
        self.record = record
        self.revision = record.revision
        self.definition: Definition | None = None
        self.policy: Policy = UNREADABLE
        self.job: RunningJob | None = None
        self.task: Task[Any] | None = None
        self.started = False
        """Whether the handler was entered."""
        self.started_at = claimed_at
        self.ended_at: float | None = None
        """When the handler left, by the monotonic clock; none while it is in there."""
        self.error: BaseException | None = None
        """What was raised, by the handler or around it; for tests, which raise it again."""
        self.lease_ends = claimed_at + lease
        self.beat_at = claimed_at + lease / 3
        self.stop: Stop | None = None
        """Why the handler was told to stop."""
        self.settled = False
        """Whether the outcome is decided; what the handler does later changes nothing."""

    @property
    def deadline(self) -> float:
        """When its time limit is reached, by the monotonic clock."""
        return self.started_at + self.policy.timeout.total_seconds()

    def __repr__(self) -> str:
        return f"<Run {self.record.id} run {self.record.run}{', settled' if self.settled else ''}>"
