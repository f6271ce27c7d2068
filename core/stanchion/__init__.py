"""Stanchion: a job queue whose backend can be changed without changing the program."""

from stanchion.app.application import Stanchion
from stanchion.app.drafts import Draft
from stanchion.app.jobs import Job
from stanchion.app.queues import Queue
from stanchion.app.registry import Task
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
from stanchion.model.transitions import Transition
from stanchion.plugins.hookspecs import hookimpl, hookspec

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
    "Transition",
    "current_job",
    "hookimpl",
    "hookspec",
]
