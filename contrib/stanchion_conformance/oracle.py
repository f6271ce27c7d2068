"""The oracle: what becomes of jobs, said a second time, as plainly as can be.

Dictionaries, lists and loops, and nothing of `stanchion.model.states.MOVES`, `stanchion.model.decisions.decide` or
`stanchion.model.changes`: where the oracle and a backend differ, one of the two independent tellings is wrong. Of core
it uses only what is said to it: items, policies, and the signals that carry what happened.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import count
from typing import Any, Final

from stanchion.model import decisions as said
from stanchion.model.changes import Change
from stanchion.model.decisions import Signal
from stanchion.model.history import Failure
from stanchion.model.policies import Fixed, Policy
from stanchion.model.records import Item

Job = dict[str, Any]
"""A job: the fields of a record by name, its lists taken apart, and its policy."""

Edge = tuple[str, str, str | None]
"""A state, what happened, and the state it led to; none: the job is gone."""

Order = Callable[[Job], int]
"""The order in which a backend queued jobs of which any may go first."""

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
_FORGOTTEN: Final = ("attempts", "lost", "unknown", "cancel", "cancel_at", "result", "progress")
"""What a retry by a person wipes out."""


class No(Exception):
    """What was asked is refused: the name of the error, and what it names."""

    def __init__(self, name: str, **named: object) -> None:
        super().__init__(name, named)
        self.answer = (name, named)


class Oracle:
    """Jobs, queues and claims as they should be.

    Args:
        now: Answers what time it is.

        roll: The random number that every decision gets.
    """

    def __init__(self, now: Callable[[], datetime], roll: float) -> None:
        self.now, self.roll = now, roll
        self.jobs: dict[str, Job] = {}
        self.paused: dict[str, bool] = {}
        """Every queue that exists, and whether it is paused."""
        self.claims: dict[str, list[str]] = {}
        """The ids of the jobs that each claim was answered with."""
        self.told: list[tuple[str, Edge]] = []
        """What happened, and to whom, until somebody takes it from here."""
        self._places, self._births = count(1), count(1)

    # What one sees.

    def of(self, queue: str, *states: str) -> list[Job]:
        """The jobs of a queue in some states, or all of them."""
        mine = [job for job in self.jobs.values() if job["queue"] == queue]
        return [job for job in mine if not states or job["state"] in states]

    def line(self, queue: str) -> list[Job]:
        """The queued jobs of a queue, next first."""
        return sorted(self.of(queue, "queued"), key=lambda job: (-job["priority"], job["place"]))

    def due(self, queues: Iterable[str]) -> list[Job]:
        """The jobs whose clock has run out."""
        jobs = [job for queue in queues for job in self.of(queue)]
        return [job for job in jobs if job["due_at"] is not None and job["due_at"] <= self.now()]

    def held(self, job_id: str, claim: str | None) -> bool:
        """Whether a claim holds a job."""
        return job_id in self.jobs and self.jobs[job_id]["claim"] == claim

    # What one does.

    def insert(self, item: Item, policy: Policy) -> tuple[bool, Job | None]:
        """Make a job, unless its id is taken or its unique key held: whether this call made it, and who was there."""
        queue = item.id.split(":")[0]
        there = self.jobs.get(item.id) or self._holder(queue, item.unique)
        if there is not None:
            return (there["id"], there["spec"]) == (item.id, item.spec), there
        self.paused.setdefault(queue, False)
        self.jobs[item.id] = {
            "id": item.id,
            "queue": queue,
            "task": item.task,
            "state": item.state.value,
            "run": 0,
            "revision": 0,
            "due_at": self._instant(item.clock),
            "priority": item.priority,
            "place": next(self._places) if item.state.value == "queued" else 0,
            "unique": item.unique,
            "scope": item.scope,
            "tags": item.tags,
            "created_at": self.now(),
            "spec": item.spec,
            "notes": {},
            **dict.fromkeys(("claim", "worker", "started_at", "ended_at")),
            **{name: [] for name in ("history", "errors", "log")},
            "policy": policy,
            "born": next(self._births),
        }
        return True, None

    def claim(
        self,
        queues: Sequence[str],
        *,
        limit: int,
        claim_id: str,
        worker: str,
        lease: timedelta,
        order: Order,
    ) -> dict[str, Any]:
        """Take jobs; asked again, the same ones, as far as they are still held."""
        if claim_id in self.claims:
            return {"records": [self.jobs[one] for one in self.claims[claim_id] if self.held(one, claim_id)]}
        taken: list[Job] = []
        open_ones = [queue for queue in queues if self.paused.get(queue) is False]
        for queue in open_ones:
            waiting = [job for job in self.due([queue]) if job["state"] in ("scheduled", "retrying")]
            self._queue_up([waiting], order)
            for job in self.line(queue)[: limit - len(taken)]:
                self._start(job, claim_id, worker, lease)
                taken.append(job)
        if taken:
            self.claims[claim_id] = [job["id"] for job in taken]
        clocks = [job["due_at"] for queue in open_ones for job in self.of(queue, "scheduled", "retrying")]
        more = any(self.line(queue) for queue in open_ones)
        return {"records": taken, "more": more, "next_due_at": min(clocks, default=None)}

    def report(self, job_id: str, claim: str | None, signal: Signal) -> tuple[object, ...]:
        """What a run says: recorded now or before, or too late."""
        job = self.jobs.get(job_id)
        if job is not None and job["claim"] == claim:
            self.happen(job, signal)
            return ("Applied", self.now(), job["revision"])
        for at, entry in job["history"] if job else ():
            if entry["by"] == claim and entry["event"] == signal.event.value:
                return ("Applied", at, job and job["revision"])
        return ("LeaseLost", {"job_id": job_id})

    def ask(self, job_id: str, signal: Signal) -> Job | None:
        """What somebody asks for; the job afterwards."""
        if job_id not in self.jobs:
            raise No("JobNotFound", job_id=job_id)
        job = self.jobs[job_id]
        self.check(job, signal)
        wanted = self._wanted(job, signal)
        if wanted and self._holder(job["queue"], wanted) not in (None, job):
            raise No("UniqueHeld", job_id=job_id)
        self.happen(job, signal, by="someone")
        return self.jobs.get(job_id)

    def sweep(self, queues: Sequence[str], order: Order) -> int:
        """Move all jobs whose clock has run out; how many there were."""
        due = self.due(queues)
        waiting = [
            [job for job in due if (job["queue"], job["state"]) == (queue, state)]
            for queue in queues
            for state in ("blocked", "scheduled", "retrying")
        ]
        for job in due:
            if job["state"] == "running":
                self.happen(job, said.Lost(), by="someone")
            elif job["state"] in ENDS:
                self.happen(job, said.Expired())
        self._queue_up(waiting, order)
        return len(due)

    def forget(self, queue: str) -> None:
        """Remove a queue that has no jobs."""
        if self.of(queue):
            raise No("QueueNotEmpty", queue=queue)
        self.paused.pop(queue, None)

    def guard(self, change: Change) -> str | None:
        """The first guard of a change that does not hold."""
        job = self.jobs.get(change.job_id)
        if job is None or change.created_at not in (None, job["created_at"]):
            return "absent"
        if change.claim is not None and job["claim"] != change.claim:
            return "claim"
        if job["state"] != change.state.value:
            return "state"
        if change.if_due and (job["due_at"] is None or job["due_at"] > self.now()):
            return "due"
        if change.revision is not None and job["revision"] != change.revision:
            return "revision"
        wanted = change.move.head.get("unique")
        if wanted and self._holder(job["queue"], wanted) not in (None, job):
            return "unique"
        return None

    # What happens to a job.

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
        event, state, run_started = signal.event.value, job["state"], job["started_at"]
        if isinstance(signal, _BY_RUN):
            by = job["claim"]
            job["notes"].update(signal.notes)
            job["log"] += [(self.now(), line) for line in signal.append.values()]
        else:
            job["revision"] += 1
        if isinstance(signal, said.Deleted | said.Expired):
            del self.jobs[job["id"]]
            self.told.append((job["id"], (state, event, None)))
            return
        reason = self._become(job, signal)
        after = job["state"]
        if after != "running":
            job["claim"] = job["worker"] = None
        self.told.append((job["id"], (state, event, after)))
        if isinstance(signal, said.Beaten | said.Promoted | said.Unblocked):
            return
        ended = state == "running" and after != "running"
        entry = {"event": event, "to": after, "by": by, "run": job["run"], "reason": reason}
        entry["started_ms"] = _ms(run_started) if ended else None
        job["history"].append((self.now(), entry))

    def _become(self, job: Job, signal: Signal) -> str:
        """Change a job as a signal says; the reason to note down."""
        match signal:
            case said.Beaten():
                job["due_at"] = max(job["due_at"], self._instant(signal.lease))
            case said.Completed():
                self._one_more(job, "attempts")
                job["notes"]["result"] = signal.result
                self._end(job, "completed")
            case said.Failed() | said.TimedOut():
                self._fail(job, signal)
            case said.Lost() | said.GivenUp():
                return self._lose(job)
            case said.Released():
                self._one_more(job, "released")
                self._wait(job, "queued", None)
            case said.Snoozed():
                self._one_more(job, "snoozed")
                self._wait(job, "scheduled", signal.until)
            case said.TaskUnknown():
                minutes = min(0.5 * 2 ** int(job["notes"].get("unknown", 0)), 10)
                self._one_more(job, "snoozed")
                self._one_more(job, "unknown")
                self._wait(job, "scheduled", timedelta(minutes=minutes))
            case said.Cancelled():
                self._one_more(job, "attempts")
                self._end(job, "cancelled")
                return signal.reason
            case said.CancelAsked():
                if "cancel" not in job["notes"]:
                    job["notes"]["cancel"] = signal.reason.encode()
                    job["notes"]["cancel_at"] = b"%d" % _ms(self.now())
                if job["state"] != "running":
                    self._end(job, "cancelled")
                return signal.reason
            case said.RetryAsked():
                job["unique"] = self._wanted(job, signal) or job["unique"]
                job["notes"] = {name: note for name, note in job["notes"].items() if name not in _FORGOTTEN}
                self._wait(job, "queued", None)
                job["place"], job["ended_at"] = next(self._places), None
            case said.Promoted() | said.Unblocked():
                self._wait(job, "queued", None)
                job["place"] = next(self._places)
            case said.Updated():
                if signal.priority is not None:
                    job["priority"] = signal.priority
                if signal.start is not None:
                    self._wait(job, "scheduled", signal.start)
        return ""

    def _fail(self, job: Job, signal: said.Failed | said.TimedOut) -> None:
        """An attempt is used up; another follows after a while, unless that was the last or somebody cancelled."""
        attempt, policy = self._one_more(job, "attempts"), job["policy"]
        self._err(job, signal.failure)
        last = attempt > policy.retries or (isinstance(signal, said.Failed) and signal.for_good)
        if last and "cancel" not in job["notes"]:
            self._end(job, "failed" if isinstance(signal, said.Failed) else "timed_out")
            return
        if isinstance(signal, said.Failed) and signal.wait is not None:
            wait = signal.wait
        elif isinstance(policy.backoff, Fixed):
            wait = policy.backoff.wait
        else:
            wait = self.roll * min(policy.backoff.base * 2 ** (attempt - 1), policy.backoff.cap)
        self._wait(job, "retrying", wait)

    def _lose(self, job: Job) -> str:
        """A lost job runs again, without using up an attempt, unless it was lost too often."""
        lost = self._one_more(job, "lost")
        self._err(job, Failure(type="lost", run=job["run"]))
        if "cancel" in job["notes"] or lost <= job["policy"].max_lost:
            seconds = min(30 * 2.0 ** (lost - 2), 600) * self.roll
            self._wait(job, *(("queued", None) if lost == 1 else ("retrying", timedelta(seconds=seconds))))
            return ""
        self._end(job, "failed")
        return "lost"

    def _wait(self, job: Job, state: str, clock: timedelta | datetime | None) -> None:
        """Let a job wait; one that somebody asked to cancel while it ran ends instead."""
        if job["state"] == "running" and "cancel" in job["notes"]:
            self._end(job, "cancelled")
        else:
            job["state"], job["due_at"] = state, self._instant(clock)

    def _end(self, job: Job, state: str) -> None:
        policy: Policy = job["policy"]
        keep = policy.keep if state in ("completed", "cancelled") else policy.keep_failed
        if keep is not None and policy.retries == policy.max_lost == 0:
            keep = max(keep, timedelta(seconds=60))
        job.update(state=state, due_at=self._instant(keep), ended_at=self.now(), unique=None)

    def _start(self, job: Job, claim: str, worker: str, lease: timedelta) -> None:
        self.told.append((job["id"], ("queued", "claim", "running")))
        job.update(state="running", claim=claim, worker=worker, run=job["run"] + 1, started_at=self.now())
        job["due_at"] = self._instant(lease)
        if job["scope"] == "start":
            job["unique"] = None

    def _queue_up(self, groups: list[list[Job]], order: Order) -> None:
        """Promote due jobs, those of a group oldest clock first.

        Which of two groups goes first is the backend's choice, and taken from it.
        """
        for group in groups:
            due = [(job["due_at"], job["created_at"], job["id"]) for job in sorted(group, key=order)]
            assert due == sorted(due), "jobs were queued in another order than that of clock, creation and id"
        for job in sorted((job for group in groups for job in group), key=order):
            self.happen(job, said.Unblocked() if job["state"] == "blocked" else said.Promoted())

    def _holder(self, queue: str, unique: str | None) -> Job | None:
        """The job of a queue that holds a unique key."""
        return next((job for job in self.of(queue) if unique and job["unique"] == unique), None)

    def _wanted(self, job: Job, signal: Signal) -> str | None:
        """The unique key that a job takes again when it is asked to run again."""
        policy: Policy = job["policy"]
        return policy.unique if isinstance(signal, said.RetryAsked) and job["state"] in ENDS else None

    def _one_more(self, job: Job, note: str) -> int:
        count = int(job["notes"].get(note, 0)) + 1
        job["notes"][note] = b"%d" % count
        return count

    def _err(self, job: Job, failure: Failure) -> None:
        job["errors"].append((self.now(), {"type": failure.type, "run": failure.run}))

    def _instant(self, clock: timedelta | datetime | None) -> datetime | None:
        """When a clock runs out, in whole milliseconds."""
        at = self.now() + clock if isinstance(clock, timedelta) else clock
        return at and at - timedelta(microseconds=at.microsecond % 1000)


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
