"""`before_enqueue`: plugins change or reject jobs before anything is sent to the backend."""

import asyncio
import sqlite3
from contextlib import closing

import pytest

from stanchion import Draft, Stanchion, State, hookimpl
from stanchion.errors import InvalidArgument, PayloadError, StanchionError
from stanchion_testing.clock import VirtualClock
from stanchion_testing.kit import Kit
from support.workers import Witness


def changing(function):
    """A plugin whose hook is this function."""

    class Plugin:
        before_enqueue = staticmethod(hookimpl(function))

    return Plugin()


def an_app(*plugins):
    """An application, and a task of it."""
    app = Stanchion("memory://", plugins=plugins)

    @app.task(queue="mail", tags={"kind:welcome"})
    def welcome(address: str, *, locale: str = "en") -> int:
        return len(address + locale)

    return app, welcome


def enqueue(app, task, *args):
    return task.enqueue(*args)


def aenqueue(app, task, *args):
    return asyncio.run(task.aenqueue(*args))


def enqueue_many(app, task, *args):
    return app.enqueue_many([task.draft(*args)])[0]


def aenqueue_many(app, task, *args):
    return asyncio.run(app.aenqueue_many([task.draft(*args)]))[0]


WAYS = [enqueue, aenqueue, enqueue_many, aenqueue_many]


class Tenant:
    """Adds a tag to each job."""

    def __init__(self, tag, saw):
        self.tag, self.saw = tag, saw

    @hookimpl
    def before_enqueue(self, draft):
        self.saw.append(draft.options.tags)
        return draft.using(tags={*draft.options.tags, self.tag})


@pytest.mark.parametrize("way", WAYS)
def test_plugins_change_a_job_in_the_order_listed(way):
    """Each is given what the one before it returned."""
    saw = []
    app, welcome = an_app(Tenant("first", saw), Tenant("second", saw))
    job = way(app, welcome, "ada")

    assert saw == [("kind:welcome",), ("first", "kind:welcome")]
    assert job.refresh().record.tags == ("first", "kind:welcome", "second")


@pytest.mark.parametrize("way", WAYS)
def test_a_plugin_may_leave_a_job_as_it_is(way):
    """By returning none; the next one is asked all the same."""
    app, welcome = an_app(changing(lambda draft: None), Tenant("second", []))
    job = way(app, welcome, "ada")

    assert job.refresh().record.tags == ("kind:welcome", "second")


@pytest.mark.parametrize("way", WAYS)
def test_a_plugin_may_reject_a_job(way):
    """Who enqueues gets its exception, and neither the backend nor another plugin gets the job."""

    def reject(draft):
        raise PermissionError(f"no {draft.task} for {draft.arguments['address']}")

    witness, saw = Witness(), []
    app, welcome = an_app(changing(reject), Tenant("second", saw), witness)
    with pytest.raises(PermissionError, match="^no welcome for ada$"):
        way(app, welcome, "ada")

    assert (dict(app.queues()), saw, witness.saw) == ({}, [], [])


def test_one_rejected_job_rejects_the_call():
    """All jobs of a call are asked about before the first is inserted."""

    def reject(draft):
        if draft.arguments["address"] == "249":
            raise PermissionError

    app, welcome = an_app(changing(reject))
    with pytest.raises(PermissionError):
        app.enqueue_many(welcome.draft(str(number)) for number in range(250))

    assert dict(app.queues()) == {}


def test_jobs_keep_their_order():
    """The handles are those of the changed jobs."""
    app, welcome = an_app(changing(lambda draft: draft.using(queue=f"to-{draft.arguments['address']}")))
    jobs = app.enqueue_many(welcome.draft(address) for address in ("ada", "bob"))

    assert [job.id.partition(":")[0] for job in jobs] == ["to-ada", "to-bob"]


def test_a_job_of_a_caller_s_transaction_is_changed_too(tmp_path):
    """Before the transaction is touched; one that is rejected leaves it as it was."""

    def reject_or_tag(draft):
        if draft.arguments["address"] == "bob":
            raise PermissionError
        return draft.using(tags={"checked"})

    file = tmp_path / "jobs.db"
    with Stanchion(f"sqlite:///{file}", plugins=[changing(reject_or_tag)]) as app:
        welcome = app.task(queue="mail", name="welcome")(lambda address: None)
        app.queue("mail").resume()  # the file is there now
        with closing(sqlite3.connect(file)) as connection:
            (job,) = app.enqueue_many([welcome.draft("ada")], connection=connection)
            with pytest.raises(PermissionError):
                app.enqueue_many([welcome.draft("cyd"), welcome.draft("bob")], connection=connection)
            connection.commit()

        assert [(found.id, found.record.tags) for found in app.jobs("mail", "queued")] == [
            (job.id, ("checked",))
        ]


def test_handlers_get_changed_arguments():
    """Through the codec, as if they had been enqueued so."""
    app, welcome = an_app(changing(lambda draft: draft.with_arguments(locale="it")))
    with Kit(app) as kit:
        job = welcome.enqueue("ada")
        kit.drain()

        assert kit.enqueued(welcome) == []
        assert job.result() == len("ada" + "it")


def test_jobs_that_handlers_enqueue_are_changed_too():
    """Wherever the call comes from."""
    app, welcome = an_app(Tenant("tenant", []))

    @app.task
    async def remind() -> None:
        await welcome.using(queue="night").aenqueue("ada")

    with Kit(app) as kit:
        remind.enqueue()
        kit.drain(queue="default")

        assert kit.assert_enqueued(welcome, queue="night", tags={"tenant"})


@pytest.mark.parametrize("error", [SystemExit, GeneratorExit, asyncio.CancelledError, BaseException])
@pytest.mark.parametrize("way", WAYS)
def test_a_plugin_cannot_end_who_enqueues(way, error):
    """What is no `Exception` becomes one that names the plugin."""

    def end(draft):
        raise error

    app, welcome = an_app(changing(end))

    with pytest.raises(
        StanchionError, match=f"^plugin Plugin raised {error.__name__} in hook before_enqueue$"
    ):
        way(app, welcome, "ada")


def test_a_ctrl_c_reaches_who_enqueues():
    """It is the user's, and asks the program to stop."""

    def interrupted(draft):
        raise KeyboardInterrupt

    _, welcome = an_app(changing(interrupted))

    with pytest.raises(KeyboardInterrupt):
        welcome.enqueue("ada")


def test_what_is_no_draft_of_the_task_is_refused():
    """The error names the plugin."""
    app, welcome = an_app()
    other = app.task(name="other")(lambda: None)

    with (
        pytest.raises(TypeError, match="^plugin Plugin: before_enqueue must return a draft or None, not 5$"),
        app.override(plugins=[changing(lambda draft: 5)]),
    ):
        welcome.enqueue("ada")
    with (
        pytest.raises(
            TypeError,
            match="^plugin Plugin: before_enqueue must return a draft of the same task: welcome, not other$",
        ),
        app.override(plugins=[changing(lambda draft: other.draft())]),
    ):
        welcome.enqueue("ada")


# Drafts


def test_a_draft_shows_what_it_is():
    """Its task, its id, its options and its arguments."""
    _, welcome = an_app()
    draft = welcome.using(key="7", priority=5).draft("ada")

    assert (draft.task, draft.id, draft.options.priority) == ("welcome", "mail:7", 5)
    assert draft.arguments == {"address": "ada", "locale": "en"}
    assert repr(draft) == "<Draft mail:7 of task welcome>"


def test_a_draft_is_a_value():
    """What changes it returns another, and the first stays as it is."""
    _, welcome = an_app()
    draft = welcome.draft("ada")
    changed = draft.using(priority=5).with_arguments(locale="it")

    assert (changed.options.priority, changed.arguments["locale"]) == (5, "it")
    assert (draft.options.priority, draft.arguments["locale"]) == (0, "en")
    assert isinstance(changed, Draft)
    with pytest.raises(AttributeError):
        draft.payload = b"{}"


def test_a_changed_draft_is_the_same_job():
    """Its key stays, so that enqueuing it again finds the job; in another queue it is another job."""
    _, welcome = an_app()
    draft = welcome.draft("ada")

    assert draft.using(priority=5).id == draft.id
    assert draft.using(queue="night").id == draft.id.replace("mail", "night")


def test_enqueuing_a_draft_again_finds_its_job():
    """Though a plugin changes it each time."""
    app, welcome = an_app(Tenant("tenant", []))
    draft = welcome.draft("ada")
    ids = {app.enqueue_many([draft])[0].id for _ in range(2)}

    assert len(ids) == 1
    assert app.queue("mail").count()["queued"] == 1


def test_a_draft_is_changed_only_to_what_could_be_enqueued():
    """Options and arguments are checked as everywhere."""
    _, welcome = an_app()
    draft = welcome.draft("ada")

    with pytest.raises(InvalidArgument, match="^unknown option 'colour'"):
        draft.using(colour="red")
    with pytest.raises(InvalidArgument, match="priority"):
        draft.using(priority=1000)
    with pytest.raises(PayloadError, match="^the arguments of task welcome do not fit its signature"):
        draft.with_arguments(locale=5)
    with pytest.raises(PayloadError, match="colour"):
        draft.with_arguments(colour="red")
    with pytest.raises(PayloadError, match="priority is an option"):
        draft.with_arguments(priority=5)


def test_arguments_of_any_kind_can_be_changed():
    """Those that gather others go by the name of the parameter."""
    app, _ = an_app()
    seen = []

    @app.task
    def gather(first: int, /, *rest: int, flag: bool = False, **more: int) -> None:
        seen.append((first, rest, flag, more))

    with Kit(app) as kit:
        app.enqueue_many([gather.draft(1, 2, 3, a=4).with_arguments(rest=(7,), more={"b": 5}, flag=True)])
        kit.drain()

    assert seen == [(1, (7,), True, {"b": 5})]


def test_a_job_that_is_delayed_by_a_plugin_waits():
    """Options of any kind can be changed."""
    app, welcome = an_app(changing(lambda draft: draft.using(delay=60)))
    with Kit(app, clock=VirtualClock()) as kit:
        job = welcome.enqueue("ada")

        assert job.refresh().state is State.SCHEDULED
        kit.drain(within=60)
        assert job.refresh().state is State.COMPLETED
