"""Stanchion: a job queue whose backend can be changed without changing the program."""

from stanchion.app import Draft, Queue, Stanchion, Task
from stanchion.errors import (
    IllegalTransition,
    JobFailed,
    JobNotFound,
    LeaseLost,
    ResultTimeout,
    StanchionError,
)
from stanchion.handles import Job
from stanchion.hookspecs import hookimpl
from stanchion.outcomes import Cancel, Fail, Retry, Snooze
from stanchion.retries import Exponential, Fixed
from stanchion.running import RunningJob, current_job
from stanchion.states import Event, State

__all__ = [
    "Cancel",
    "Draft",
    "Event",
    "Exponential",
    "Fail",
    "Fixed",
    "IllegalTransition",
    "Job",
    "JobFailed",
    "JobNotFound",
    "LeaseLost",
    "Queue",
    "ResultTimeout",
    "Retry",
    "RunningJob",
    "Snooze",
    "Stanchion",
    "StanchionError",
    "State",
    "Task",
    "current_job",
    "hookimpl",
]
