"""The Redis backend keeps the contract on a fake server, without one."""

from collections.abc import Iterator
from typing import Any

import pytest

from stanchion.contract.backend import Backend
from stanchion.contract.capabilities import WatchesJobs
from stanchion_conformance import Contract, Ground, Smoke, blocking
from stanchion_redis import RedisBackend
from stanchion_testing.clock import VirtualClock
from support.stores import FakeClients, a_namespace, dump_of


class OnFakeRedis(Ground):
    """What its sync and async verbs have in common."""

    @pytest.fixture
    def opened(self, clock: VirtualClock) -> Iterator[RedisBackend]:
        """A backend on a server of its own."""
        self.namespace, self.clients, self.clock = a_namespace(), FakeClients(), clock
        self.client = self.clients.client()
        backend = self.reopen_at(self.namespace)
        yield backend
        backend.close()

    def reopen_at(self, namespace: str) -> RedisBackend:
        """A backend on the same server."""
        backend = RedisBackend("redis://fake", namespace=namespace, clock=self.clock, clients=self.clients)
        backend._inspection.skip()  # fakeredis does not know INFO
        return backend

    def reopen(self, backend: Backend, namespace: str) -> Backend:
        return self.reopen_at(namespace)

    def damage(self, backend: Backend, job_id: str) -> bool:
        return bool(self.client.hdel(self._head(job_id), "t"))

    def mend(self, backend: Backend, job_id: str) -> bool:
        return bool(self.client.hset(self._head(job_id), "t", "greet"))

    def _head(self, job_id: str) -> str:
        queue, _, key = job_id.partition(":")
        return f"{self.namespace}:{{{queue}}}:j:{key}"

    def dump(self, backend: Backend) -> Any:
        return dump_of(self.client, self.namespace)

    @pytest.mark.skip("fakeredis cannot shut a connection while another thread reads from it")
    def test_close_ends_a_wait(self, backend: Backend) -> None:
        """Shown on real servers."""


class TestFakeRedis(OnFakeRedis, Contract):
    """Its sync verbs."""

    STORIES = 10

    @pytest.fixture
    def backend(self, opened: RedisBackend) -> Backend:
        return opened


class TestFakeRedisAsync(OnFakeRedis, Smoke):
    """Its async verbs."""

    @pytest.fixture
    def backend(self, opened: RedisBackend) -> Iterator[Backend]:
        with blocking(opened.to_async) as backend:
            yield backend

    @pytest.mark.skip("fakeredis does not notice that a connection was closed while it is read from")
    def test_closing_a_watch_ends_its_wait(self, watcher: WatchesJobs) -> None:
        """Shown on real servers."""
