"""The kit for applications: what is enqueued."""

from datetime import UTC, datetime, timedelta

import pytest

from stanchion import State
from stanchion.errors import InvalidArgument
from support.shop import Order, Shop, states


class TestLooking:
    """What is enqueued."""

    def test_jobs_come_in_the_order_in_which_they_were_enqueued(self, shop, kit):
        """Whatever their queue, priority and time."""
        shop.welcome.using(delay=60).enqueue("first")
        shop.ship.enqueue(Order(2), {})
        shop.app.enqueue_many(
            [shop.welcome.using(priority=9).draft("third"), shop.welcome.using(queue="a").draft("4")]
        )
        found = [next(iter(job.args.values())) for job in kit.enqueued()]

        assert found == ["first", Order(2), "third", "4"]

    def test_a_job_has_its_arguments_by_name_as_its_handler_gets_them(self, shop, kit):
        """Defaults are among them, and what they are is restored by the type hints."""
        shop.ship.enqueue(Order(7), notes={"weight": 3})
        shop.welcome.enqueue("ada@example.org")

        assert [job.args for job in kit.enqueued()] == [
            {"order": Order(7), "notes": {"weight": 3}},
            {"address": "ada@example.org", "locale": "en"},
        ]

    @pytest.mark.parametrize(
        ("filters", "found"),
        [
            ({"args": {"address": "ada"}}, ["ada"]),
            ({"args": {"locale": "it"}}, ["bob"]),
            ({"args": {"address": "ada", "locale": "it"}}, []),
            ({"queue": "night"}, ["eve"]),
            ({"tags": {"kind:mail"}}, ["ada", "bob", "eve"]),
            ({"tags": ["kind:mail", "vip"]}, ["eve"]),
            ({"priority": 7}, ["bob"]),
            ({"delay": 60}, ["bob"]),
            ({"delay": timedelta(0)}, ["ada"]),
            ({"at": datetime(2100, 1, 1, tzinfo=UTC)}, ["eve"]),
            ({"state": "scheduled"}, ["bob", "eve"]),
            ({"state": State.QUEUED}, ["ada"]),
            ({"state": "completed"}, []),
        ],
    )
    def test_filters_leave_out_what_is_otherwise(self, shop, kit, filters, found):
        """Each alone, and together."""
        shop.welcome.enqueue("ada")
        shop.welcome.using(delay=60, priority=7).enqueue("bob", locale="it")
        shop.welcome.using(
            at=datetime(2100, 1, 1, tzinfo=UTC), queue="night", tags={"kind:mail", "vip"}
        ).enqueue("eve")

        assert [job.args["address"] for job in kit.enqueued(shop.welcome, **filters)] == found

    @pytest.mark.parametrize(
        ("args", "count"),
        [
            ({"notes": {"weight": 3}}, 1),
            ({"notes": {"weight": 3, "height": 1}}, 0),
            ({"notes": {}}, 2),
            ({"order": {"gift": True}}, 1),
            ({"order": {"gift": True, "number": 8}}, 0),
            ({"order": Order(7, gift=True)}, 1),
            ({"order": {"colour": "red"}}, 0),
        ],
    )
    def test_of_mappings_and_objects_the_named_parts_count(self, shop, kit, args, count):
        """The rest may be anything."""
        shop.ship.enqueue(Order(7, gift=True), {"weight": 3, "length": 2})
        shop.ship.enqueue(Order(8), {})

        assert len(kit.enqueued(shop.ship, args=args)) == count

    def test_a_job_that_has_started_is_not_enqueued_any_more(self, shop, kit):
        """Not even if it waits for another attempt; its state finds it."""
        shop.broken.enqueue("cup")
        kit.drain(raises=False)

        assert kit.enqueued(shop.broken) == []
        assert states(kit.enqueued(shop.broken, state="retrying")) == ["retrying"]

    def test_a_task_may_be_named(self, shop, kit):
        """For code that is only known by its name."""
        shop.welcome.enqueue("ada")

        assert len(kit.enqueued("welcome")) == 1
        assert kit.enqueued("ship") == []

    def test_assert_enqueued_answers_the_job(self, shop, kit):
        """To look at more of it."""
        shop.welcome.enqueue("ada")
        shop.welcome.enqueue("bob")

        assert kit.assert_enqueued(shop.welcome, args={"address": "bob"}).args["locale"] == "en"

    def test_a_failed_assertion_shows_what_there_is_instead_nearest_first(self, shop, kit):
        """With what makes the difference."""
        shop.ship.enqueue(Order(7), {})
        shop.welcome.using(queue="night").enqueue("bob", locale="it")
        shop.welcome.enqueue("ada", locale="it")
        kit.run_one(queue="orders")
        with pytest.raises(AssertionError) as found:
            kit.assert_enqueued(shop.welcome, args={"address": "ada", "locale": "en"}, queue="mail")

        assert str(found.value) == (
            "no job of welcome enqueued with args={'address': 'ada', 'locale': 'en'}, "
            "queue='mail'; found instead, nearest first:\n"
            "  welcome(address='ada', locale='it') in mail, queued: locale is 'it', not 'en'\n"
            "  welcome(address='7@example.org', locale='en') in mail, queued: "
            "address is '7@example.org', not 'ada'\n"
            "  welcome(address='bob', locale='it') in night, queued: "
            "address is 'bob', not 'ada'; locale is 'it', not 'en'; its queue is night\n"
            "  ship(order=Order(number=7, gift=False), notes={}) in orders, completed: "
            "it is a job of ship; it is completed; its queue is orders"
        )

    def test_a_failed_assertion_names_each_difference(self, shop, kit):
        """Of options and of parts of arguments."""
        shop.ship.using(delay=60).enqueue(Order(7), {"weight": 3})
        wanted = {"tags": {"vip"}, "priority": 1, "delay": 5, "at": datetime(2100, 1, 1, tzinfo=UTC)}
        args = {"order": {"gift": True}, "notes": {"height": 1}}
        with pytest.raises(AssertionError) as found:
            kit.assert_enqueued(shop.ship, args=args, state="failed", **wanted)
        asked, _, there = str(found.value).partition("\n")

        assert "in state failed with args=" in asked
        assert "delay='0:00:05', at='2100-01-01T00:00:00+00:00'" in asked
        assert (
            ": order.gift is False, not True; notes.height is missing; it is scheduled; its tags are none; "
            "its priority is 5; its delay is 0:01:00; it may start at 2"
        ) in there

    def test_a_failed_assertion_lists_a_few(self, shop, kit):
        """The nearest; of the others, how many there are."""
        shop.app.enqueue_many(shop.welcome.draft(str(number)) for number in range(8))
        with pytest.raises(AssertionError) as found:
            kit.assert_enqueued(shop.welcome, args={"address": "ada"})

        assert len(str(found.value).splitlines()) == 7
        assert str(found.value).endswith("  and 3 more")

    def test_an_assertion_without_any_job_says_so(self, shop, kit):
        """In one line."""
        with pytest.raises(AssertionError, match="^no job enqueued; there is no job at all"):
            kit.assert_enqueued()

    def test_a_failed_refutation_shows_what_was_found(self, shop, kit):
        """And finds nothing else wrong."""
        shop.welcome.enqueue("ada")
        shop.welcome.enqueue("bob")
        kit.refute_enqueued(shop.ship)
        kit.refute_enqueued(shop.welcome, args={"address": "eve"})
        with pytest.raises(AssertionError) as found:
            kit.refute_enqueued(shop.welcome, args={"address": "bob"})

        assert str(found.value).splitlines() == [
            "expected no job of welcome enqueued with args={'address': 'bob'}; found:",
            "  welcome(address='bob', locale='en') in mail, queued",
        ]

    @pytest.mark.parametrize(
        ("filters", "words"),
        [
            (
                {"args": {"adress": "ada"}},
                "unknown argument 'adress': the signature is welcome.address: str, \\*, locale: str = 'en'.",
            ),
            ({"queue": "no queue"}, "queue"),
            ({"tags": "vip"}, "tags must be a list, tuple or set of strings"),
            ({"priority": 1000}, "priority must be"),
            ({"at": datetime(2100, 1, 1)}, "at must be a datetime with a timezone"),  # noqa: DTZ001 - refused
            ({"delay": "soon"}, "delay"),
            ({"state": "done"}, "unknown state 'done'"),
        ],
    )
    def test_filters_that_cannot_be_meant_are_refused(self, shop, kit, filters, words):
        """A test that finds nothing because of a slip would prove nothing."""
        with pytest.raises(InvalidArgument, match=words):
            kit.refute_enqueued(shop.welcome, **filters)

    def test_a_task_of_another_application_is_refused(self, shop, kit):
        """Even one of the same name."""
        with pytest.raises(InvalidArgument, match="belongs to another application"):
            kit.enqueued(Shop().welcome)

    def test_a_task_that_does_not_exist_is_refused(self, shop, kit):
        """With those that do."""
        with pytest.raises(InvalidArgument, match="unknown task 'welcom'; registered tasks: broken, ship"):
            kit.enqueued("welcom")
