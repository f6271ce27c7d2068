"""The Redis backend keeps the contract on a real server."""

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from stanchion.contract.backend import Backend
from stanchion_conformance import BackendSuite, Ground, Smoke, blocking
from stanchion_redis import RedisBackend
from stanchion_testing.clock import VirtualClock
from support.stores import dump_of, own_namespace


class OnRedis(Ground):
    """What its sync and async verbs have in common."""

    @pytest.fixture
    def opened(self, redis_url: str, clock: VirtualClock) -> Iterator[RedisBackend]:
        """A backend with a namespace of its own."""
        self.client = redis.Redis.from_url(redis_url)
        with self.client, own_namespace(self.client) as self.namespace:
            self.clock, self.url = clock, redis_url
            backend = RedisBackend(redis_url, namespace=self.namespace, clock=clock)
            yield backend
            backend.close()

    def reopen(self, backend: Backend, namespace: str) -> Backend:
        return RedisBackend(self.url, namespace=f"{self.namespace}:{namespace}", clock=self.clock)

    def address(self, backend: Backend) -> tuple[str, str]:
        return self.url, self.namespace

    def damage(self, backend: Backend, job_id: str) -> bool:
        return bool(self.client.hdel(self._head(job_id), "t"))

    def mend(self, backend: Backend, job_id: str) -> bool:
        return bool(self.client.hset(self._head(job_id), "t", "greet"))

    def _head(self, job_id: str) -> str:
        queue, _, key = job_id.partition(":")
        return f"{self.namespace}:{{{queue}}}:j:{key}"

    def dump(self, backend: Backend) -> Any:
        return dump_of(self.client, self.namespace)


class TestRedis(OnRedis, BackendSuite):
    """Its sync verbs."""

    STORIES = 40

    @pytest.fixture
    def backend(self, opened: RedisBackend) -> Backend:
        return opened


class TestRedisAsync(OnRedis, Smoke):
    """Its async verbs."""

    @pytest.fixture
    def backend(self, opened: RedisBackend) -> Iterator[Backend]:
        with blocking(opened.to_async) as backend:
            yield backend
