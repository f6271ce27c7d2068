"""Transitions: what observers are notified of."""

from datetime import datetime, timedelta

import msgspec

from stanchion.model.history import Failure
from stanchion.model.records import Head
from stanchion.model.states import Event, State


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to a job, as it was recorded."""

    job: Head
    """The job after it; of a deleted one, as it was before."""

    event: Event
    """What happened."""

    from_state: State | None
    """The state it left; `None` if it was created."""

    to_state: State | None
    """The state it is in; `None` if it was deleted."""

    failure: Failure | None = None
    """Why a run failed, if one did."""

    result_size: int | None = None
    """Bytes of its result, if it completed."""

    elapsed: timedelta = timedelta(0)
    """How long its run took by the worker's clock; zero if no run ended."""

    waited: timedelta = timedelta(0)
    """How long it was queued before it was claimed; zero if it was not claimed."""

    at: datetime
    """When, by the backend's clock."""

    @property
    def is_new_state(self) -> bool:
        """Whether it changed the job's state; a beat or a request to cancel does not."""
        return self.from_state is not self.to_state
