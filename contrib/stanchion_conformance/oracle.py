"""The oracle: the new state of jobs after each event, written a second time, as plainly as can be.

It uses nothing of `stanchion.model.states.MOVES`, `stanchion.model.decisions.decide`, `stanchion.model.effects` or
`stanchion.model.ledger`: where the oracle and a backend differ, one of two independent accounts is wrong. Of core it
uses only what is said to it: requests, policies, and the signals that carry what happened.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from stanchion.contract.requests import Claim, List
from stanchion.model import signals as said
from stanchion.model.changes import Change
from stanchion.model.policies import Policy
from stanchion.model.records import Item
from stanchion.model.selection import Span
from stanchion.model.signals import Signal
from stanchion_conformance.fates import ENDS, Fates, Job, No, wanted

Order = Callable[[Job], int]
"""The order in which a backend queued jobs of which any may go first."""


class Oracle(Fates):
    """Jobs, queues and claims as they should be.

    Args:
        now: Returns the time.

        roll: The random number that every decision gets.
    """

    def __init__(self, now: Callable[[], datetime], roll: float) -> None:
        super().__init__(now, roll)
        self.paused: dict[str, bool] = {}
        """Every queue that exists, and whether it is paused."""
        self.claims: dict[str, list[str]] = {}
        """The ids of the jobs that each claim was answered with."""

    # What one sees.

    def line(self, queue: str) -> list[Job]:
        """Return the queued jobs of a queue, next first.

        Returns:
            The jobs in the order in which they are claimed.
        """
        return sorted(self.of(queue, "queued"), key=lambda job: (-job["priority"], job["place"]))

    def due(self, queues: Iterable[str]) -> list[Job]:
        """Return the jobs that are due.

        Returns:
            The jobs, queue by queue.
        """
        jobs = [job for queue in queues for job in self.of(queue)]
        return [job for job in jobs if job["due_at"] is not None and job["due_at"] <= self.now()]

    def held(self, job_id: str, claim: str | None) -> bool:
        """Return whether a claim holds a job.

        Returns:
            `True` if the job runs and names this claim.
        """
        job = self.jobs.get(job_id)
        return job is not None and job["state"] == "running" and job["claim"] == claim

    def find(self, request: List) -> list[str]:
        """Find the jobs of a listing.

        Returns:
            Their ids, in any order.
        """
        where, found = request.where, self.of(request.queue, request.state.value)
        if request.tag is not None:
            found = [job for job in found if request.tag in job["tags"]]
        if where is not None:
            found = [job for job in found if where.task in (None, job["task"])]
            found = [job for job in found if where.worker in (None, job["worker"])]
            found = [job for job in found if not where.error or where.error in (job["error"] or "")]
            found = [job for job in found if _within(job["created_at"], where.created)]
            found = [job for job in found if _within(job["started_at"], where.started)]
            found = [job for job in found if _within(job["ended_at"], where.ended)]
        return [job["id"] for job in found]

    # What one does.

    def insert(self, item: Item, rules: Policy) -> tuple[bool, Job | None, datetime]:
        """Make a job, unless its id is taken or its unique key held.

        Args:
            item: The job.

            rules: Its policy.

        Returns:
            Whether this call made it, which job was there, and when it was made or refused.
        """
        queue = item.id.split(":")[0]
        there = self.jobs.get(item.id) or self.holder(queue, item.unique)
        if there is not None:
            own = (there["id"], there["policy"]) == (item.id, item.policy)
            return own, there, there["created_at"] if own else self.now()
        self.paused.setdefault(queue, False)
        job = self.jobs[item.id] = {**_blank(item), "created_at": self.now(), "rules": rules}
        job.update(due_at=self.instant(item.due), born=next(self.births))
        if job["state"] in ("queued", "running"):
            job["place"] = next(self.places)
        if job["state"] == "running":
            self._start(job, item.claim, item.worker)
        self.note({**job, "state": None}, "enqueue", job["state"])
        return True, None, self.now()

    def claim(self, request: Claim, order: Order) -> dict[str, Any]:
        """Take jobs; asked again, the same ones, as far as they are still held.

        Returns:
            The jobs, whether there are more, and when the next one is due; of a repeated claim the jobs
                alone.
        """
        claim_id = request.claim_id
        taken: list[Job] = []
        if claim_id in self.claims:
            return {"records": [self.jobs[one] for one in self.claims[claim_id] if self.held(one, claim_id)]}
        active = [queue for queue in request.queues if self.paused.get(queue) is False]
        for queue in active:
            waiting = [job for job in self.due([queue]) if job["state"] in ("scheduled", "retrying")]
            self._queue_up([waiting], order)
            for job in self.line(queue)[: request.limit - len(taken)]:
                self.note(job, "claim", "running")
                self._start(job, claim_id, request.worker)
                job["due_at"] = self.instant(request.lease)
                taken.append(job)
        if taken:
            self.claims[claim_id] = [job["id"] for job in taken]
        deadlines = [job["due_at"] for queue in active for job in self.of(queue, "scheduled", "retrying")]
        more = any(self.line(queue) for queue in active)
        again = self.now() if more else min((at for at in deadlines if at is not None), default=None)
        return {"records": taken, "more": more, "ask_again_at": again}

    def report(self, job_id: str, claim: str | None, signal: Signal) -> tuple[object, ...]:
        """Record what a run says, unless it was recorded before or comes too late.

        Returns:
            `Applied` and what it says, or `LeaseLost` and the id.
        """
        job = self.jobs.get(job_id)
        if job is not None and self.held(job_id, claim):
            self.happen(job, signal)
            return ("Applied", self.now(), job["revision"])
        for at, entry in job["history"] if job else ():
            if entry["by"] == claim and entry["event"] == signal.event.value:
                return ("Applied", at, job and job["revision"])
        return ("LeaseLost", {"job_id": job_id})

    def ask(self, job_id: str, signal: Signal) -> Job | None:
        """Do what a caller asks of a job.

        Returns:
            The job afterwards; `None` if that deleted it.
        """
        if job_id not in self.jobs:
            raise No("JobNotFound", job_id=job_id)
        job = self.jobs[job_id]
        self.check(job, signal)
        key = wanted(job, signal)
        if key and self.holder(job["queue"], key) not in (None, job):
            raise No("UniqueHeld", job_id=job_id)
        self.happen(job, signal, by="a caller")
        return self.jobs.get(job_id)

    def sweep(self, queues: Sequence[str], order: Order) -> int:
        """Move all jobs that are due.

        Returns:
            How many there were.
        """
        due = self.due(queues)
        waiting = [
            [job for job in due if (job["queue"], job["state"]) == (queue, state)]
            for queue in queues
            for state in ("blocked", "scheduled", "retrying")
        ]
        for job in due:
            if job["state"] == "running":
                self.happen(job, said.Lost(), by="a caller")
            elif job["state"] in ENDS:
                self.happen(job, said.Expired())
        self._queue_up(waiting, order)
        return len(due)

    def pause(self, queue: str, *, paused: bool) -> tuple[bool, bool]:
        """Pause a queue or resume it.

        Returns:
            Whether it was paused before, and whether it is now.
        """
        before, self.paused[queue] = self.paused.get(queue, False), paused
        return before, paused

    def forget(self, queue: str) -> None:
        """Remove a queue that has no jobs."""
        if self.of(queue):
            raise No("QueueNotEmpty", queue=queue)
        self.paused.pop(queue, None)
        self.counted.pop(queue, None)

    def guard(self, change: Change) -> str | None:
        """Return the first guard of a change that does not hold.

        Returns:
            Its name; `None` if all hold.
        """
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
        key = change.move.unique
        if isinstance(key, str) and self.holder(job["queue"], key) not in (None, job):
            return "unique"
        return None

    def _start(self, job: Job, claim: str | None, worker: str | None) -> None:
        job.update(state="running", claim=claim, worker=worker, run=job["run"] + 1, started_at=self.now())
        if job["scope"] == "start":
            job["unique"] = None

    def _queue_up(self, groups: list[list[Job]], order: Order) -> None:
        """Promote due jobs, those of a group the longest due first.

        Which of two groups goes first is the backend's choice, and taken from it.
        """
        for group in groups:
            due = [(job["due_at"], job["created_at"], job["id"]) for job in sorted(group, key=order)]
            assert due == sorted(due), "jobs were queued in another order than by deadline, creation and id"
        for job in sorted((job for group in groups for job in group), key=order):
            self.happen(job, said.Unblocked() if job["state"] == "blocked" else said.Promoted())


def _blank(item: Item) -> Job:
    """Return a job to which nothing has happened."""
    return {
        "id": item.id,
        "queue": item.id.split(":")[0],
        "task": item.task,
        "state": item.state.value,
        "run": 0,
        "revision": 0,
        "priority": item.priority,
        "place": 0,
        "unique": item.unique,
        "scope": item.scope,
        "tags": item.tags,
        "policy": item.policy,
        "args": item.args,
        "notes": {},
        "counters": {},
        **dict.fromkeys(("claim", "worker", "queued_at", "started_at", "ended_at", "cancel", "error")),
        **{name: [] for name in ("history", "errors", "log")},
    }


def _within(at: datetime | None, span: Span | None) -> bool:
    """Return whether an instant lies in a span, whose end does not belong to it."""
    if span is None:
        return True
    return at is not None and not (span.since and at < span.since) and not (span.until and at >= span.until)
