"""The story: one random life of jobs, played on the oracle and on a backend."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import count
from typing import Final, cast

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from stanchion.codec.specs import policy_of
from stanchion.contract.backend import Backend
from stanchion.contract.requests import Apply, Claim, List, ReadLedger
from stanchion.engine.reporting import Report
from stanchion.errors import StanchionError
from stanchion.model.changes import Applied, Change, remembered
from stanchion.model.decisions import decide
from stanchion.model.ledger import buckets
from stanchion.model.records import Record
from stanchion.model.signals import Asked, Beaten, Ended, Signal
from stanchion.model.states import State
from stanchion_conformance.comparing import plain_claimed, plain_head, plain_refused, shown, shown_claimed
from stanchion_conformance.drawing import (
    AS_A_SWEEP,
    ASKS,
    EVERY,
    LEASE,
    LED,
    MINUTE,
    QUEUES,
    RUNS,
    SPANS,
    STEPS,
    SWEEPS,
    TAGS,
    WHERES,
    Draft,
    anything,
    drafts,
    spoken,
)
from stanchion_conformance.fates import tallied
from stanchion_conformance.invariants import listed, read
from stanchion_conformance.stage import Coverage, Stage, answer_of, named, one_of
from stanchion_testing.clock import VirtualClock

_MILLISECOND: Final = timedelta(milliseconds=1)

Asking = tuple[Claim, datetime]
"""What was asked for by a claim, and until when it may be asked again."""

Plan = tuple[Change, Signal, int, int]
"""A change decided on, why, and when the job was born and in which run it was then."""


class Story(Stage):
    """What is done, and to whom: numbers choose among the jobs, runs or claims there are."""

    def __init__(self, backend: Backend, clock: VirtualClock, coverage: Coverage) -> None:
        super().__init__(backend, clock, coverage)
        self.runs: list[Record] = []
        self.askings: list[Asking] = []
        self.plans: list[Plan] = []
        self._numbers = count(1)

    @initialize(
        roll=st.sampled_from([0.5, 0.0, 0.25, 0.875]),
        drafts=st.lists(drafts(), min_size=1, max_size=8),
        running=st.integers(0, 3),
    )
    def begin(self, roll: float, drafts: Sequence[Draft], running: int) -> None:
        """Choose the random number that every decision gets; some jobs are there already, and some run."""
        self.oracle.roll = roll
        self.enqueue(drafts)
        self.agree()
        if running:
            self.claim(QUEUES, running, "ann", LEASE)

    # Producers.

    @rule(drafts=st.lists(drafts(), min_size=1, max_size=6))
    def enqueue(self, drafts: Sequence[Draft]) -> None:
        """Enqueue jobs, with ids and unique keys that may be taken."""
        items = [
            (draft.item(self.prefix, f"call-{next(self._numbers)}"), draft.full_policy) for draft in drafts
        ]
        self.ids.update((item.id, None) for item, _ in items)
        answers = self.operate("insert", [item for item, _ in items])
        got = [(one.created, plain_head(one.head), one.now) for one in answers]
        right = self.as_often(lambda: [self.oracle.insert(item, policy) for item, policy in items])
        self.answered(got, [(created, shown(there), at) for created, there, at in right])
        born = {
            item.id for (item, _), answer in zip(items, answers, strict=True) if answer.created and item.claim
        }
        self.runs += [
            one for one in read(self.backend, sorted(born)).values() if one is not None and one.claim
        ]

    # Workers.

    @rule(
        queues=st.lists(st.sampled_from(QUEUES), min_size=1, max_size=2, unique=True),
        limit=st.integers(0, 4),
        worker=st.sampled_from(["ann", "bob"]),
        lease=st.sampled_from([LEASE, MINUTE]),
    )
    def claim(self, queues: Sequence[str], limit: int, worker: str, lease: timedelta) -> None:
        """Take jobs."""
        names = [self.prefix + queue for queue in queues]
        claim_id = f"claim-{self.prefix}{next(self._numbers)}"
        request = Claim(queues=names, limit=limit, claim_id=claim_id, worker=worker, lease=lease)
        self.askings.append((request, self.clock.now() + remembered(lease)))
        self._claim(request)

    def _repeatable(self) -> list[Asking]:
        return [one for one in self.askings if self.clock.now() < one[1]]

    @precondition(lambda self: self._repeatable())
    @rule(which=st.integers(0, 3))
    def claim_again(self, which: int) -> None:
        """Ask again with the id of a claim, as after a lost answer."""
        self._claim(one_of(self._repeatable(), which)[0])

    def _claim(self, request: Claim) -> None:
        claimed = self.operate(
            "claim", request.queues, request.limit, request.worker, request.lease, request.claim_id
        )
        places = self._places()
        right = self.as_often(lambda: self.oracle.claim(request, lambda job: places.get(job["id"], 0)))
        held = {(run.id, run.claim) for run in self.runs}
        self.runs += [record for record in claimed.records if (record.id, record.claim) not in held]
        got = {
            "records": [plain_claimed(one) for one in claimed.records],
            "more": claimed.more,
            "ask_again_at": claimed.ask_again_at,
        }
        right = {**right, "records": [shown_claimed(job) for job in right["records"]]}
        self.answered({name: got[name] for name in right}, right)

    def _held(self) -> list[Record]:
        return [run for run in self.runs if self.oracle.held(run.id, run.claim)]

    def _stale(self) -> list[Record]:
        return [run for run in self.runs if not self.oracle.held(run.id, run.claim)]

    @rule(said=st.lists(st.tuples(st.integers(0, 3), spoken(RUNS)), min_size=1, max_size=3))
    def report(self, said: Sequence[tuple[int, str]]) -> None:
        """Say what became of some runs, in one call; with none under way, take jobs first."""
        if not self._held():
            self.claim(QUEUES, len(said), "bob", LEASE)
            self.agree()
        held = self._held()
        runs = {one_of(held, which).id: (one_of(held, which), word) for which, word in said if held}
        self._report(runs.values())

    @precondition(lambda self: self._stale())
    @rule(which=st.integers(0, 3), word=spoken(RUNS))
    def report_late(self, which: int, word: str) -> None:
        """Say what became of a run that is not held any more."""
        self._report([(one_of(self._stale()[::-1], which), word)])

    def _report(self, said: Iterable[tuple[Record, str]]) -> None:
        reports = [
            Report(run, cast(Ended | Beaten, RUNS[word](self.clock.now())), policy_of(run.policy))
            for run, word in said
        ]
        got = self.operate("report", reports)
        again = (
            self.line.repeated
        )  # no guard keeps a beat from its own repetition: what it logs, it logs twice
        for one in reports if again else ():
            if isinstance(one.signal, Beaten):
                self.oracle.report(one.job.id, one.job.claim, one.signal)
        right = [self.oracle.report(one.job.id, one.job.claim, one.signal) for one in reports]
        self.answered([_reported(one) for one in got], right)

    # Callers.

    @rule(which=st.integers(0, 11), word=spoken(ASKS))
    def ask(self, which: int, word: str) -> None:
        """Ask something of a job, or of one that is not there."""
        self._ask(one_of([*self.oracle.jobs, *self.ids], which), word)

    def _ask(self, job_id: str, word: str) -> None:
        signal = cast(Asked, ASKS[word](self.clock.now()))
        self.answered(
            answer_of(lambda: plain_head(self.operate("ask", job_id, signal))),
            answer_of(lambda: shown(self.oracle.ask(job_id, signal))),
        )

    @rule(queue=st.sampled_from(QUEUES), what=st.sampled_from(["resume", "pause", "resume", "forget"]))
    def govern(self, queue: str, what: str) -> None:
        """Pause a queue, resume it, or remove it if it is empty."""
        name = self.prefix + queue
        if what == "forget":
            self.answered(
                answer_of(lambda: self.operate("forget", name)), answer_of(lambda: self.oracle.forget(name))
            )
        else:
            done = self.operate("configure", name, paused=what == "pause")
            right = self.as_often(lambda: self.oracle.pause(name, paused=what == "pause"))
            self.answered((done.before.paused, done.after.paused), right)

    # Readers.

    @rule(
        queue=st.sampled_from(QUEUES),
        state=st.sampled_from(State),
        tag=st.sampled_from([None, *TAGS]),
        where=st.sampled_from([None, *WHERES]),
        newest=st.booleans(),
        limit=st.sampled_from([None, 1, 2]),
    )
    def search(
        self, queue: str, state: State, tag: str | None, where: str | None, newest: bool, limit: int | None
    ) -> None:
        """List jobs by tag and by what their heads say, page by page, from either end."""
        request = List(
            queue=self.prefix + queue,
            state=state,
            tag=tag,
            where=None if where is None else WHERES[where](self.clock.now()),
            newest=newest,
            limit=limit,
        )
        filters = {name: getattr(request, name) for name in ("tag", "where", "newest", "limit")}
        got = [head.id for head in listed(self.backend, request.queue, state, **filters)]
        wanted = set(self.oracle.find(request))
        order = [head.id for head in listed(self.backend, request.queue, state) if head.id in wanted]
        self.answered((sorted(got), got), (sorted(wanted), order[::-1] if newest else order))

    @rule(queue=st.sampled_from([*QUEUES, LED]), minutes=st.sampled_from([1, 5, 60]))
    def look_back(self, queue: str, minutes: int) -> None:
        """Read what was counted in the last few minutes, minute by minute."""
        name, step = self.prefix + queue, MINUTE
        until = self.clock.now()
        since = until.replace(second=0, microsecond=0) - minutes * step
        books = self.backend.ledger(ReadLedger(queue=name, since=since))
        spans = buckets(books, since, books.now, step)
        got = [{row: (tally.jobs, tally.ms) for row, tally in one.totals.items()} for one in spans]
        ends = [*(one.until for one in spans[:-1]), until + step]  # the last one holds what is counted now
        counted = self.oracle.counted.get(name, ())
        right = [
            tallied(entry for entry in counted if one.since <= entry[0] < end)
            for one, end in zip(spans, ends, strict=True)
        ]
        self.answered(got, right)

    # Time, and what others do.

    @rule(step=st.sampled_from(SPANS))
    def pass_time(self, step: str) -> None:
        """Let time pass."""
        now = self.clock.now()
        deadlines = [at for job in self.oracle.jobs.values() if (at := job["due_at"]) and at > now]
        early = _MILLISECOND if step == "just before it" else timedelta(0)
        self.clock.advance(STEPS.get(step) or max(min(deadlines, default=now) - now - early, timedelta(0)))

    @rule(queues=st.lists(st.sampled_from([*QUEUES, LED]), min_size=1, max_size=3, unique=True))
    def sweep(self, queues: Sequence[str]) -> None:
        """Sweep queues."""
        names = [self.prefix + queue for queue in queues]
        moved = self.operate("sweep", names)
        places = self._places()
        losses = sum(job["state"] == "running" for job in self.oracle.due(names))
        right = self.oracle.sweep(names, lambda job: places.get(job["id"], 0))
        # Of what it did before its answer was lost, it recognises what left an entry in the history.
        self.answered(moved, losses if self.line.repeated else right)

    @rule(what=st.sampled_from(["answer", "request"]))
    def lose(self, what: str) -> None:
        """Lose the next request, or its answer, so that it is made again."""
        self.line.loses = what

    @precondition(lambda self: self.oracle.jobs)
    @rule(which=st.integers(0, 9), word=anything())
    def say(self, which: int, word: str) -> None:
        """Say anything of a job, whether it can be or not."""
        self._say(one_of(list(self.oracle.jobs), which), word)

    def _say(self, job_id: str, word: str) -> None:
        plan = self._planned(job_id, word)
        if plan is not None:
            self._apply([plan])

    @precondition(lambda self: self.oracle.jobs)
    @rule(word=anything())
    def plan(self, word: str) -> None:
        """Decide a change of each job, to be made later, when much may have changed."""
        plans = [self._planned(job_id, word) for job_id in self.oracle.jobs]
        self.plans = [plan for plan in plans if plan is not None] + self.plans

    @precondition(lambda self: self.plans)
    @rule(chosen=st.lists(st.integers(0, 9), min_size=1, max_size=4))
    def carry_out(self, chosen: Sequence[int]) -> None:
        """Make changes that were decided on before, in one call."""
        plans = {plan[0].job_id: plan for plan in (one_of(self.plans, which) for which in chosen)}
        self._apply([plan for plan in plans.values() if self._is_clear(plan)])

    def _is_clear(self, plan: Plan) -> bool:
        """Whether it is defined what making a change comes to.

        No guard distinguishes a job from a later one of the same id that was created in the same instant, nor a
        state from the same one entered again by runs alone. A change decided before that is accepted, and writes
        down what was true then.
        """
        change, _, born, run = plan
        job = self.oracle.jobs.get(change.job_id)
        return (
            self.oracle.guard(change) is not None or job is None or (job["born"], job["run"]) == (born, run)
        )

    def _planned(self, job_id: str, word: str) -> Plan | None:
        """What to make of a job as it is; none if the machine has no such move, on which both must agree."""
        job, (_, record) = self.oracle.jobs[job_id], self.before[job_id]
        word = SWEEPS[job["state"]] if word == AS_A_SWEEP else word
        signal = EVERY[word](self.clock.now())
        roll, policy = self.oracle.roll, policy_of(record.policy)
        got = answer_of(lambda: decide(record, signal, roll=roll, policy=policy, by="a caller"))
        right = answer_of(lambda: self.oracle.check(job, signal))
        self.answered(None if isinstance(got, Change) else got, right)
        if isinstance(got, Change):
            return got, signal, job["born"], job["run"]
        self.coverage.refused[job["state"], signal.event.value] += 1
        return None

    def _apply(self, plans: Sequence[Plan]) -> None:
        """Make changes, of different jobs."""
        answers = self.backend.apply(Apply([plan[0] for plan in plans]))
        for (change, signal, _, _), answer in zip(plans, answers, strict=True):
            if isinstance(answer, Applied):
                got: object = ("Applied", answer.now, answer.revision)
            else:
                got = plain_refused(answer)
            why, job = self.oracle.guard(change), self.oracle.jobs.get(change.job_id)
            if why is None and job is not None:
                self.oracle.happen(job, signal, by="a caller")
                self.answered(got, ("Applied", self.clock.now(), job["revision"]))
            else:
                found = None if why == "absent" else job
                self.answered(got, (why, shown(found), found["history"] if found else []))

    def _places(self) -> dict[str, int]:
        found = read(self.backend, self.oracle.jobs)
        return {job_id: record.place for job_id, record in found.items() if record is not None}


def _reported(answer: Applied | StanchionError) -> tuple[object, ...]:
    if isinstance(answer, Applied):
        return ("Applied", answer.now, answer.revision)
    return named(answer)
