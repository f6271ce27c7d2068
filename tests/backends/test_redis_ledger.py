"""The ledger of a Redis queue: what lies where, what is dropped, and what damage does to it."""

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import pytest
import redis

from stanchion.contract.answers import Fault
from stanchion.contract.requests import Check, ReadLedger
from stanchion.model.changes import Applied
from stanchion.model.ledger import HOURS, MINUTES, Books
from stanchion.model.states import State
from stanchion_conformance.making import QUEUE, a_claim, an_item, change, inserted, items, keys_of, taken
from stanchion_memory import MemoryBackend
from stanchion_redis import RedisBackend
from stanchion_testing.clock import VirtualClock
from support.stores import own_namespace

MINUTE = timedelta(minutes=1)


class Store:
    """A namespace of a real server, and a client to look at it."""

    def __init__(self, url: str, client: "redis.Redis", namespace: str) -> None:
        self.client, self.clock = client, VirtualClock()
        self.backend = RedisBackend(url, namespace=namespace, clock=self.clock)
        self.base = f"{namespace}:{{mail}}"

    def books(self, since: timedelta = HOURS, *, hourly: bool = False) -> Books:
        return self.backend.ledger(ReadLedger(queue=QUEUE, since=self.clock.now() - since, hourly=hourly))


@pytest.fixture
def store(redis_url: str) -> Iterator[Store]:
    with redis.Redis.from_url(redis_url) as client, own_namespace(client) as namespace:
        store = Store(redis_url, client, namespace)
        yield store
        store.backend.close()


def test_totals_are_fields_of_the_base_hash(store: Store) -> None:
    """Numbers that a person can read, and how long jobs waited beside them."""
    inserted(store.backend, *items("ab"))
    store.clock.advance(2)
    a_claim(store.backend)
    fields = store.client.hgetall(store.base)

    assert {name: value for name, value in fields.items() if b"." in name} == {
        b"-.enqueue.queued": b"2",
        b"queued.claim.running": b"2",
        b"queued.claim.running.ms": b"4000",
    }


def test_one_snapshot_is_kept_for_each_minute_in_which_something_was_counted(store: Store) -> None:
    """By the first counting of a later one; what is counted in one minute makes none."""
    for key, seconds in zip("abcd", (0, 10, 60, 300), strict=True):
        store.clock.advance(seconds)
        inserted(store.backend, an_item(key))

    assert [one.totals["-.enqueue.queued"].jobs for one in store.books().snapshots] == [2, 3]
    assert store.client.zcard(f"{store.base}:minutes") == 2


def test_snapshots_are_those_of_core(store: Store) -> None:
    """Of a quarter of a year in steps of very different length, whatever is asked for."""
    with closing(MemoryBackend(clock=store.clock)) as model:
        steps = (MINUTE, 59 * MINUTE, MINUTES / 50, MINUTES, HOURS / 20)
        for number in range(150):
            for backend in (model, store.backend):
                inserted(backend, an_item(f"{number}"))
            store.clock.advance(steps[number * number % len(steps)].total_seconds())
        for since in (timedelta(0), MINUTE, MINUTES, HOURS, 2 * HOURS):
            request = ReadLedger(queue=QUEUE, since=store.clock.now() - since)
            mine, its = store.backend.ledger(request), model.ledger(request)

            assert (mine.totals, mine.minute) == (its.totals, its.minute)
            assert list(mine.snapshots) == list(its.snapshots)


def test_snapshots_are_dropped_after_their_time(store: Store) -> None:
    """Those of minutes after two days, those of hours after ninety, but for the last one before: there is a bound."""
    for number in range(100):
        inserted(store.backend, an_item(f"{number}"))
        store.clock.advance((MINUTES / 10).total_seconds())
    minutes = store.client.zcard(f"{store.base}:minutes")
    store.clock.advance(2 * HOURS.total_seconds())
    inserted(store.backend, an_item("late"))
    store.clock.advance(3600)
    inserted(store.backend, an_item("last"))

    assert minutes == 10
    assert store.client.zcard(f"{store.base}:hours") == 2


def test_the_last_snapshot_of_each_hour_is_enough_for_hours(store: Store) -> None:
    """A fraction of what lies there is sent."""
    for number in range(130):
        inserted(store.backend, an_item(f"{number}"))
        store.clock.advance(60)

    assert len(store.books().snapshots) == 129
    assert len(store.books(hourly=True).snapshots) == 2


@pytest.mark.parametrize("value", [b"", b"x", b"nan", b"1e5", b"-7", b"9" * 30])
def test_a_number_that_is_damaged_is_reported_and_stops_nobody(store: Store, value: bytes) -> None:
    """Work goes on; that the books do not balance is said at once, in the first part of a check."""
    inserted(store.backend, *items("ab"))
    store.client.hset(store.base, "-.enqueue.queued", value)
    inserted(store.backend, an_item("c"))
    claimed = a_claim(store.backend)
    page = store.backend.check(Check(QUEUE))

    assert keys_of(claimed.records) == ["a", "b", "c"]
    assert {one.fault for one in page.findings} == {Fault.UNBALANCED}


def test_snapshots_of_another_type_stop_nobody(store: Store) -> None:
    """There are none then."""
    inserted(store.backend, an_item())
    store.client.set(f"{store.base}:minutes", "x")
    store.clock.advance(3600)
    inserted(store.backend, an_item("b"))
    store.client.zadd(f"{store.base}:hours", {"nonsense": 1})

    assert [one.totals["-.enqueue.queued"].jobs for one in store.books().snapshots] == [1]
    assert store.books().totals["-.enqueue.queued"].jobs == 2


def test_a_settled_job_that_was_quarantined_is_counted_back_first(store: Store) -> None:
    """Its worker settles it before a sweep saw that it can be read again."""
    job = taken(store.backend)
    store.client.hdel(f"{store.base}:j:a", "t")
    change(store.backend, job, State.RUNNING, guards={"claim": job.claim})
    store.client.hset(f"{store.base}:j:a", "t", "greet")
    answer = change(store.backend, job, State.COMPLETED, guards={"claim": job.claim}, due=timedelta(days=1))

    assert isinstance(answer, Applied)
    assert store.client.zcard(f"{store.base}:quarantine") == 0
    assert store.backend.check(Check(QUEUE)).findings == []
