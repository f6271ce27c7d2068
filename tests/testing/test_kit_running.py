"""The kit for applications: running jobs when the test says, in its time."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta

import pytest

from stanchion import Event, Exponential, StanchionError, hookimpl
from stanchion_testing import kit as kits
from stanchion_testing.clock import VirtualClock
from stanchion_testing.kit import Kit
from support.shop import Order, Shop, states


class TestRunning:
    """Running jobs when the test says."""

    def test_drain_runs_what_jobs_enqueue_as_well(self, shop, kit):
        """In the order of one worker; the answer is what ran."""
        shop.ship.enqueue(Order(7), {})
        ran = kit.drain()

        assert [(job.task, job.state) for job in ran] == [("ship", "completed"), ("welcome", "completed")]
        assert shop.book == [7, "7@example.org"]
        assert [job.result() for job in ran] == ["shipped", len("7@example.org")]
        assert kit.drain() == []

    def test_priorities_and_times_are_kept(self, shop, kit):
        """What is not due stays."""
        shop.welcome.using(delay=60).enqueue("later")
        shop.welcome.enqueue("second")
        shop.welcome.using(priority=1).enqueue("first")
        kit.drain()
        kit.clock.advance(minutes=1)
        kit.drain()

        assert shop.book == ["first", "second", "later"]

    def test_run_one_runs_one(self, shop, kit):
        """And answers it."""
        shop.welcome.enqueue("ada")
        shop.welcome.enqueue("bob")
        job = kit.run_one()

        assert (job.args["address"], job.state, shop.book) == ("ada", "completed", ["ada"])

    def test_run_one_says_what_waits_if_nothing_may_start(self, shop, kit):
        """With the time each waits for."""
        with pytest.raises(AssertionError, match="^no job may start now$"):
            kit.run_one()
        kit.clock.advance(0)
        shop.welcome.using(at=datetime(2100, 1, 1, tzinfo=UTC)).enqueue("ada")

        with pytest.raises(
            AssertionError, match="now; these wait:\n  welcome.* scheduled for 2100-01-01T00:00"
        ):
            kit.run_one()

    def test_one_queue_alone_can_be_run(self, shop, kit):
        """The others wait."""
        shop.ship.enqueue(Order(7), {})
        ran = kit.drain(queue="orders")

        assert [job.task for job in ran] == ["ship"]
        kit.assert_enqueued(shop.welcome)

    def test_queues_that_no_task_names_are_served(self, shop, kit):
        """Those of `using` as well, even if they come up on the way."""
        shop.welcome.using(queue="extra").enqueue("ada")

        assert states(kit.drain()) == ["completed"]

    def test_a_paused_queue_is_left_alone(self, shop, kit):
        """However far the time moves."""
        mail = shop.app.queue("mail")
        mail.pause()
        shop.welcome.using(delay=1).enqueue("ada")
        paused = kit.drain(within=60)
        mail.resume()

        assert (paused, states(kit.drain())) == ([], ["completed"])

    def test_an_hour_of_retries_takes_no_time(self, shop, kit):
        """The clock moves from one due job to the next, and to the end of the hour at last."""
        attempts = []

        @shop.app.task(retries=9, backoff=Exponential(base=60, cap=900))
        def flaky() -> None:
            attempts.append(kit.clock.now())
            if len(attempts) < 6:
                raise ConnectionError("down")

        start = kit.clock.now()
        flaky.enqueue()
        ran = kit.drain(raises=False, within=timedelta(hours=1))

        assert states(ran) == ["retrying"] * 5 + ["completed"]
        assert attempts == sorted(set(attempts))
        assert kit.clock.now() == start + timedelta(hours=1)

    def test_what_lies_beyond_that_time_waits(self, shop, kit):
        """To the moment."""
        shop.welcome.using(delay=60).enqueue("within")
        shop.welcome.using(delay=61).enqueue("beyond")
        kit.drain(within=60)

        assert shop.book == ["within"]

    def test_chance_is_the_same_in_each_test(self):
        """The waits of retries do not differ from run to run."""

        def waits():
            shop = Shop()
            with Kit(shop.app, clock=VirtualClock()) as kit:
                wobbly = shop.app.task(name="wobbly", retries=9, backoff=Exponential(base=60))(lambda: 1 / 0)
                wobbly.enqueue()
                return [job.due_at for job in kit.drain(raises=False, within=3600)]

        assert waits() == waits()
        assert len(set(waits())) > 1

    def test_jobs_without_end_are_noticed(self, shop, kit, monkeypatch):
        """A job that enqueues itself does not hang the test."""
        monkeypatch.setattr(kits, "ENDLESS", 10)

        @shop.app.task
        def again() -> None:
            again.enqueue()

        again.enqueue()
        with pytest.raises(StanchionError, match=r"gave up after 10 runs: .* the last was again\(\)"):
            kit.drain()

    def test_sync_handlers_run_on_the_thread_of_the_test(self, shop, kit):
        """Where its transactions are; and may run a loop of their own, as in a worker."""

        @shop.app.task
        def where() -> None:
            shop.book.append((threading.get_ident(), asyncio.run(asyncio.sleep(0, "ran"))))

        where.enqueue()
        kit.drain()

        assert shop.book == [(threading.get_ident(), "ran")]

    def test_handlers_share_one_loop_throughout_a_test(self, shop, kit):
        """What one of them opens on it serves the next; what is left on it at the end is cancelled."""

        @shop.app.task
        async def which() -> None:
            shop.book.append(asyncio.get_running_loop())
            shop.left = asyncio.create_task(asyncio.Event().wait())

        which.enqueue()
        kit.run_one()
        which.enqueue()
        kit.run_one()

        assert shop.book[0] is shop.book[1]

    def test_the_async_twins_run_on_the_running_loop(self, shop, kit):
        """And sync handlers in threads."""

        async def main():
            shop.ship.using(priority=1).enqueue(Order(7), {})
            await shop.ship.aenqueue(Order(8), {})
            first = await kit.arun_one(queue="orders")
            return [first, *await kit.adrain(within=5)]

        ran = asyncio.run(main())
        assert states(ran) == ["completed"] * 4
        assert sorted(map(str, shop.book)) == ["7", "7@example.org", "8", "8@example.org"]

    def test_middleware_and_hooks_of_the_application_are_called(self):
        """It is the application itself, on another store."""
        heard = []

        class Plugin:
            @hookimpl
            def job_changed(self, transition):
                heard.append(transition.event)

        shop = Shop(plugins=[Plugin()])
        with Kit(shop.app) as kit:
            shop.welcome.enqueue("ada")
            kit.drain()

        assert heard == [Event.ENQUEUE, Event.CLAIM, Event.COMPLETE]
