"""Reserved queues: callers cannot name them, and neither see them nor hear of their jobs."""

import asyncio

import pytest

from stanchion import Stanchion, State
from stanchion.engine.reporting import Report
from stanchion.errors import InvalidArgument
from stanchion.model.ids import check_id
from stanchion.model.policies import Policy
from stanchion.model.queues import check_queue, is_reserved
from stanchion.model.signals import CancelAsked, Completed
from stanchion.worker import Worker
from stanchion_testing.kit import Kit
from support.factories import LEASE, an_item
from support.workers import Witness, an_app

NAME = "stanchion.workers"
WHY = f"^invalid queue name '{NAME}': names that begin with 'stanchion.' are reserved$"


class Untouchable:
    """A backend that must not be called."""

    def __getattr__(self, verb):
        raise AssertionError(f"{verb} was called")


@pytest.fixture
def app():
    app = Stanchion("memory://")
    app.task(name="nothing")(lambda: None)
    return app


async def listed(app):
    return [job async for job in app.ajobs(NAME, "queued")]


async def drafted(app):
    await app.task(name="other")(lambda: None).using(queue=NAME).aenqueue()


ENTRIES = {
    "task": lambda app: app.task(queue=NAME),
    "using": lambda app: app.task(name="other")(lambda: None).using(queue=NAME),
    "aenqueue": lambda app: asyncio.run(drafted(app)),
    "draft": lambda app: app.task(name="other")(lambda: None).draft().using(queue=NAME),
    "queue": lambda app: app.queue(NAME),
    "jobs": lambda app: app.jobs(NAME, "queued"),
    "ajobs": lambda app: asyncio.run(listed(app)),
    "job": lambda app: app.job(f"{NAME}:host-1"),
    "ajob": lambda app: asyncio.run(app.ajob(f"{NAME}:host-1")),
    "worker": lambda app: Worker(app, queues=["default", NAME]),
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_reserved_name_is_refused_wherever_a_caller_gives_one(app, entry):
    """Before anything is asked of the backend."""
    app.engine.backend = Untouchable()

    with pytest.raises(InvalidArgument, match=WHY):
        ENTRIES[entry](app)


@pytest.mark.parametrize(
    "entry",
    [
        lambda kit: kit.enqueued(queue=NAME),
        lambda kit: kit.assert_enqueued(queue=NAME),
        lambda kit: kit.drain(queue=NAME),
        lambda kit: kit.run_one(queue=NAME),
    ],
    ids=["enqueued", "assert_enqueued", "drain", "run_one"],
)
def test_the_kit_refuses_it_as_well(app, entry):
    """It is no queue of the application's."""
    with Kit(app) as kit, pytest.raises(InvalidArgument, match=WHY):
        entry(kit)


@pytest.mark.parametrize("name", ["stanchion", "stanchionary", "my.stanchion.queue", "Stanchion.x"])
def test_other_names_are_the_caller_s(name):
    """Only the prefix with its dot is reserved."""
    assert check_queue(name) == name
    assert check_id(f"{name}:1") == f"{name}:1"
    assert not is_reserved(name)


def test_reserved_queues_are_hidden():
    """From an application's list, although they exist."""
    app = an_app()
    app.engine.call(app.engine.insert([an_item(id=f"{NAME}:host-1"), an_item(id="mail:1")]))

    assert list(app.queues()) == ["mail"]
    assert list(app.engine.backend.queues()) == ["mail", NAME]


def test_nobody_is_notified_of_their_jobs():
    """Whatever happens to them; of the job beside them everybody is."""
    witness = Witness()
    app = an_app(plugins=[witness])
    engine = app.engine
    for queue in (NAME, "mail"):
        engine.call(engine.insert([an_item(id=f"{queue}:1"), an_item(id=f"{queue}:2")]))
        (first,) = engine.call(engine.claim([queue], 1, "worker", LEASE)).records
        engine.call(engine.report([Report(first, Completed(result=b"1"), Policy())]))
        engine.call(engine.ask(f"{queue}:2", CancelAsked()))

    assert {one.job.queue for one in witness.transitions} == {"mail"}
    assert witness.saw == ["enqueued", "enqueued", "claimed", "completed", "cancelled"]
    assert engine.call(engine.get(f"{NAME}:2")).state is State.CANCELLED


def test_nobody_is_notified_of_a_sweep_of_theirs():
    """A worker's death is found by the same sweep as a job's."""
    witness = Witness()
    app = an_app(plugins=[witness])
    item = an_item(id=f"{NAME}:1", state=State.RUNNING, claim="c", worker="w", due=-LEASE)
    app.engine.call(app.engine.insert([item]))

    assert app.engine.call(app.engine.sweep([NAME])) == 1
    assert witness.transitions == []
