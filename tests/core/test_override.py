"""Other settings for a while: what goes with an application, what is out of reach, and what comes back."""

import asyncio
import sys
from datetime import UTC, datetime

import pytest

from stanchion import Job, Stanchion
from stanchion.app.config import Config
from stanchion.app.importing import application
from stanchion.errors import BackendError, ConfigError, InvalidArgument
from stanchion.model.effects import create_record
from stanchion_testing.clock import VirtualClock
from support.workers import Witness

NOWHERE = "redis://127.0.0.1:1"
"""Nothing listens there: a call that reached it would fail, and not with the words these tests look for."""

HINT = "add its directory"


def an_app_with_a_task():
    app = Stanchion(NOWHERE, plugins=())

    @app.task(queue="mail")
    def welcome(address: str) -> None:
        raise AssertionError("it is only enqueued")

    return app, welcome


def test_tasks_and_queues_go_with_the_application():
    """Those that were made before, too: they ask it each time."""
    app, welcome = an_app_with_a_task()
    mail = app.queue("mail")
    with app.override("memory://") as same:
        job = welcome.enqueue("ada@example.org")

        assert same is app
        assert [found.id for found in app.jobs("mail", "queued")] == [job.id]
        assert mail.count()["queued"] == 1


def test_everything_is_as_before_at_the_end():
    """Settings, plugins, engine, and the engine's own backend."""
    app, _ = an_app_with_a_task()
    before = app.config, app.plugins, app.engine, app.engine.backend, app.engine.plugins
    with app.override("memory://", plugins=[Witness()], concurrency=3, clock=VirtualClock()):
        inside = app.config, app.plugins, app.engine, app.engine.backend, app.engine.plugins

    assert (app.config, app.plugins, app.engine, app.engine.backend, app.engine.plugins) == before
    assert all(now is not then for now, then in zip(inside, before, strict=True))


def test_an_exception_restores_too():
    """It passes through unchanged."""
    app, _ = an_app_with_a_task()
    engine = app.engine
    with pytest.raises(ZeroDivisionError), app.override("memory://"):
        raise ZeroDivisionError

    assert app.engine is engine


def test_a_store_that_cannot_be_opened_changes_nothing():
    """The application can be used as if nobody had tried."""
    app, _ = an_app_with_a_task()
    before = app.config, app.engine, app.engine.backend
    with pytest.raises(ConfigError, match="unknown backend"), app.override("paper://"):
        raise AssertionError("it is not entered")

    assert (app.config, app.engine, app.engine.backend) == before


def test_handles_made_before_do_not_reach_their_store():
    """Neither sync nor async: a test must not touch what the program is configured for."""
    app, welcome = an_app_with_a_task()
    item = welcome.draft("ada@example.org").item
    job = Job(app.engine, create_record(item, now=datetime.now(UTC), tail=int))

    with app.override("memory://"):
        with pytest.raises(BackendError, match="cannot use <Stanchion redis://.*: it is overridden"):
            job.refresh()
        with pytest.raises(BackendError, match="it is overridden"):
            asyncio.run(job.arefresh())


def test_handles_made_inside_end_with_it():
    """Their store is closed, and nothing of the other is read instead."""
    app, welcome = an_app_with_a_task()
    with app.override("memory://"):
        job = welcome.enqueue("ada@example.org")

    with pytest.raises(BackendError, match="this backend is closed"):
        job.refresh()


def test_overriding_twice_ends_in_turn():
    """Each level has a store of its own."""
    app, welcome = an_app_with_a_task()
    with app.override("memory://"):
        first = welcome.enqueue("ada@example.org")
        with app.override("memory://"):
            assert not list(app.jobs("mail", "queued"))

        assert [job.id for job in app.jobs("mail", "queued")] == [first.id]


def test_the_store_stays_unless_it_is_overridden():
    """Other settings leave the jobs where they are."""
    app = Stanchion("memory://", plugins=())
    nothing = app.task(name="nothing")(lambda: None)
    job = nothing.enqueue()
    with app.override(concurrency=3, lease=5):
        assert (app.config.concurrency, app.config.lease.total_seconds()) == (3, 5)
        assert job.refresh().state == "queued"


def test_other_plugins_hear_what_happens_meanwhile():
    """In the same store as well."""
    app = Stanchion("memory://", plugins=())
    nothing = app.task(name="nothing")(lambda: None)
    witness = Witness()
    with app.override(plugins=[witness]):
        nothing.enqueue()
    nothing.enqueue()

    assert witness.saw == ["enqueued"]


def test_a_clock_alone_asks_for_a_new_store():
    """Its backend gets the time from it."""
    app = Stanchion("memory://", plugins=())
    clock = VirtualClock()
    with app.override(clock=clock):
        assert app.engine.backend.now() == clock.now()


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"colour": "red"}, ConfigError, "unknown setting 'colour'"),
        ({"concurrency": 0}, InvalidArgument, "concurrency must be an integer"),
    ],
)
def test_wrong_settings_are_refused(settings, error, words):
    """As where an application is made."""
    app, _ = an_app_with_a_task()

    with pytest.raises(error, match=words), app.override("memory://", **settings):
        raise AssertionError("it is not entered")


def test_settings_that_are_none_were_not_given():
    """So that options of a command line can be passed on as they are."""
    config = Config(concurrency=7)

    assert config.but({"concurrency": None, "namespace": "other"}) == Config(concurrency=7, namespace="other")


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("shop", "invalid application 'shop': use <module>:<attribute>"),
        (
            "surely_not_there:app",
            "cannot find module 'surely_not_there' on the import path; add its directory",
        ),
        ("stanchion:nothing", "'stanchion:nothing' is not a Stanchion application"),
        ("stanchion.app.config:LEASE.days", "is not a Stanchion application, but of type int$"),
        ("a b:app", "^invalid module name 'a b': write it as in an import$"),
    ],
)
def test_an_application_that_cannot_be_found_is_told_by_its_name(where, words):
    """And what would help."""
    with pytest.raises(ConfigError, match=words):
        application(where, HINT)


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("lonely_shop.py:app", r"did you mean lonely_shop:app\?$"),
        ("./lonely_shop:app", r"invalid module name.*; did you mean lonely_shop:app\?$"),
        ("lonely_shop:ap", r"not a Stanchion application; the applications in this module: app$"),
        ("lonely_shop:make", r"but of type function; the applications in this module: app$"),
    ],
)
def test_the_application_that_was_meant_is_offered(tmp_path, monkeypatch, where, words):
    """A file instead of a module, or a name that is nearly right."""
    (tmp_path / "lonely_shop.py").write_text(
        "from stanchion import Stanchion\napp = Stanchion('memory://', plugins=())\ndef make(): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ConfigError, match=words):
        application(where, HINT)
    sys.modules.pop("lonely_shop", None)
