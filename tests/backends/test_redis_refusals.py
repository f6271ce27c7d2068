"""A server that stops taking writes while it is in use, or has more to serve than there are connections."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier

import pytest
import redis

from stanchion import Stanchion, State
from stanchion.contract.requests import Insert
from stanchion.errors import BackendError, ConfigError, ResultTimeout, StanchionError, Unavailable
from stanchion.worker import Worker
from stanchion_conformance.making import an_item, inserted
from stanchion_redis import RedisBackend
from stanchion_redis.connections import CONNECTIONS
from support.servers import free_port, own_server
from support.stores import a_namespace
from support.waiting import aeventually, eventually
from support.workers import is_in, working


@pytest.fixture(scope="module")
def own_url() -> Iterator[str]:
    """A server that may be made a replica."""
    with own_server() as url:
        yield url


@pytest.fixture
def app(own_url: str) -> Iterator[Stanchion]:
    """An application that has a connection to it."""
    with Stanchion(own_url, namespace=a_namespace(), lease=3, sweep=0.1, grace=0.1) as app:
        app.queue("default").count()
        yield app


@contextmanager
def a_replica(url: str) -> Iterator[None]:
    """While entered, the server is a replica of one that is not there."""
    with redis.Redis.from_url(url) as admin:
        admin.replicaof("127.0.0.1", str(free_port()))
        try:
            yield
        finally:
            admin.replicaof("NO", "ONE")


@contextmanager
def a_server_that_cannot_save(directory: Path) -> Iterator[str]:
    """The URL of a server whose directory is gone, and that has noticed."""
    directory.mkdir()
    with (
        own_server("--dir", str(directory), "--save", "3600", "1") as url,
        redis.Redis.from_url(url) as admin,
    ):
        directory.rmdir()
        admin.bgsave()
        try:
            eventually(lambda: admin.info("persistence")["rdb_last_bgsave_status"] == "err")
            yield url
        finally:
            admin.config_set("save", "")  # else it would not end without having saved


# A server that becomes a replica.


def test_a_server_that_becomes_a_replica_is_named_until_it_is_a_primary_again(
    own_url: str, app: Stanchion
) -> None:
    """The error says what is wrong with it; afterwards the same application goes on."""

    @app.task
    async def small() -> None: ...

    small.enqueue()
    with a_replica(own_url), pytest.raises(StanchionError, match=r"(?i)replica|read.?only"):
        small.enqueue()
    job = small.enqueue()

    assert is_in(job, State.QUEUED)


def test_a_server_that_answers_readonly_is_inspected_again(own_url: str) -> None:
    """So that the next call says what is wrong, and what to name instead."""
    backend = RedisBackend(own_url, namespace=a_namespace())
    backend.now()
    with a_replica(own_url):
        with pytest.raises(Unavailable):
            inserted(backend, an_item())
        with pytest.raises(ConfigError, match="name its primary"):
            backend.now()
    backend.close()


def test_an_async_backend_inspects_a_server_that_answers_readonly_again(own_url: str) -> None:
    """As a sync one does."""

    async def story() -> None:
        backend = RedisBackend(own_url, namespace=a_namespace()).to_async()
        await backend.now()
        with a_replica(own_url):
            with pytest.raises(Unavailable):
                await backend.insert(Insert([an_item()]))
            with pytest.raises(ConfigError, match="name its primary"):
                await backend.now()
        await backend.close()

    asyncio.run(story())


def test_a_connection_to_a_server_that_answers_readonly_is_not_kept(own_url: str) -> None:
    """Behind its name there may be another server by now, which is the primary."""
    backend = RedisBackend(own_url, namespace=a_namespace())
    backend.now()
    before = backend._lane.send("CLIENT", "ID")
    with a_replica(own_url), pytest.raises(Unavailable):
        inserted(backend, an_item())
    after = backend._lane.send("CLIENT", "ID")
    backend.close()

    assert after != before


def test_an_async_caller_hears_of_a_replica_as_well(own_url: str, app: Stanchion) -> None:
    """The same, over connections of a loop."""

    @app.task
    async def small() -> None: ...

    async def story() -> None:
        await small.aenqueue()
        with a_replica(own_url), pytest.raises(StanchionError, match=r"(?i)replica|read.?only"):
            await small.aenqueue()
        job = await small.aenqueue()
        await app.engine.release_async_backend()

        assert is_in(job, State.QUEUED)

    asyncio.run(story())


def test_a_burst_runs_what_was_enqueued_before_and_after_a_time_as_a_replica(
    own_url: str, app: Stanchion
) -> None:
    """A worker of the same application completes them."""

    @app.task
    async def small() -> None: ...

    before = small.enqueue()
    with a_replica(own_url), pytest.raises(StanchionError):
        small.enqueue()
    after = small.enqueue()
    _drain(app)

    assert (before.refresh().state, after.refresh().state) == (State.COMPLETED, State.COMPLETED)


def test_a_worker_outlives_its_server_s_time_as_a_replica(own_url: str, app: Stanchion) -> None:
    """It cannot claim meanwhile, and goes on when it can, without a restart."""

    @app.task
    async def small() -> None: ...

    async def story() -> None:
        async with working(app):
            first = await small.aenqueue()
            await aeventually(lambda: is_in(first, State.COMPLETED))
            with a_replica(own_url), pytest.raises(StanchionError):
                await small.aenqueue()
            second = await small.aenqueue()
            await aeventually(lambda: is_in(second, State.COMPLETED))
        await app.engine.release_async_backend()

    asyncio.run(story())


# A server that cannot save.


def test_a_server_that_cannot_save_refuses_jobs_until_it_may_go_without(tmp_path: Path) -> None:
    """The error is the server's word; nothing was enqueued, and the same application goes on afterwards."""
    with a_server_that_cannot_save(tmp_path / "gone") as url, Stanchion(url, namespace="test") as app:

        @app.task
        async def small() -> None: ...

        with pytest.raises(BackendError, match="MISCONF") as refused:
            small.enqueue()
        with redis.Redis.from_url(url) as admin:
            admin.config_set("stop-writes-on-bgsave-error", "no")
        small.enqueue()

        assert not isinstance(refused.value, Unavailable)
        assert app.queue("default").count()[State.QUEUED] == 1


# More callers than connections.


def test_more_callers_than_connections_wait_for_results_up_to_their_timeout(app: Stanchion) -> None:
    """Each is told that its job has not ended, also those that have no connection to hear of it."""

    @app.task
    async def small() -> None: ...

    async def story() -> None:
        jobs = await app.aenqueue_many(small.draft() for _ in range(CONNECTIONS + 36))
        answers = await asyncio.gather(*(job.aresult(timeout=1) for job in jobs), return_exceptions=True)
        await app.engine.release_async_backend()

        assert {type(answer) for answer in answers} == {ResultTimeout}

    asyncio.run(story())


def test_more_threads_than_connections_take_turns(app: Stanchion) -> None:
    """None is refused because others use the connections just then."""
    together = Barrier(CONNECTIONS + 36)

    def count(_: int) -> int:
        together.wait()
        return sum(sum(app.queue("default").count().values()) for _ in range(10))

    with ThreadPoolExecutor(together.parties) as threads:
        assert set(threads.map(count, range(together.parties))) == {0}


def _drain(app: Stanchion) -> None:
    """Let a worker run what there is."""

    async def story() -> None:
        await asyncio.wait_for(Worker(app, burst=True).main(), 20)
        await app.engine.release_async_backend()

    asyncio.run(story())
