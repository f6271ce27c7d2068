"""Stanchion: a job queue whose backend can be changed without changing the program."""

from stanchion.app.application import Draft, Queue, Stanchion, Task
from stanchion.app.jobs import Job
from stanchion.context import RunningJob, current_job
from stanchion.errors import (
    IllegalTransition,
    JobFailed,
    JobNotFound,
    LeaseLost,
    ResultTimeout,
    StanchionError,
)
from stanchion.model.outcomes import Cancel, Fail, Retry, Snooze
from stanchion.model.policies import Exponential, Fixed
from stanchion.model.states import Event, State
from stanchion.plugins.hookspecs import hookimpl

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
