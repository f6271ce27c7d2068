"""A Redis backend that is in use when its process forks."""

from collections.abc import Iterator

import pytest
import redis

from stanchion_redis.connections import CONNECTIONS
from support.hands import Hand, hands
from support.stores import own_namespace


@pytest.fixture
def process() -> Iterator[Hand]:
    """A process that may fork."""
    with hands(1) as (hand,):
        yield hand


@pytest.fixture
def namespace(redis_url: str) -> Iterator[str]:
    with redis.Redis.from_url(redis_url) as client, own_namespace(client) as namespace:
        yield namespace


@pytest.mark.parametrize("use", ["a_call", "a_wait"])
def test_a_child_uses_connections_of_its_own(redis_url: str, namespace: str, process: Hand, use: str) -> None:
    """Its parent's replies would be its own; the parent goes on with the connection it had."""
    told = process.do(f"redis_forks:{use}", redis_url, namespace)

    assert told["child"] != told["before"]
    assert "Error" not in told["child"]
    assert told["parent"] == told["before"]


def test_parent_and_child_hear_the_same_on_one_watch(redis_url: str, namespace: str, process: Hand) -> None:
    """Neither takes the other's messages."""
    told = process.do("redis_forks:a_watch", redis_url, namespace)

    assert told == {"child": "['mail:a']", "parent": "['mail:a']"}


def test_the_watches_of_a_parent_take_none_from_its_child(
    redis_url: str, namespace: str, process: Hand
) -> None:
    """Each process may have as many as there may be."""
    told = process.do("redis_forks:a_crowd", redis_url, namespace)

    assert told == {"child": "frozenset()", "turns of the parent": CONNECTIONS}
