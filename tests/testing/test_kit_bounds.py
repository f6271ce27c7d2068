"""The kit for applications: where it begins and ends, and what it refuses."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from stanchion import Event, ResultTimeout, Stanchion, StanchionError, hookimpl
from stanchion.errors import ConfigError
from stanchion_testing.clock import VirtualClock
from stanchion_testing.kit import Kit
from support.shop import NOWHERE, Shop


class TestBounds:
    """Where the kit begins and ends."""

    def test_the_application_is_as_before_at_the_end(self, shop):
        """And its own backend was never called: nothing listens there."""
        before = shop.app.engine, shop.app.config
        with Kit(shop.app) as kit:
            shop.welcome.enqueue("ada")
            kit.drain()

        assert (shop.app.engine, shop.app.config) == before

    def test_it_ends_while_an_exception_passes_through(self, shop):
        """Which stays the one that the test sees, whatever was planned."""
        before = shop.app.engine

        def interrupted():
            with Kit(shop.app) as kit:
                kit.fail_call(shop.welcome)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            interrupted()

        assert shop.app.engine is before

    def test_time_begins_now(self, shop):
        """So that instants which the application counts from its own clock mean what they say."""
        with Kit(shop.app) as kit:
            assert abs(kit.clock.now() - datetime.now(UTC)) < timedelta(minutes=1)

    def test_time_is_the_one_that_is_given(self, shop):
        """For tests that want the same instant each time."""
        clock = VirtualClock()
        with Kit(shop.app, clock=clock) as kit:
            shop.welcome.enqueue("ada")

            assert kit.run_one().record.ended_at == clock.now()

    def test_a_result_is_not_waited_for(self, shop, kit):
        """Nobody would run the job meanwhile: the time is up at once."""
        job = shop.welcome.enqueue("ada")
        with pytest.raises(ResultTimeout, match="did not finish within 5 s") as found:
            job.result(timeout=5)
        with pytest.raises(StanchionError, match=r"only drain\(\) and run_one\(\) run jobs"):
            job.result()
        kit.drain()

        assert found.value.__notes__ == ["in a test only drain() and run_one() run jobs"]
        assert job.result() == 3

    def test_a_transaction_of_the_program_is_not_waited_for(self, shop, kit):
        """The store of the kit knows nothing of its database: the job is there at once."""
        engine = shop.app.engine
        engine.call(engine.insert([shop.welcome.draft("ada").item], object()))

        assert kit.assert_enqueued(shop.welcome).args["address"] == "ada"

    def test_draining_inside_a_handler_is_refused(self, shop, kit):
        """Sync and async."""

        @shop.app.task
        def greedy() -> None:
            kit.drain()

        @shop.app.task
        async def agreedy() -> None:
            await kit.arun_one()

        greedy.enqueue()
        agreedy.enqueue()
        with pytest.raises(StanchionError, match=r"drain\(\) inside a handler: job default:.* is running"):
            kit.run_one()
        with pytest.raises(StanchionError, match=r"arun_one\(\) inside a handler"):
            kit.run_one()

    def test_draining_from_a_hook_is_refused(self):
        """Jobs are being run already."""
        refused = []

        class Plugin:
            @hookimpl
            def job_changed(self, transition):
                if transition.event is not Event.CLAIM:
                    return
                with pytest.raises(StanchionError) as found:
                    kit.adrain().send(None)
                refused.append(str(found.value))

        shop = Shop(plugins=[Plugin()])
        with Kit(shop.app) as kit:
            shop.welcome.enqueue("ada")
            kit.drain()

        assert refused == ["cannot call adrain(): jobs are already being run"]

    def test_on_a_running_loop_the_async_twin_is_named(self, shop, kit):
        """It would be blocked."""

        async def main():
            kit.drain()

        with pytest.raises(StanchionError, match=r"drain\(\) on a running event loop.*await adrain\(\)"):
            asyncio.run(main())

    def test_outside_of_the_kit_nothing_is_run_or_found(self, shop):
        """Neither before nor after."""
        kit = Kit(shop.app)
        with pytest.raises(StanchionError, match=r"cannot call drain\(\) outside of the kit"):
            kit.drain()
        with kit:
            pass
        with pytest.raises(StanchionError, match=r"cannot call enqueued\(\) outside of the kit"):
            kit.enqueued()

    def test_an_application_without_tasks_is_refused(self):
        """Most likely nobody imported them."""
        words = "has no tasks: import the modules that register them"
        with Kit(Stanchion(NOWHERE, plugins=())) as kit, pytest.raises(ConfigError, match=words):
            kit.drain()
