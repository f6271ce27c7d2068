"""The kit for applications: what handlers raise, and what fails because the test says so."""

import asyncio
from collections import Counter
from contextlib import ExitStack

import pytest

from stanchion import Fail, Retry, Snooze, current_job, hookimpl
from stanchion.errors import InvalidArgument, PayloadError, UnknownTask
from stanchion_testing.kit import Kit
from support.shop import Order, Shop, states


class TestFailing:
    """What handlers raise."""

    def test_what_a_handler_raises_is_raised_with_its_own_lines(self, shop, kit):
        """The same exception: its traceback leads from the test to the handler."""
        shop.broken.enqueue("cup")
        with pytest.raises(ValueError, match="cup is broken") as found:
            kit.drain()

        functions = [entry.name for entry in found.traceback]
        assert functions == [
            "test_what_a_handler_raises_is_raised_with_its_own_lines",
            "drain",
            "broken",
        ]

    def test_async_handlers_raise_alike(self, shop, kit):
        """And in async tests as well."""

        @shop.app.task
        async def torn() -> None:
            raise LookupError("torn")

        async def main(run):
            await torn.aenqueue()
            await run()

        torn.enqueue()
        with pytest.raises(LookupError) as found:
            kit.run_one()
        with pytest.raises(LookupError):
            asyncio.run(main(kit.adrain))
        with pytest.raises(LookupError):
            asyncio.run(main(kit.arun_one))

        assert [entry.name for entry in found.traceback][-2:] == ["run_one", "torn"]

    def test_a_failure_is_recorded_before_it_is_raised(self, shop, kit):
        """And what stands behind it is still enqueued."""
        job = shop.broken.enqueue("cup")
        shop.broken.enqueue("plate")
        with pytest.raises(ValueError, match="cup"):
            kit.drain()

        assert job.refresh().state == "retrying"
        kit.assert_enqueued(shop.broken, args={"what": "plate"})

    def test_expected_failures_are_in_the_states(self, shop, kit):
        """Until no attempt is left."""
        job = shop.broken.enqueue("cup")
        ran = kit.drain(raises=False, within=600)

        assert states(ran) == ["retrying", "retrying", "failed"]
        assert [failure.message for failure in job.refresh().errors] == ["cup is broken"] * 3

    @pytest.mark.parametrize(
        ("outcome", "state"), [(Retry(5), "retrying"), (Snooze(5), "scheduled"), (Fail("no"), "failed")]
    )
    def test_what_a_handler_returns_is_not_raised(self, shop, kit, outcome, state):
        """It is the handler's word, and no surprise."""
        shop.app.task(name="word")(lambda: outcome).enqueue()

        assert states(kit.drain()) == [state]

    def test_a_result_that_cannot_be_stored_is_raised(self, shop, kit):
        """As it is refused by the codec."""
        shop.app.task(name="thing")(lambda: object()).enqueue()  # noqa: PLW0108 - a class is no task

        with pytest.raises(PayloadError, match="the result of task thing"):
            kit.drain()

    def test_a_job_of_an_unknown_task_is_raised(self, shop, kit):
        """A worker would put it off again and again."""
        shop.welcome.enqueue("ada")
        del shop.app.tasks["welcome"]

        with pytest.raises(UnknownTask, match="unknown task 'welcome'"):
            kit.drain()

    def test_what_is_no_exception_is_raised_in_any_case(self, shop, kit):
        """A test that is told to fail inside a handler fails, and Ctrl-C ends the run."""
        shop.app.task(name="checks")(lambda: pytest.fail("seen")).enqueue()

        with pytest.raises(pytest.fail.Exception, match="seen"):
            kit.drain(raises=False)

    def test_a_handler_that_ends_itself_cancelled_failed_like_any_other(self, shop, kit):
        """It is no reason to cancel the test."""

        @shop.app.task
        async def cancelled() -> None:
            raise asyncio.CancelledError

        cancelled.enqueue()
        assert states(kit.drain(raises=False)) == ["retrying"]

    def test_middleware_that_raises_is_heard_too(self):
        """It stands between the worker and the handler."""

        class Plugin:
            @hookimpl
            def around_job(self, job):
                raise PermissionError("not you")

        shop = Shop(plugins=[Plugin()])
        with Kit(shop.app) as kit:
            shop.welcome.enqueue("ada")

            with pytest.raises(PermissionError, match="not you"):
                kit.drain()


class TestFailingOnPurpose:
    """Calls that fail, and completions that are lost, because the test says so."""

    def test_a_call_can_be_made_to_fail(self, shop, kit):
        """Before the handler, at first; it is not raised, and then the retry is the real one."""
        kit.fail_call(shop.welcome)
        job = shop.welcome.enqueue("ada")
        ran = kit.drain(within=60)

        assert states(ran) == ["retrying", "completed"]
        assert shop.book == ["ada"]
        assert job.refresh().errors[0].message == "planned failure of call 1 of task welcome"

    def test_or_after_its_work_was_done(self, shop, kit):
        """With an error of the test's choice; then the handler runs again."""
        kit.fail_call("ship", error=ConnectionError, after=True)
        shop.ship.enqueue(Order(7), {})
        ran = kit.drain(queue="orders", within=60)

        assert states(ran) == ["retrying", "completed"]
        assert ran[0].errors[0].type == "ConnectionError"
        assert shop.book == [7, 7]

    def test_the_number_counts_from_now_on(self, shop, kit):
        """All jobs of the task together."""
        shop.app.enqueue_many(shop.welcome.draft(name) for name in ("ada", "bob", "eve", "tim"))
        kit.run_one()
        kit.fail_call(shop.welcome, 2)

        assert states(kit.drain()) == ["completed", "retrying", "completed"]

    def test_a_call_that_never_came_is_told_at_the_end(self, shop):
        """A test that waits for a failure that does not happen shows nothing."""
        kit = Kit(shop.app)
        with ExitStack() as ending:
            ending.enter_context(kit)
            kit.fail_call(shop.welcome, 2)
            shop.welcome.enqueue("ada")
            kit.drain()
            late = ending.pop_all()

        with pytest.raises(
            AssertionError, match=r"fail_call: call 2 of task welcome never came \(calls: 1\)"
        ):
            late.close()

    @pytest.mark.parametrize("number", [0, -1, True, "1"])
    def test_a_number_that_is_none_is_refused(self, shop, kit, number):
        """Calls count from 1."""
        with pytest.raises(InvalidArgument, match="number must be an integer of at least 1"):
            kit.fail_call(shop.welcome, number)

    def test_each_job_can_be_run_twice(self, shop, kit):
        """A handler that must not be is found out; each job appears once in what ran."""
        kit.run_twice = True
        job = shop.ship.enqueue(Order(7), {})
        ran = kit.drain()

        assert states(ran) == ["completed"] * 3
        assert Counter(shop.book) == {7: 2, "7@example.org": 4}
        assert (job.refresh().record.run, job.attempts, job.result()) == (2, 1, "shipped")
        assert [one.event for one in job.history] == ["lose", "complete"]

    def test_what_a_lost_run_wrote_is_lost(self, shop, kit):
        """It might have been sent or not; the worse is what counts."""
        seen = []

        @shop.app.task
        def careful() -> None:
            seen.append(current_job().saved())
            current_job().save("done")

        kit.run_twice = True
        careful.enqueue()
        kit.drain()

        assert seen == [None, None]

    def test_jobs_that_may_not_be_lost_run_once(self, shop, kit):
        """What runs at most once need not be ready to run twice."""
        kit.run_twice = True
        shop.welcome.using(max_lost=0).enqueue("ada")

        assert states(kit.drain()) == ["completed"]
        assert shop.book == ["ada"]

    def test_a_second_run_that_fails_says_that_it_was_the_second(self, shop, kit):
        """So that nobody looks for the reason in the first."""

        @shop.app.task
        def once() -> None:
            assert "once" not in shop.book, "twice"
            shop.book.append("once")

        kit.run_twice = True
        once.enqueue()
        with pytest.raises(AssertionError, match="twice") as found:
            kit.drain()

        assert found.value.__notes__ == [
            "this was the job's second run: run_twice discarded the completion of the first"
        ]
