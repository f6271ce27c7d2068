"""Controlling jobs from outside: round trips, heads that are old, and many who change one job."""

import asyncio
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from msgspec.structs import replace

from stanchion import IllegalTransition, JobNotFound, State
from stanchion.engine.engine import Engine
from stanchion.errors import InvalidArgument, Unavailable
from stanchion.model.signals import Updated
from stanchion.plugins.manager import Plugins
from stanchion_memory import MemoryBackend
from stanchion_testing.clock import VirtualClock
from support.factories import LEASE, an_item
from support.workers import Witness, an_app, step


class Counting(MemoryBackend):
    """A memory backend that writes down which verbs it was asked."""

    def __init__(self, clock=None):
        super().__init__(clock=clock)
        self.asked = []
        self.lost_replies = 0

    def get(self, request):
        self.asked.append("get")
        return super().get(request)

    def apply(self, request):
        self.asked.append("apply")
        answer = super().apply(request)
        if self.lost_replies:
            self.lost_replies -= 1
            raise Unavailable("no answer")
        return answer

    def configure(self, request):
        self.asked.append("configure")
        return super().configure(request)


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def app(clock):
    app = an_app(clock=clock)
    app.engine.backend = Counting(clock)
    return app


@pytest.fixture
def asked(app):
    return app.engine.backend.asked


@pytest.fixture
def nothing(app):
    return app.task(name="nothing", queue="mail")(lambda: None)


def without_place(head):
    """A head without the place, which only the backend knows."""
    return replace(head, place=0)


# Round trips


@pytest.mark.parametrize(
    ("change", "state"),
    [
        (lambda job: job.cancel("not wanted"), State.CANCELLED),
        (lambda job: job.update(priority=7), State.QUEUED),
        (lambda job: job.update(delay=60), State.SCHEDULED),
        (lambda job: asyncio.run(job.acancel()), State.CANCELLED),
        (lambda job: asyncio.run(job.aupdate(tags={"a"})), State.QUEUED),
    ],
    ids=["cancel", "update", "delay", "acancel", "aupdate"],
)
def test_a_handle_that_is_fresh_needs_one_trip(app, nothing, asked, change, state):
    """It decides on the head it holds; and knows afterwards what a fresh look would say, but for its place."""
    job = nothing.enqueue()
    change(job)
    trips = list(asked)

    assert trips == ["apply"]
    assert job.state is state
    assert without_place(job.head) == without_place(app.job(job.id).head)


def test_a_handle_of_a_listing_needs_one_trip(app, nothing, asked):
    """It holds a head."""
    nothing.enqueue()
    (job,) = app.jobs("mail", "queued")
    job.cancel()

    assert asked == ["apply"]


def test_a_handle_that_was_changed_twice_needs_two(nothing, asked):
    """The first change leaves it as fresh as before."""
    job = nothing.enqueue().cancel().retry()

    assert asked == ["apply", "apply"]
    assert [entry.event for entry in job.history] == ["cancel", "retry"]


def test_a_queue_is_paused_in_one_trip(app, asked):
    """And resumed."""
    queue = app.queue("mail")

    assert [queue.pause(), queue.pause(), queue.resume(), queue.resume()] == [True, False, True, False]
    assert asked == ["configure"] * 4


# Heads that are old


def test_what_others_did_is_seen_by_the_refusal(app, nothing, asked):
    """The change is decided again on the head that the refusal shows."""
    job = nothing.enqueue()
    app.job(job.id).update(priority=7)
    asked.clear()
    job.cancel()

    assert asked == ["apply", "apply"]
    assert (job.state, job.priority) == (State.CANCELLED, 7)


def test_a_head_that_does_not_allow_it_is_read_again(app, nothing, asked):
    """It was cancelled when it was read; somebody had it run again since."""
    job = nothing.enqueue().cancel()
    app.job(job.id).retry()
    asked.clear()
    job.cancel("again")

    assert asked == ["get", "apply"]
    assert job.state is State.CANCELLED


def test_what_is_not_allowed_now_is_refused_after_a_look(nothing, asked):
    """The error tells of the job as it is."""
    job = nothing.enqueue().cancel()
    asked.clear()

    with pytest.raises(IllegalTransition, match="^cannot cancel job .*: it is cancelled$"):
        job.cancel()
    assert asked == ["get"]


def test_what_has_become_impossible_is_refused(app, nothing):
    """The head that is held would allow it, and the job does not any more."""
    job = nothing.enqueue()
    app.job(job.id).cancel()

    with pytest.raises(IllegalTransition, match="^cannot update job .*: it is cancelled$"):
        job.update(priority=1)


def test_a_job_that_completed_meanwhile_is_not_cancelled(app, nothing):
    """The head that is held would allow it, and the job has been run."""
    job = nothing.enqueue()
    step(app)

    with pytest.raises(IllegalTransition, match="^cannot cancel job .*: it is completed$"):
        job.cancel()
    assert app.job(job.id).state is State.COMPLETED


@pytest.mark.parametrize(
    "change", [lambda job: job.cancel(), lambda job: job.retry(), lambda job: job.update(priority=1)]
)
def test_a_handle_does_not_reach_the_next_job_of_its_id(app, nothing, clock, change):
    """It means the job that it was made for, even if its head does not allow what is asked."""
    job = nothing.using(key="1").enqueue()
    app.job(job.id).delete()
    clock.advance(1)
    other = nothing.using(key="1").enqueue()

    with pytest.raises(JobNotFound):
        change(job)
    assert other.refresh().state is State.QUEUED


@pytest.mark.parametrize("before", [lambda job: job, lambda job: job.cancel()], ids=["queued", "cancelled"])
def test_a_deletion_does_not_reach_it_either(app, nothing, clock, before):
    """The job that was meant is gone, which is what was asked for."""
    job = before(nothing.using(key="1").enqueue())
    app.job(job.id).delete()
    clock.advance(1)
    other = nothing.using(key="1").enqueue()
    job.delete()

    assert other.refresh().state is State.QUEUED


def test_deleting_a_running_job_that_is_gone_by_now_is_harmless(app, nothing, clock):
    """The handle saw it running last; another has deleted it since."""
    job = nothing.enqueue()
    app.engine.call(app.engine.claim(["mail"], 1, "worker", LEASE))
    job.refresh()
    clock.advance(LEASE)
    app.engine.call(app.engine.sweep(["mail"]))
    app.job(job.id).delete()
    job.delete()

    with pytest.raises(JobNotFound):
        job.refresh()


# Replies that are lost


@pytest.mark.parametrize(
    ("ask", "word", "times"),
    [
        (lambda job: job.cancel("not wanted"), "cancelled", 1),
        (lambda job: job.update(delay=5), "scheduled", 1),
        (lambda job: job.delete(), "deleted", 0),
    ],
    ids=["cancel", "update", "delete"],
)
def test_a_change_whose_reply_was_lost_was_made(clock, ask, word, times):
    """The repetition is refused and recognised by the history; but who deleted a job, nobody can tell."""
    witness = Witness()
    app = an_app(clock=clock, plugins=[witness])
    backend = app.engine.backend = Counting(clock)
    job = app.task(name="nothing")(lambda: None).enqueue()
    backend.lost_replies = 1
    ask(job)

    assert backend.asked == ["apply", "apply"]
    assert (witness.saw[0], witness.saw.count(word)) == ("enqueued", times)


# Many who change one job


@pytest.mark.parametrize("kind", [MemoryBackend, Counting])
def test_many_threads_change_one_job(kind):
    """24 threads, 10 updates each: each is made once, and nobody gives up."""
    engine = Engine(kind(), Plugins())
    engine.call(engine.insert([an_item()]))
    made, begin = Counter(), threading.Barrier(24)

    def change(number):
        begin.wait(10)
        for _ in range(10):
            engine.call(engine.ask("mail:1", Updated(priority=number)))
            made[number] += 1

    with ThreadPoolExecutor(24) as threads:
        list(threads.map(change, range(24)))
    head = engine.call(engine.get("mail:1"))

    assert (made.total(), head.revision) == (240, 240)


def test_many_tasks_of_a_loop_change_one_job():
    """On a backend between whose request and answer the others have their turns."""
    app = an_app()
    job = app.task(name="nothing")(lambda: None).enqueue()

    async def change(number):
        handle = await app.ajob(job.id)
        for _ in range(10):
            await handle.aupdate(priority=number)

    async def main():
        await asyncio.gather(*map(change, range(24)))

    asyncio.run(main())

    assert job.refresh().head.revision == 240


# Updating


def test_tags_are_replaced(app, nothing):
    """The job is found by the new ones, and by the old ones no more."""
    job = nothing.using(tags={"old"}).enqueue().update(tags={"b", "a"})
    counted = [app.engine.call(app.engine.counts("mail", tag))[State.QUEUED] for tag in ("old", "a", "b")]

    assert job.tags == app.job(job.id).tags == ("a", "b")
    assert counted == [0, 1, 1]


def test_tags_are_removed_by_an_empty_set(nothing):
    """None at all leaves them as they are."""
    job = nothing.using(tags={"a"}).enqueue()

    assert job.update(priority=1).tags == ("a",)
    assert job.update(tags=()).tags == ()


def test_tags_are_updated_by_async_code(nothing):
    """In the same way."""
    job = nothing.enqueue()

    assert asyncio.run(job.aupdate(tags=["a"], priority=3)).tags == ("a",)
    assert job.priority == 3


@pytest.mark.parametrize("tags", ["a", {""}, {5}, 7, {"a\n"}, {"x" * 257}])
def test_what_cannot_be_tags_is_refused(nothing, asked, tags):
    """Before anything is sent."""
    job = nothing.enqueue()

    with pytest.raises(InvalidArgument, match="^tags must be a list, tuple or set of strings"):
        job.update(tags=tags)
    assert asked == []


def test_nothing_to_update_is_refused(nothing):
    """The error names what there is."""
    with pytest.raises(
        InvalidArgument, match="^cannot update a job without a change: give priority, tags, delay or at$"
    ):
        nothing.enqueue().update()
