"""Fates: what an event makes of a job, written a second time, as plainly as can be. The oracle stands on it.

Dictionaries, lists and loops, and nothing of `stanchion.model.states.MOVES`, `stanchion.model.decisions.decide`,
`stanchion.model.effects` or `stanchion.model.ledger`.
"""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from itertools import count
from typing import Any, Final

from stanchion.model import signals as said
from stanchion.model.history import Failure
from stanchion.model.policies import Fixed, Policy
from stanchion.model.signals import Signal

Job = dict[str, Any]
"""A job: the fields of a record by name, its lists taken apart, and its rules: the policy, decoded."""

Edge = tuple[str | None, str, str | None]
"""A state, an event, and the state it led to; `None`: the job did not exist before, or is gone."""

ENDS: Final = ("completed", "failed", "timed_out", "cancelled")

FINDS: Final[dict[str, tuple[str, ...]]] = {
    "promote": ("scheduled", "retrying"),
    "unblock": ("blocked",),
    "beat": ("running",),
    "complete": ("running",),
    "fail": ("running",),
    "time_out": ("running",),
    "lose": ("running",),
    "release": ("running",),
    "snooze": ("running",),
    "cancel": ("blocked", "scheduled", "queued", "running", "retrying"),
    "retry": ("scheduled", "retrying", *ENDS),
    "update": ("blocked", "scheduled", "queued"),
    "delete": ("blocked", "scheduled", "queued", "retrying", *ENDS),
    "expire": ENDS,
}
"""The states in which each event may find a job."""

_BY_RUN: Final = (
    *(said.Beaten, said.Completed, said.Failed, said.TimedOut, said.Released),
    *(said.Snoozed, said.TaskUnknown, said.Cancelled, said.GivenUp),
)
_RESET: Final = ("attempts", "lost", "unknown")
"""The counters that a retry from outside erases."""

_LOST: Final = "its worker died or could not be reached"


class No(Exception):
    """What was asked is refused: the name of the error, and what it names."""

    def __init__(self, name: str, **named: object) -> None:
        super().__init__(name, named)
        self.answer = (name, named)


class Fates:
    """Jobs, and what happens to them.

    Args:
        now: Returns the time.

        roll: The random number that every decision gets.
    """

    def __init__(self, now: Callable[[], datetime], roll: float) -> None:
        self.now, self.roll = now, roll
        self.jobs: dict[str, Job] = {}
        self.counted: dict[str, list[tuple[datetime, Edge, timedelta]]] = {}
        """By queue, every move from state to state: when, which, and how long the job had been queued or running."""
        self.taken: list[tuple[str, Edge]] = []
        """What happened, and to which job, until a reader takes it from here."""
        self.places, self.births = count(1), count(1)

    def of(self, queue: str, *states: str) -> list[Job]:
        """Return the jobs of a queue in some states, or all of them.

        Returns:
            The jobs, in the order in which they were created.
        """
        mine = [job for job in self.jobs.values() if job["queue"] == queue]
        return [job for job in mine if not states or job["state"] in states]

    def holder(self, queue: str, unique: str | None) -> Job | None:
        """Return the job of a queue that holds a unique key.

        Returns:
            The job; `None` if the key is free or there is no key.
        """
        return next((job for job in self.of(queue) if unique and job["unique"] == unique), None)

    def instant(self, due: timedelta | datetime | None) -> datetime | None:
        """Return the instant that a deadline means, in whole milliseconds.

        Returns:
            The instant; `None` for no deadline.
        """
        at = self.now() + due if isinstance(due, timedelta) else due
        return at and at - timedelta(microseconds=at.microsecond % 1000)

    def check(self, job: Job, signal: Signal) -> None:
        """Refuse what cannot happen to a job in its state."""
        event, state = signal.event.value, job["state"]
        legal = state in FINDS[event] and (state == "running" or not isinstance(signal, _BY_RUN))
        if isinstance(signal, said.RetryAsked) and state == "completed" and not signal.force:
            legal = False
        if isinstance(signal, said.Updated) and state == "blocked" and signal.start is not None:
            legal = False
        if not legal:
            raise No("IllegalTransition", job_id=job["id"], state=state, event=event)

    def happen(self, job: Job, signal: Signal, by: str = "") -> None:
        """Let something happen to a job that it can happen to."""
        self.check(job, signal)
        event, before, was = signal.event.value, job["state"], dict(job)
        if isinstance(signal, _BY_RUN):
            by = job["claim"]
            job["notes"].update(signal.notes)
            job["log"] += [(self.now(), line) for line in signal.append.values()]
        if not isinstance(signal, said.Beaten):
            job["revision"] += 1
        if isinstance(signal, said.Deleted | said.Expired):
            del self.jobs[job["id"]]
            self.note(was, event, None)
            return
        reason = self._become(job, signal)
        after = job["state"]
        if before != after == "queued":
            job["queued_at"] = self.now()
        self.note(was, event, after)
        if isinstance(signal, said.Beaten | said.Promoted | said.Unblocked):
            return
        started = was["started_at"] if before == "running" != after else None
        entry = {"event": event, "to": after, "by": by, "run": job["run"], "reason": reason}
        entry["started_ms"] = started and round(started.timestamp() * 1000)
        job["history"].append((self.now(), entry))

    def note(self, job: Job, event: str, after: str | None) -> None:
        """Note what happened to a job as it was, and count it if it is in another state now."""
        since = {"queued": job["queued_at"] or job["created_at"], "running": job["started_at"]}
        edge = (job["state"], event, after)
        self.taken.append((job["id"], edge))
        if job["state"] != after:
            stayed = self.now() - since.get(job["state"], self.now())
            self.counted.setdefault(job["queue"], []).append((self.now(), edge, stayed))

    def _become(self, job: Job, signal: Signal) -> str:
        """Change a job as a signal says; return the reason to note down."""
        match signal:
            case said.Completed() | said.Failed() | said.TimedOut() | said.Lost() | said.GivenUp():
                return self._finish(job, signal)
            case said.Released():
                _one_more(job, "released")
                self._wait(job, "queued", None)
            case said.Snoozed():
                _one_more(job, "snoozed")
                self._wait(job, "scheduled", signal.until)
            case said.TaskUnknown():
                minutes = min(0.5 * 2 ** job["counters"].get("unknown", 0), 10)
                _one_more(job, "snoozed")
                _one_more(job, "unknown")
                self._wait(job, "scheduled", timedelta(minutes=minutes))
            case said.Cancelled():
                _one_more(job, "attempts")
                self._end(job, "cancelled")
                return signal.reason
            case said.Beaten():
                job["due_at"] = max(job["due_at"], self.instant(signal.lease))
            case said.Promoted() | said.Unblocked():
                self._wait(job, "queued", None)
                job["place"] = next(self.places)
            case _:
                return self._obey(job, signal)
        return ""

    def _obey(self, job: Job, signal: Signal) -> str:
        """Change a job as a caller asks; return the reason to note down."""
        match signal:
            case said.CancelAsked():
                if job["cancel"] is None:
                    job["cancel"] = {"reason": signal.reason, "at": self.now()}
                if job["state"] != "running":
                    self._end(job, "cancelled")
                return signal.reason
            case said.RetryAsked():
                job["unique"] = wanted(job, signal) or job["unique"]
                job["notes"] = {
                    k: note for k, note in job["notes"].items() if k not in ("result", "progress")
                }
                job["counters"] = {name: n for name, n in job["counters"].items() if name not in _RESET}
                self._wait(job, "queued", None)
                job.update(place=next(self.places), ended_at=None, cancel=None, error=None)
            case said.Updated():
                if signal.priority is not None:
                    job["priority"] = signal.priority
                if signal.tags is not None:
                    job["tags"] = signal.tags
                if signal.start is not None:
                    self._wait(job, "scheduled", signal.start)
        return ""

    def _finish(self, job: Job, signal: Signal) -> str:
        match signal:
            case said.Completed():
                _one_more(job, "attempts")
                job["notes"]["result"] = signal.result
                self._end(job, "completed")
            case said.Failed() | said.TimedOut():
                self._fail(job, signal)
            case _:
                return self._lose(job)
        return ""

    def _fail(self, job: Job, signal: said.Failed | said.TimedOut) -> None:
        """Use up an attempt; another follows after a while, unless that was the last or a caller cancelled."""
        attempt, rules = _one_more(job, "attempts"), job["rules"]
        self._err(job, signal.failure)
        last = attempt > rules.retries or (isinstance(signal, said.Failed) and signal.for_good)
        if last and job["cancel"] is None:
            self._end(job, "failed" if isinstance(signal, said.Failed) else "timed_out")
            return
        if isinstance(signal, said.Failed) and signal.wait is not None:
            wait = signal.wait
        elif isinstance(rules.backoff, Fixed):
            wait = rules.backoff.wait
        else:
            wait = self.roll * min(rules.backoff.base * 2 ** (attempt - 1), rules.backoff.cap)
        self._wait(job, "retrying", wait)

    def _lose(self, job: Job) -> str:
        """Let a lost job run again, without using up an attempt, unless it was lost too often."""
        lost = _one_more(job, "lost")
        self._err(job, Failure(type="lost", message=_LOST, run=job["run"]))
        if job["cancel"] is not None or lost <= job["rules"].max_lost:
            seconds = min(30 * 2.0 ** (lost - 2), 600) * self.roll
            self._wait(job, *(("queued", None) if lost == 1 else ("retrying", timedelta(seconds=seconds))))
            return ""
        self._end(job, "failed")
        return "lost"

    def _wait(self, job: Job, state: str, due: timedelta | datetime | None) -> None:
        """Let a job wait; one that a caller asked to cancel while it ran ends instead."""
        if job["state"] == "running" and job["cancel"] is not None:
            self._end(job, "cancelled")
        else:
            job["state"], job["due_at"] = state, self.instant(due)

    def _end(self, job: Job, state: str) -> None:
        rules: Policy = job["rules"]
        keep = rules.keep if state in ("completed", "cancelled") else rules.keep_failed
        if keep is not None and rules.retries == rules.max_lost == 0:
            keep = max(keep, timedelta(seconds=60))
        job.update(state=state, due_at=self.instant(keep), ended_at=self.now(), unique=None)

    def _err(self, job: Job, failure: Failure) -> None:
        job["error"] = f"{failure.type}: {failure.message}"
        job["errors"].append((self.now(), {"type": failure.type, "run": failure.run}))


def wanted(job: Job, signal: Signal) -> str | None:
    """Return the unique key that a job takes again when it is asked to run again.

    Returns:
        The key; `None` if it takes none.
    """
    rules: Policy = job["rules"]
    return rules.unique if isinstance(signal, said.RetryAsked) and job["state"] in ENDS else None


def _one_more(job: Job, counter: str) -> int:
    number: int = job["counters"].get(counter, 0) + 1
    job["counters"][counter] = number
    return number


def tallied(counted: Iterable[tuple[datetime, Edge, timedelta]]) -> dict[str, tuple[int, int]]:
    """Return how often each edge was counted, and for how many milliseconds in all, by its name.

    Args:
        counted: What was counted: when, which edge, and how long the job had been in the state that it left.

    Returns:
        Numbers by names such as `queued.claim.running`.
    """
    found: dict[str, tuple[int, int]] = {}
    for _, edge, stayed in counted:
        name = ".".join(part or "-" for part in edge)
        jobs, ms = found.get(name, (0, 0))
        found[name] = (jobs + 1, ms + stayed // timedelta(milliseconds=1))
    return found
