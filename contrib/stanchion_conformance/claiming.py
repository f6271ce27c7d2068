"""Claims about `claim`."""

from datetime import timedelta

import pytest

from stanchion.contract.backend import Backend
from stanchion.contract.requests import Forget
from stanchion.model.changes import TAIL, remembered
from stanchion.model.states import State
from stanchion_conformance.ground import Ground
from stanchion_conformance.invariants import listed
from stanchion_conformance.making import (
    LEASE,
    QUEUE,
    a_claim,
    an_item,
    bare,
    change,
    counts_of,
    in_states,
    inserted,
    items,
    keys_of,
    pause,
    taken,
    the,
)
from stanchion_testing.clock import VirtualClock

SECOND = timedelta(seconds=1)


class Claiming(Ground):
    """Handing jobs to workers, each to one."""

    def test_claim_makes_jobs_running(self, backend: Backend, clock: VirtualClock) -> None:
        """Give a taken job its claim, worker, run, start and lease; change nothing else."""
        inserted(backend, an_item(priority=3, tags=("t",)))
        before = the(backend)
        clock.advance(5)
        claimed = a_claim(backend, claim_id="c1", worker="w1", lease=timedelta(seconds=12, milliseconds=345))

        (job,) = claimed.records
        assert job == the(backend)
        assert (job.state, job.claim, job.worker, job.run) == (State.RUNNING, "c1", "w1", 1)
        assert (job.started_at, job.due_at) == (
            clock.now(),
            clock.now() + timedelta(seconds=12, milliseconds=345),
        )
        assert claimed.now == clock.now()
        assert (job.args, job.priority, job.tags, job.revision) == (before.args, 3, ("t",), before.revision)
        assert (job.policy, job.queued_at) == (before.policy, None)
        assert (job.place, job.created_at) == (before.place, before.created_at)

    def test_claim_takes_by_priority_then_first_come(self, backend: Backend) -> None:
        """Take the highest priority first; within one, the job that came first."""
        inserted(
            backend,
            *(an_item(key, priority=p) for key, p in [("a", 0), ("b", 1), ("c", 0), ("d", 1), ("e", -1)]),
        )

        assert keys_of(a_claim(backend).records) == ["b", "d", "a", "c", "e"]

    def test_claim_takes_at_most_its_limit(self, backend: Backend) -> None:
        """Answer that more are left; they go to the next claims."""
        inserted(backend, *items("abc"))
        first, second = a_claim(backend, limit=2), a_claim(backend, limit=2)

        assert (keys_of(first.records), first.more) == (["a", "b"], True)
        assert (keys_of(second.records), second.more) == (["c"], False)

    def test_claim_serves_queues_in_the_order_given(self, backend: Backend) -> None:
        """Empty the first queue before the next one, whatever the priorities."""
        inserted(
            backend,
            an_item("a", queue="one"),
            an_item("b", queue="two", priority=9),
            an_item("c", queue="two"),
        )

        assert keys_of(a_claim(backend, "two", "one", limit=2).records) == ["b", "c"]
        assert keys_of(a_claim(backend, "two", "one", limit=2).records) == ["a"]

    def test_claim_across_queues_takes_from_all(self, backend: Backend) -> None:
        """One call may take jobs of several queues."""
        inserted(backend, *(an_item("a", queue=queue) for queue in ("one", "two", "three")))

        taken_ids = [job.id for job in a_claim(backend, "three", "one", "two").records]
        assert taken_ids == ["three:a", "one:a", "two:a"]

    def test_claim_takes_from_the_queues_asked_for_alone(self, backend: Backend) -> None:
        """Not from those whose names begin, end or look the same."""
        inserted(backend, *(an_item("a", queue=queue) for queue in ("mail.2", "ail", "Mail", "mail", "mai")))

        assert [job.id for job in a_claim(backend, "mail").records] == ["mail:a"]
        assert a_claim(backend, "mail").records == []

    def test_claim_never_hands_one_job_to_two_claims(self, backend: Backend) -> None:
        """Hand a running job to no other while its claim holds it."""
        inserted(backend, *items("abcdef"))
        claims = [a_claim(backend, limit=2) for _ in range(4)]

        handed = [key for claim in claims for key in keys_of(claim.records)]
        assert handed == ["a", "b", "c", "d", "e", "f"]

    def test_claim_leaves_a_lapsed_lease_to_the_sweep(self, backend: Backend, clock: VirtualClock) -> None:
        """Leave a job whose lease ended to its claim until it is declared lost."""
        taken(backend)
        clock.advance(LEASE + SECOND)

        assert a_claim(backend).records == []

    def test_claim_takes_nothing_from_an_unknown_queue(self, backend: Backend) -> None:
        """Answer with no job, and do not create the queue."""
        claimed = a_claim(backend, "nowhere")

        assert (claimed.records, claimed.more, claimed.ask_again_at) == ([], False, None)
        assert dict(backend.queues()) == {}

    def test_claim_of_none_takes_none(self, backend: Backend) -> None:
        """Take nothing with a limit of zero, but answer whether there is something."""
        inserted(backend, an_item())
        claimed = a_claim(backend, limit=0)

        assert (claimed.records, claimed.more) == ([], True)

    def test_claim_leaves_paused_queues_out(self, backend: Backend, clock: VirtualClock) -> None:
        """Take and promote nothing of a paused queue, and do not answer that it has more, now or later."""
        inserted(
            backend,
            an_item("a"),
            an_item("b", state=State.SCHEDULED, due=SECOND),
            an_item("c", queue="other"),
        )
        pause(backend)
        clock.advance(2)
        claimed = a_claim(backend, QUEUE, "other")

        assert keys_of(claimed.records) == ["c"]
        assert (claimed.more, claimed.ask_again_at) == (False, None)
        assert the(backend, "b").state is State.SCHEDULED

    def test_claim_counts_runs(self, backend: Backend, clock: VirtualClock) -> None:
        """Each start has the next number, and the time it happened."""
        first = taken(backend)
        change(backend, first, State.QUEUED, guards={"claim": first.claim})
        clock.advance(7)
        (second,) = a_claim(backend).records

        assert (first.run, second.run) == (1, 2)
        assert second.started_at == clock.now()
        assert second.claim != first.claim

    def test_claim_hands_out_what_a_handler_needs(self, backend: Backend) -> None:
        """Answer a job that ran before with its head, arguments and notes."""
        first = taken(backend, args=b"args", policy=b"policy", tags=("t",))
        notes = {"saved": b"half", "progress": b"0.5"}
        counters = {"lost": 1, "attempts": 2}
        change(backend, first, State.QUEUED, notes=notes, counters=counters, error="no", append={"log": b"x"})
        (second,) = a_claim(backend).records

        assert bare(second) == bare(the(backend))
        assert (second.args, second.notes, second.counters, second.error) == (b"args", notes, counters, "no")

    @pytest.mark.parametrize("lease", [LEASE, timedelta(hours=1)])
    def test_claim_asked_again_late_answers_as_before(
        self, backend: Backend, clock: VirtualClock, lease: timedelta
    ) -> None:
        """For as long as its lease lasts and calls are repeated; nothing new is taken meanwhile."""
        inserted(backend, *items("abc"))
        first = a_claim(backend, limit=2, claim_id="once", lease=lease)
        clock.advance(remembered(lease) - timedelta(milliseconds=1))
        again = a_claim(backend, limit=2, claim_id="once", lease=lease)

        assert again.records == first.records
        assert keys_of(a_claim(backend).records) == ["c"]

    @pytest.mark.parametrize("state", [State.SCHEDULED, State.RETRYING])
    def test_claim_never_takes_a_waiting_job_before_its_time(
        self, backend: Backend, clock: VirtualClock, state: State
    ) -> None:
        """Not a millisecond early; at its instant it is due."""
        in_states(backend, {"a": state})
        clock.advance(timedelta(minutes=5, milliseconds=-1))
        early = a_claim(backend)
        clock.advance(milliseconds=1)
        due = a_claim(backend)

        assert (early.records, early.more) == ([], False)
        assert early.ask_again_at == clock.now()
        assert keys_of(due.records) == ["a"]
        assert due.ask_again_at is None

    def test_claim_never_promotes_a_blocked_job(self, backend: Backend, clock: VirtualClock) -> None:
        """Leave a job that waits for others until a change ends that."""
        in_states(backend, {"a": State.BLOCKED})
        clock.advance(days=1)

        assert a_claim(backend).records == []

    def test_claim_never_promotes_a_job_without_a_deadline(
        self, backend: Backend, clock: VirtualClock
    ) -> None:
        """Leave a scheduled job that has no time at which it would start."""
        inserted(backend, an_item(state=State.SCHEDULED, due=None))
        clock.advance(days=3000)
        claimed = a_claim(backend)

        assert (claimed.records, claimed.ask_again_at) == ([], None)

    def test_claim_promotes_to_the_tail_the_longest_due_first(
        self, backend: Backend, clock: VirtualClock
    ) -> None:
        """Due jobs of both waiting states are merged by their deadlines, behind those that are queued."""
        found = in_states(backend, {"r": State.RETRYING, "q": State.QUEUED})
        change(backend, found["r"], State.RETRYING, due=2 * SECOND)
        inserted(
            backend,
            an_item("late", state=State.SCHEDULED, due=3 * SECOND),
            an_item("soon", state=State.SCHEDULED, due=SECOND),
            an_item("high", state=State.SCHEDULED, due=3 * SECOND, priority=1),
        )
        clock.advance(3)

        assert keys_of(a_claim(backend).records) == ["high", "q", "soon", "r", "late"]

    def test_claim_promotes_jobs_of_one_instant_by_creation_then_id(
        self, backend: Backend, clock: VirtualClock
    ) -> None:
        """Start jobs that were delayed until the same instant in the order in which they were enqueued."""
        for seconds, keys in ((9, ["z", "y"]), (8, ["b", "x", "a"])):
            inserted(backend, *items(keys, state=State.SCHEDULED, due=timedelta(seconds=seconds)))
            clock.advance(1)
        clock.advance(60)

        assert keys_of(a_claim(backend).records) == ["y", "z", "a", "b", "x"]

    def test_claim_promotes_even_what_it_does_not_take(self, backend: Backend, clock: VirtualClock) -> None:
        """Queue a due job beyond the limit; that counts as a change without a claim."""
        inserted(backend, *items("ab", state=State.SCHEDULED, due=SECOND))
        clock.advance(1)
        claimed = a_claim(backend, limit=1)
        left = the(backend, "b")

        assert (keys_of(claimed.records), claimed.more) == (["a"], True)
        assert (left.state, left.due_at, left.revision) == (State.QUEUED, None, 1)
        assert left.queued_at == clock.now()

    def test_claim_promotes_at_most_a_batch(self, backend: Backend, clock: VirtualClock) -> None:
        """Bound what a crowd of due jobs costs one call; the next calls go on."""
        batch = backend.limits.batch
        inserted(backend, *items([f"{n:04}" for n in range(batch + 5)], state=State.SCHEDULED, due=SECOND))
        clock.advance(1)
        a_claim(backend, limit=1)

        assert counts_of(backend)[State.SCHEDULED] == 5
        assert len(a_claim(backend).records) == batch

    def test_claim_says_when_the_next_job_is_due(self, backend: Backend, clock: VirtualClock) -> None:
        """Answer the earliest deadline of waiting jobs in all queues asked for, without paused ones."""
        inserted(
            backend,
            an_item("a", queue="one", state=State.SCHEDULED, due=9 * SECOND),
            an_item("b", queue="two", state=State.SCHEDULED, due=5 * SECOND),
            an_item("c", queue="paused", state=State.SCHEDULED, due=SECOND),
            an_item("d", queue="other", state=State.SCHEDULED, due=SECOND),
        )
        pause(backend, "paused")

        for order in (["one", "paused", "two"], ["two", "paused", "one"]):
            assert a_claim(backend, *order).ask_again_at == clock.now() + 5 * SECOND

    @pytest.mark.parametrize("first", [State.SCHEDULED, State.RETRYING])
    def test_claim_says_when_the_first_of_both_waiting_states_is_due(
        self, backend: Backend, clock: VirtualClock, first: State
    ) -> None:
        """Though the call takes jobs, too; unless more could have been taken, which is now."""
        found = in_states(backend, {state.value: state for state in (State.SCHEDULED, State.RETRYING)})
        change(backend, found[first], first, due=SECOND)
        inserted(backend, *items("ab"))

        assert a_claim(backend, limit=1).ask_again_at == clock.now()
        assert a_claim(backend, limit=1).ask_again_at == clock.now() + SECOND

    def test_claim_says_that_there_is_more_in_any_of_its_queues(self, backend: Backend) -> None:
        """Whatever its position among those asked for."""
        inserted(backend, *items("ab", queue="one"), an_item("c", queue="two"))
        first, second = (a_claim(backend, "one", "two", limit=1) for _ in range(2))
        third = a_claim(backend, "two", "one", limit=1)

        assert [claimed.more for claimed in (first, second, third)] == [True, True, False]
        waiting = an_item("e", queue="two", state=State.SCHEDULED, due=SECOND)
        inserted(backend, an_item("d", queue="one"), waiting)
        assert a_claim(backend, "one", "two", limit=0).more

    def test_claim_follows_deadlines_that_were_moved(self, backend: Backend, clock: VirtualClock) -> None:
        """Promote a waiting job at its new time, be that sooner or later than the old one."""
        inserted(
            backend,
            an_item("sooner", state=State.SCHEDULED, due=9 * SECOND),
            an_item("later", state=State.SCHEDULED, due=SECOND),
        )
        change(backend, the(backend, "sooner"), State.SCHEDULED, due=SECOND)
        change(backend, the(backend, "later"), State.SCHEDULED, due=9 * SECOND)
        clock.advance(1)
        first = a_claim(backend)
        clock.advance(8)

        assert keys_of(first.records) == ["sooner"]
        assert first.ask_again_at == clock.now()
        assert keys_of(a_claim(backend).records) == ["later"]

    def test_claim_repeated_within_the_lease_answers_the_same(self, backend: Backend) -> None:
        """Answer with the jobs of the first time, as they are now, and nothing new."""
        inserted(backend, *items("abc"))
        first = a_claim(backend, limit=2, claim_id="c1")
        before = self.dump(backend)
        again = a_claim(backend, limit=2, claim_id="c1")

        assert again.records == first.records
        assert self.dump(backend) == before

    def test_claim_repeated_leaves_out_what_it_no_longer_holds(self, backend: Backend) -> None:
        """Leave out a job that was settled meanwhile, or that another claim took."""
        inserted(backend, *items("abc"))
        first = a_claim(backend, claim_id="c1").records
        change(backend, first[0], State.COMPLETED, guards={"claim": "c1"})
        change(backend, first[1], State.QUEUED, guards={"claim": "c1"})
        a_claim(backend, claim_id="c2")

        assert keys_of(a_claim(backend, claim_id="c1").records) == ["c"]

    def test_claim_repeated_over_several_queues_answers_the_same(self, backend: Backend) -> None:
        """Also if one of them gave nothing the first time, or was paused since."""
        inserted(backend, an_item("a", queue="two"))
        first = a_claim(backend, "one", "two", claim_id="c1")
        inserted(backend, an_item("b", queue="one"), an_item("c", queue="two"))
        pause(backend, "two")

        assert a_claim(backend, "one", "two", claim_id="c1").records == first.records

    def test_claim_repeated_takes_nothing_new_after_its_queue_was_forgotten(self, backend: Backend) -> None:
        """Recognise a claim whose jobs and queue are gone."""
        inserted(backend, an_item("a", queue="two"))
        (job,) = a_claim(backend, "one", "two", claim_id="c1").records
        change(backend, job, State.COMPLETED, guards={"claim": "c1"})
        change(backend, the(backend, "a", "two"), None)
        assert backend.forget(Forget("two"))
        inserted(backend, *items("bc", queue="one"))

        assert a_claim(backend, "one", "two", claim_id="c1").records == []

    def test_claim_frees_a_unique_key_held_until_the_start(self, backend: Backend) -> None:
        """Another job may take it from then on."""
        job = taken(backend, "a", unique="digest", scope="start")

        assert (job.unique, job.scope) == (None, "start")
        assert the(backend, "a").unique is None
        assert inserted(backend, an_item("b", unique="digest", scope="start"))[0].created

    def test_claim_keeps_a_unique_key_held_until_the_start_when_it_promotes(
        self, backend: Backend, clock: VirtualClock
    ) -> None:
        """To be queued is not to be started."""
        waiting = (an_item(k, state=State.SCHEDULED, due=SECOND, unique=k, scope="start") for k in "ab")
        inserted(backend, *waiting)
        clock.advance(1)
        a_claim(backend, limit=1)
        answers = inserted(backend, *(an_item(f"other-{key}", unique=key, scope="start") for key in "ab"))

        assert the(backend, "b").state is State.QUEUED
        assert [answer.created for answer in answers] == [True, False]

    def test_claim_keeps_a_unique_key_held_until_the_end(self, backend: Backend) -> None:
        """Leave the key to the running job."""
        job = taken(backend, "a", unique="digest", scope="end")

        assert job.unique == the(backend, "a").unique == "digest"
        assert not inserted(backend, an_item("b", unique="digest", scope="end"))[0].created

    def test_a_released_job_keeps_its_place(self, backend: Backend) -> None:
        """Place it before the jobs that came after it, but not before a higher priority."""
        inserted(backend, *items("abc"))
        (job,) = a_claim(backend, limit=1).records
        inserted(backend, an_item("high", priority=1))
        change(backend, job, State.QUEUED, guards={"claim": job.claim})

        assert keys_of(a_claim(backend).records) == ["high", "a", "b", "c"]

    def test_a_released_job_goes_before_those_that_came_to_an_empty_queue(self, backend: Backend) -> None:
        """Count places on, though no job was queued meanwhile."""
        inserted(backend, *items("ab"))
        (_, job) = a_claim(backend).records
        inserted(backend, *items("cd"))
        change(backend, job, State.QUEUED, guards={"claim": job.claim})

        assert keys_of(a_claim(backend).records) == ["b", "c", "d"]

    def test_a_job_sent_to_the_tail_goes_last(self, backend: Backend) -> None:
        """Behind all jobs of its priority that are there."""
        inserted(backend, *items("abc"))
        (job,) = a_claim(backend, limit=1).records
        change(backend, job, State.QUEUED, guards={"claim": job.claim}, place=TAIL)
        inserted(backend, an_item("d"))

        assert keys_of(a_claim(backend).records) == ["b", "c", "a", "d"]

    def test_claim_sees_a_whole_queue_through(self, backend: Backend) -> None:
        """More jobs than a batch are handed out in order, none twice, none left."""
        keys = [f"{n:04}" for n in range(backend.limits.batch * 2 + 3)]
        inserted(backend, *items(keys))
        claims = [a_claim(backend) for _ in range(3)]

        assert [key for claim in claims for key in keys_of(claim.records)] == keys
        assert listed(backend, QUEUE, State.QUEUED) == []
        assert not claims[-1].more
