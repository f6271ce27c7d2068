"""Leading: a job over each row of the table, and to each event that its state does not allow."""

from collections.abc import Mapping
from itertools import count
from typing import Final

from hypothesis import strategies as st
from hypothesis.stateful import rule
from msgspec.structs import replace

from stanchion.contract.backend import Backend
from stanchion.model.policies import Until
from stanchion.model.states import FIRST, MOVES, Event, State
from stanchion_conformance.drawing import EVERY, LEASE, LED, STARTS, Draft
from stanchion_conformance.fates import Edge
from stanchion_conformance.stage import Coverage
from stanchion_conformance.story import Story
from stanchion_testing.clock import START, VirtualClock

Moved = tuple[str, str, str | None]

BIRTHS: Final[list[Edge]] = [(None, Event.ENQUEUE.value, state.value) for state in sorted(FIRST)]
"""The ways in which a job can be created."""

MOVED: Final[list[Moved]] = [
    (state.value, event.value, None if to is None else to.value)
    for state, moves in MOVES.items()
    for event, targets in moves.items()
    for to in sorted(targets, key=str)
]
"""Every way from a state, those that lead back to it as well."""

EDGES: Final[list[Edge]] = [*BIRTHS, *MOVED]
"""Every row of the table, but for the ways into quarantine and out of it."""

_UNTRIED: Final = (Event.ENQUEUE, Event.CLAIM, Event.QUARANTINE, Event.RESTORE)
"""What backends do themselves."""

ILLEGAL: Final[list[tuple[str, str]]] = [
    (state.value, event.value)
    for state in State
    for event in Event
    if event not in MOVES[state] and event not in _UNTRIED
]
"""Every event that a state does not allow, of those that can be tried on a job."""

_LOST_AGAIN: Final[Moved] = ("running", "lose", "retrying")
"""The row that a job takes with its second loss."""

_ENDED_BY: Final[Mapping[str, str]] = {
    "retrying": "fail, again in a while",
    "completed": "complete",
    "failed": "fail for good",
    "timed_out": "time out",
}
"""What brings a running job into these states."""

_REPORTED: Final[Mapping[str, str]] = {
    "beat": "beat",
    "complete": "complete",
    "fail": "fail",
    "time_out": "time out",
    "release": "release",
    "snooze": "snooze",
}
_ASKED: Final[Mapping[str, str]] = {"retry": "retry by force", "delete": "delete", "cancel": "cancel"}


class SteeredStory(Story):
    """A story that can also be led."""

    def __init__(self, backend: Backend, clock: VirtualClock, coverage: Coverage) -> None:
        super().__init__(backend, clock, coverage)
        self._led = count(1)

    @rule(edge=st.sampled_from(MOVED), until=st.sampled_from(["start", "end"]))
    def lead(self, edge: Moved, until: Until) -> None:
        """Lead a new job over one row of the table, before a witness of its place and rivals for its unique key."""
        state, _, to = edge
        draft = self._draft(state, to, until)
        if edge == _LOST_AGAIN:
            draft = replace(draft, policy="no retries")
        job_id = self._bring(draft, state)
        self._enqueue_led("witness")
        self._take(job_id, edge)
        self.agree()
        self._enqueue_led("rival", unique=draft.unique)
        self._claim_led()
        self.agree()
        self._enqueue_led("late-rival", unique=draft.unique)

    def _take(self, job_id: str, edge: Moved) -> None:
        """Take one row of the table with a job that is where it begins."""
        state, event, to = edge
        if state == "running" and to == "cancelled" and event != "cancel":
            self._ask(job_id, "cancel")
            self.agree()
        if edge == _LOST_AGAIN:
            self._when_due(job_id)
            self._claim_led()
            self.agree()
        if event == "claim":
            self._claim_led()
        elif event in _REPORTED:
            self._report_led(job_id, _REPORTED[event])
        elif edge == ("running", "cancel", "cancelled"):
            self._report_led(job_id, "cancel itself")
        elif event in _ASKED:
            self._ask(job_id, _ASKED[event])
        elif event == "update":
            self._ask(job_id, "start later" if to == "scheduled" else "first")
        else:
            self._when_due(job_id)

    def tour(self, state: State) -> None:
        """Lead jobs over all rows of a state, and try everything that it does not allow."""
        if state in FIRST:
            start = next(name for name, (first, _) in STARTS.items() if first is state)
            self.enqueue([Draft(key=f"born-{next(self._led)}", queue=LED, start=start)])
            self.agree()
        for edge in MOVED:
            if edge[0] == state:
                self.lead(edge, "start")
                self.agree()
        self.mislead(state)

    def mislead(self, state: str) -> None:
        """Try everything on a new job that its state does not allow."""
        job_id = self._bring(self._draft(state, None, "end"), state)
        for word, signal in EVERY.items():
            if (state, signal(START).event.value) in ILLEGAL:
                self._say(job_id, word)
        self.agree()

    def _draft(self, state: str, to: str | None, until: Until) -> Draft:
        """Return a job that can come to a state and go on from it, with no attempt or loss left if it shall fail."""
        policy = "at most once" if {"timed_out", "failed"} & {state, to} else "plain"
        start = {"scheduled": "in 1 min", "blocked": "after others"}.get(state, "at once")
        key = f"{next(self._led)}"
        return Draft(queue=LED, key=key, start=start, unique=key, until=until, policy=policy)

    def _bring(self, draft: Draft, state: str) -> str:
        """Bring a new job into a state."""
        job_id = draft.item(self.prefix, "call").id
        self.enqueue([draft])
        self.agree()
        if state == "running" or state in _ENDED_BY:
            self._claim_led()
            self.agree()
        if state in _ENDED_BY:
            self._report_led(job_id, _ENDED_BY[state])
            self.agree()
        if state == "cancelled":
            self._ask(job_id, "cancel")
            self.agree()
        return job_id

    def _enqueue_led(self, name: str, unique: str | None = None) -> None:
        self.enqueue([Draft(key=f"{name}-{next(self._led)}", queue=LED, unique=unique)])
        self.agree()

    def _claim_led(self) -> None:
        """Claim all led jobs, whoever they are."""
        self.claim([LED], self.backend.limits.batch, "guide", LEASE)

    def _report_led(self, job_id: str, word: str) -> None:
        self._report([(run, word) for run in self.runs if run.id == job_id][-1:])

    def _when_due(self, job_id: str) -> None:
        """Wait until a job is due, and sweep."""
        self.clock.advance(self.oracle.jobs[job_id]["due_at"] - self.clock.now())
        self.sweep([LED])
