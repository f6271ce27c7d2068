"""What the Redis backend does with a server that is full, unfit, secured or not there."""

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta

import pytest
import redis

from stanchion.contract.backend import Backend
from stanchion.contract.requests import Apply, FindDue, Insert
from stanchion.errors import BackendError, ConfigError, Unavailable
from stanchion.model.changes import Applied
from stanchion.model.decisions import decide
from stanchion.model.history import Failure
from stanchion.model.policies import Policy
from stanchion.model.signals import Beaten, CancelAsked, Completed, Deleted, Failed, Released, Signal
from stanchion.model.states import State
from stanchion_conformance import blocking
from stanchion_conformance.invariants import broken
from stanchion_conformance.making import LEASE, a_claim, an_item, change, inserted, items, taken, the
from stanchion_redis import RedisBackend
from stanchion_redis.backend import AsyncRedisBackend
from stanchion_redis.servers import Inspection
from stanchion_redis.wire import from_ms
from stanchion_testing.clock import VirtualClock
from support.servers import free_port, own_server
from support.stores import dump_of

PASSWORD = "hunter2-%40%2F"
PLAIN = "hunter2"
ENDS: dict[str, Signal] = {
    "complete": Completed(result=b"1" * 1000),
    "fail": Failed(failure=Failure(type="ValueError")),
    "release": Released(),
    "beat": Beaten(lease=LEASE, notes={"progress": b"1"}),
    "request": CancelAsked(),
}


@pytest.fixture(scope="module")
def own_url() -> Iterator[str]:
    """A server that may be reconfigured."""
    with own_server() as url:
        yield url


@pytest.fixture
def admin(own_url: str) -> Iterator["redis.Redis"]:
    """Its administrator; the server is empty and has no limit before and after each test."""
    with redis.Redis.from_url(own_url) as admin:
        admin.flushall()
        yield admin
        admin.config_set("maxmemory", 0)


@pytest.fixture
def backend(own_url: str, admin: "redis.Redis") -> Iterator[RedisBackend]:
    backend = RedisBackend(own_url, namespace="test", clock=VirtualClock())
    inserted(backend, an_item("known", unique="digest", scope="end"))
    yield backend
    admin.config_set("maxmemory", 0)
    assert broken(backend) == []
    backend.close()


def fill(admin: "redis.Redis") -> None:
    """The server has reached its limit: the lowest there is."""
    admin.config_set("maxmemory", 1)


# A full server.


@pytest.mark.parametrize("end", ENDS)
def test_runs_are_settled_on_a_full_server(backend: RedisBackend, admin: "redis.Redis", end: str) -> None:
    """What frees workers, and what keeps them alive, must not wait for memory."""
    job = taken(backend, priority=1)
    fill(admin)
    (answer,) = backend.apply(Apply([decide(job, ENDS[end], roll=0, policy=Policy())]))

    assert isinstance(answer, Applied)
    assert the(backend).state is not State.QUEUED or end == "release"


def test_jobs_are_cancelled_and_deleted_on_a_full_server(backend: RedisBackend, admin: "redis.Redis") -> None:
    """That is how it becomes less full."""
    fill(admin)
    cancel = decide(the(backend, "known"), CancelAsked(), roll=0, policy=Policy())
    (cancelled,) = backend.apply(Apply([cancel]))
    (deleted,) = backend.apply(Apply([decide(the(backend, "known"), Deleted(), roll=0, policy=Policy())]))

    assert isinstance(cancelled, Applied)
    assert isinstance(deleted, Applied)


def test_jobs_are_claimed_and_swept_on_a_full_server(backend: RedisBackend, admin: "redis.Redis") -> None:
    """Work goes on."""
    fill(admin)

    assert [job.id for job in a_claim(backend).records] == ["mail:known"]
    assert backend.due(FindDue(["mail"], 10)).heads == []


@pytest.mark.parametrize("state", [State.QUEUED, State.SCHEDULED])
def test_an_insert_on_a_full_server_is_refused_whole(
    backend: RedisBackend, admin: "redis.Redis", state: State
) -> None:
    """It did not take effect, and the error says so."""
    fill(admin)
    before = dump_of(admin, "test")

    with pytest.raises(BackendError, match="maxmemory") as refused:
        backend.insert(Insert(items("abc", state=state, unique="other", scope="end")))
    assert not isinstance(refused.value, Unavailable)
    assert dump_of(admin, "test") == before


def test_an_insert_succeeds_again_when_there_is_room(backend: RedisBackend, admin: "redis.Redis") -> None:
    """Nothing is left of the refused one."""
    fill(admin)
    with pytest.raises(BackendError):
        inserted(backend, an_item())
    admin.config_set("maxmemory", 0)

    assert inserted(backend, an_item())[0].created


# An unfit server.


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-lru", "allkeys-random", "volatile-ttl"])
def test_a_server_that_evicts_is_refused(own_url: str, admin: "redis.Redis", policy: str) -> None:
    """It would delete jobs; the error names the policy and the way out."""
    admin.config_set("maxmemory-policy", policy)
    try:
        backend = RedisBackend(own_url, namespace="test")
        with pytest.raises(ConfigError, match=rf"{policy}.*noeviction.*allow_eviction=true"):
            backend.now()
        allowed = RedisBackend(f"{own_url}?allow_eviction=true", namespace="test")
        allowed.now()
        backend.close()
        allowed.close()
    finally:
        admin.config_set("maxmemory-policy", "noeviction")


def test_a_server_that_evicts_is_refused_on_a_loop(own_url: str, admin: "redis.Redis") -> None:
    """The async verbs look first, too."""
    admin.config_set("maxmemory-policy", "allkeys-lru")
    twin = RedisBackend(own_url, namespace="test")
    try:
        with blocking(twin.to_async) as backend, pytest.raises(ConfigError, match="allkeys-lru"):
            inserted(backend, an_item())
    finally:
        admin.config_set("maxmemory-policy", "noeviction")
        twin.close()


def test_eviction_that_is_switched_on_later_is_noticed(
    own_url: str, admin: "redis.Redis", monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No more jobs are made; those that are there go on, and so does everything once it is switched off."""
    monkeypatch.setattr("stanchion_redis.servers.AGAIN", 0.0)
    backend = RedisBackend(own_url, namespace="test")
    inserted(backend, an_item())
    caplog.set_level(logging.ERROR, "stanchion.redis")
    admin.config_set("maxmemory-policy", "allkeys-lru")
    try:
        for _ in range(2):
            with pytest.raises(ConfigError, match="allkeys-lru"):
                inserted(backend, an_item("b"))

        assert [job.id for job in a_claim(backend).records] == ["mail:a"]
        assert [one.levelno for one in caplog.records].count(logging.ERROR) == 1
    finally:
        admin.config_set("maxmemory-policy", "noeviction")
    monkeypatch.setattr("stanchion_redis.servers.AGAIN", 60.0)
    assert inserted(backend, an_item("b"))[0].created
    backend.close()


def test_a_server_is_not_inspected_with_each_call(own_url: str, admin: "redis.Redis") -> None:
    """That costs as much as a call."""
    backend = RedisBackend(own_url, namespace="test")
    backend.now()
    before = admin.info("commandstats")["cmdstat_info"]["calls"]
    for key in "abc":
        inserted(backend, an_item(key))
    backend.close()

    assert admin.info("commandstats")["cmdstat_info"]["calls"] == before + 1  # our own


def test_a_replica_is_refused(own_url: str) -> None:
    """It cannot be written to; the error says what to name instead."""
    primary = own_url.rpartition(":")[2]
    with own_server("--replicaof", f"127.0.0.1 {primary}") as url:
        backend = RedisBackend(url, namespace="test")

        with pytest.raises(ConfigError, match=r"replica.*primary"):
            backend.now()
        backend.close()


def test_a_server_without_a_log_of_its_writes_is_warned_of(
    own_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Once for a backend, not with every call."""
    caplog.set_level(logging.WARNING, "stanchion.redis")
    backend = RedisBackend(own_url, namespace="test")
    backend.now()
    backend.queues()
    backend.close()

    assert [record.getMessage() for record in caplog.records] == [
        f"{own_url} has no append-only file: a restart loses what came after its last snapshot"
    ]


def test_a_server_with_a_log_of_its_writes_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing to say."""
    with own_server("--appendonly", "yes") as url:
        backend = RedisBackend(url, namespace="test")
        backend.now()
        backend.close()

    assert caplog.records == []


# A secured server, and none.


@pytest.fixture(scope="module")
def secured() -> Iterator[str]:
    """The address of a server that asks for a password."""
    with own_server("--requirepass", "hunter2-@/") as url:
        yield url.removeprefix("redis://")


def test_a_password_in_the_url_is_used(secured: str) -> None:
    """Percent-encoded, as in any URL."""
    backend = RedisBackend(f"redis://:{PASSWORD}@{secured}", namespace="test")
    inserted(backend, an_item())

    assert the(backend).state is State.QUEUED
    backend.close()


def revealed(backend: Backend) -> str:
    """All that can be read of a failed call: of the error, of its causes, of the backend."""
    with pytest.raises(BackendError) as failed:
        backend.queues()
    told, error = [repr(backend), str(backend)], failed.value
    cause: BaseException | None = error
    while cause is not None:
        told += [str(cause), repr(cause)]
        cause = cause.__cause__ or cause.__context__
    return "\n".join(told)


@pytest.mark.parametrize("credentials", [f":{PLAIN}wrong", f"user:{PLAIN}", f":{PLAIN}%40x"])
def test_a_refused_password_is_not_shown(secured: str, credentials: str) -> None:
    """The error names the server, and neither user nor password."""
    backend = RedisBackend(f"redis://{credentials}@{secured}", namespace="test")
    told = revealed(backend)
    backend.close()

    assert secured in told
    assert PLAIN not in told


@pytest.mark.parametrize("options", ["", "?allow_eviction=true"])
def test_the_password_of_a_server_that_does_not_answer_is_not_shown(options: str) -> None:
    """The error says which server, and that it is unknown what happened."""
    address = f"127.0.0.1:{free_port()}"
    backend = RedisBackend(
        f"redis://user:{PLAIN}@{address}{options}", namespace="test", deadline=timedelta(seconds=1)
    )
    told = revealed(backend)
    with pytest.raises(Unavailable):
        backend.now()
    backend.close()

    assert address in told
    assert PLAIN not in told


@pytest.mark.parametrize(
    "url",
    [
        f"redis://user:{PLAIN}@localhost:port",
        f"redis://:{PLAIN}/@localhost",
        f"redis://localhost/0?password={PLAIN}&db=x",
        f"redis://:{PLAIN}@localhost?allow_eviction=perhaps",
    ],
)
def test_the_password_of_a_url_that_cannot_be_used_is_not_shown(url: str) -> None:
    """Whatever is wrong with it."""
    with pytest.raises(ConfigError) as refused:
        RedisBackend(url, namespace="test")

    assert PLAIN not in str(refused.value)


def test_a_server_is_inspected_once_for_a_backend_and_its_twins(
    own_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is one server, and it is asked once a minute."""
    inspected: list[bool] = []
    conclude = Inspection.conclude

    def counting(inspection: Inspection, answer: bytes, *, enqueues: bool) -> None:
        inspected.append(True)
        conclude(inspection, answer, enqueues=enqueues)

    async def use(twin: AsyncRedisBackend) -> None:
        await twin.now()
        await twin.close()

    monkeypatch.setattr(Inspection, "conclude", counting)
    with closing(RedisBackend(own_url, namespace="test")) as backend:
        backend.now()
        with closing(backend.within(timedelta(seconds=1))) as quick:
            quick.now()
        asyncio.run(use(backend.to_async()))

    assert len(inspected) == 1


def test_every_instant_is_the_servers(
    admin: "redis.Redis", own_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the millisecond, whatever the clock of the program says."""
    monkeypatch.setattr(time, "time", lambda: 0.0)
    with closing(RedisBackend(own_url, namespace="test")) as backend:
        before = _time_of(admin)
        inserted(backend, an_item())
        claimed = a_claim(backend)
        now = backend.now()
        change(backend, claimed.records[0], State.RUNNING, cancel="why", append={"log": b"a line"})
        change(backend, claimed.records[0], State.COMPLETED)
        after = _time_of(admin)
        job = the(backend)
    assert job.cancel is not None
    lease_began = claimed.records[0].due_at - LEASE
    instants = [job.created_at, job.started_at, job.ended_at, claimed.now, now, job.cancel.at, lease_began]

    assert all(before <= at <= after for at in [*instants, job.lists["log"][0].at])


def _time_of(server: "redis.Redis") -> datetime:
    seconds, micros = server.time()
    return from_ms(seconds * 1000 + micros // 1000)
