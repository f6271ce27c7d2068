"""Records that cannot be read: set apart, said, counted, and put back once they can be read; nothing else stops."""

import json
import logging
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
import redis
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from stanchion.cli.commands import stanchion
from stanchion.contract.requests import FindDue, Forget, Wait
from stanchion.model.changes import Applied, Topic
from stanchion.model.records import head_of
from stanchion.model.states import State
from stanchion_conformance.making import (
    a_claim,
    an_item,
    change,
    counts_of,
    in_states,
    inserted,
    items,
    keys_of,
    taken,
    the,
)
from stanchion_redis import RedisBackend
from stanchion_redis.replies import claimed, head, record
from stanchion_testing.clock import VirtualClock
from support.stores import own_namespace

MAIL = "mail"


class Store:
    """A namespace of a real server, and a client to damage it."""

    def __init__(self, url: str, client: "redis.Redis", namespace: str) -> None:
        self.client, self.namespace, self.url = client, namespace, url
        self.clock = VirtualClock()
        self.backend = RedisBackend(url, namespace=namespace, clock=self.clock)
        self.base = f"{namespace}:{{mail}}"

    def spoil(self, key: str) -> None:
        """Make a record unreadable."""
        self.client.hdel(f"{self.base}:j:{key}", "t")

    def mend(self, key: str) -> None:
        """Make it readable again."""
        self.client.hset(f"{self.base}:j:{key}", "t", "greet")

    def quarantine(self) -> list[bytes]:
        found: list[bytes] = self.client.zrange(f"{self.base}:quarantine", 0, -1)
        return found


@pytest.fixture
def store(redis_url: str) -> Iterator[Store]:
    with redis.Redis.from_url(redis_url) as client, own_namespace(client) as namespace:
        store = Store(redis_url, client, namespace)
        yield store
        store.backend.close()


# Said and counted.


def test_a_quarantined_job_is_named_once(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """In a warning, by whichever call found it; later ones do not see it any more."""
    inserted(store.backend, *items(["a", "bad"]))
    store.spoil("bad")
    caplog.set_level(logging.WARNING, "stanchion.redis")
    for _ in range(2):
        a_claim(store.backend)
        store.backend.due(FindDue([MAIL], 10))

    assert [one.getMessage() for one in caplog.records if "quarantined" in one.getMessage()] == [
        "mail:bad cannot be read and is quarantined; see `stanchion check mail`"
    ]


@pytest.mark.parametrize("verb", ["due", "apply"])
def test_other_calls_name_a_quarantined_job_as_well(
    store: Store, caplog: pytest.LogCaptureFixture, verb: str
) -> None:
    """Whoever meets it first."""
    job = taken(store.backend, "bad")
    store.spoil("bad")
    store.clock.advance(hours=1)
    caplog.set_level(logging.WARNING, "stanchion.redis")
    if verb == "due":
        store.backend.due(FindDue([MAIL], 10))
    else:
        change(store.backend, job, State.COMPLETED)

    assert "mail:bad cannot be read" in caplog.text


def test_quarantined_jobs_are_counted(store: Store) -> None:
    """Beside those in the states, which they are in no more."""
    inserted(store.backend, *items(["a", "bad", "worse"]))
    store.spoil("bad")
    store.spoil("worse")
    a_claim(store.backend)

    assert store.backend.quarantined([MAIL, "other"]) == {MAIL: 2, "other": 0}
    assert sum(counts_of(store.backend).values()) == 1


# Put back.


@pytest.mark.parametrize("state", [State.SCHEDULED, State.RUNNING, State.RETRYING, State.COMPLETED])
def test_a_job_that_can_be_read_again_is_put_back(store: Store, state: State) -> None:
    """By the next sweep, exactly where it stood; nothing of it is lost."""
    (job,) = in_states(store.backend, {"bad": state}).values()
    store.spoil("bad")
    store.clock.advance(hours=1)
    store.backend.due(FindDue([MAIL], 10))
    aside = store.quarantine()
    store.mend("bad")
    due = store.backend.due(FindDue([MAIL], 10))

    assert aside == [f"{state} bad".encode()]
    assert due.heads == [head_of(job)]
    assert store.quarantine() == []


def test_a_queued_job_that_can_be_read_again_keeps_its_place(store: Store) -> None:
    """In front of those that were enqueued after it; a worker that waits is woken."""
    inserted(store.backend, *items(["bad", "a", "b"]))
    store.spoil("bad")
    a_claim(store.backend, limit=1)
    store.backend.wait(Wait([MAIL], timedelta(0)))
    store.mend("bad")
    store.backend.due(FindDue([MAIL], 10))

    assert store.backend.wait(Wait([MAIL], timedelta(0)))
    assert keys_of(a_claim(store.backend, limit=1).records) == ["bad"]
    assert store.quarantine() == []


def test_a_run_of_a_job_that_can_be_read_again_can_be_settled(store: Store) -> None:
    """Its worker may be the first to come across it."""
    job = taken(store.backend, "bad")
    store.spoil("bad")
    change(store.backend, job, State.RUNNING, guards={"claim": job.claim})
    aside = store.quarantine()
    store.mend("bad")
    answer = change(store.backend, job, State.COMPLETED, guards={"claim": job.claim})

    assert aside == [b"running bad"]
    assert isinstance(answer, Applied)
    assert the(store.backend, "bad").state is State.COMPLETED
    assert store.quarantine() == []


def test_each_of_many_quarantined_jobs_is_looked_at_in_turn(store: Store) -> None:
    """However many stay unreadable."""
    bad = [f"bad-{n:02}" for n in range(35)]
    inserted(store.backend, *items([*bad, "good"]))
    for key in [*bad, "good"]:
        store.spoil(key)
    a_claim(store.backend)
    store.mend("good")
    for _ in range(4):
        store.clock.advance(1)
        store.backend.due(FindDue([MAIL], 10))

    assert b"queued good" not in store.quarantine()
    assert len(store.quarantine()) == 35


# Bytes that nobody expects.


def test_a_key_that_is_none_stops_nobody(store: Store) -> None:
    """Somebody else wrote it; the others are claimed and swept."""
    inserted(store.backend, *items("ab"))
    taken(store.backend, "r", priority=9)
    fields = {"t": "t", "a": "1", "A": "j1{}"}
    for state, score in (("queued", 5), ("running", 5)):
        for key in (b"\xff", b"a b", b"x" * 200):
            store.client.zadd(f"{store.base}:{state}", {key: score})
            store.client.hset(f"{store.base}:j:".encode() + key, mapping={**fields, "s": state})
    store.clock.advance(hours=1)

    assert keys_of(store.backend.due(FindDue([MAIL], 10)).heads) == ["r"]
    assert keys_of(a_claim(store.backend).records) == ["a", "b"]


def test_names_that_are_none_are_no_queues(store: Store) -> None:
    """Whoever wrote them to the registry."""
    inserted(store.backend, an_item())
    store.client.sadd(f"{store.namespace}:queues", b"\xff", "a b", "")

    assert list(store.backend.queues()) == [MAIL]


def test_a_message_that_is_none_does_not_end_a_watch(store: Store) -> None:
    """It names no job."""
    watch = store.backend.watch([MAIL], Topic.ENDED)
    job = taken(store.backend)
    store.client.publish(f"{store.base}:ended", b"\xff")
    change(store.backend, job, State.COMPLETED)
    heard: set[str] = set()
    while "mail:a" not in heard:
        heard |= watch.next(timedelta(seconds=5))
    watch.close()

    assert "mail:a" in heard


SOUND = {b"t": b"task", b"s": b"running", b"a": b"1", b"A": b"args"}
NUMBERS = st.from_regex(rb"\A-?[0-9]{1,15}\Z")
NAMES = st.one_of(
    st.binary(max_size=8).filter(lambda name: len(name) != 1),  # the scripts look at those themselves
    st.builds(lambda end: b"l." + end, st.binary(max_size=8)),
    st.builds(lambda digits: f"l.errors.{digits}".encode(), st.text(st.characters(categories=["N"]))),
    st.sampled_from([b"n.", b"k.", b"k.lost", b"l.", b"l..", b"l.history." + b"9" * 5000]),
    st.sampled_from([b"g", b"e", b"u", b"c", b"w", b"x", b"E", b"P", b"1", b"4", b"B"]),
)


@given(
    st.dictionaries(NAMES, st.binary(max_size=20)),
    st.dictionaries(st.sampled_from([b"r", b"v", b"p", b"o", b"q", b"b", b"z", b"a"]), NUMBERS),
    st.sampled_from([b"inf", b"-inf", b"0", b"-1", b"1e300", b"4503599627370496"]),
    st.sampled_from([state.value.encode() for state in State]),
)
def test_no_field_of_a_record_raises(
    others: dict[bytes, bytes], numbers: dict[bytes, bytes], score: bytes, state: bytes
) -> None:
    """Whatever the scripts let through can be read as far as possible."""
    fields = {**others, **SOUND, **numbers, b"s": state}
    flat = [part for field in fields.items() for part in field]
    now = datetime(2030, 1, 1, tzinfo=UTC)

    assert record("mail:a", flat, score).args == b"args"
    assert head("mail:a", flat, score).task == "task"
    reply = [1, b"a", 1, 2, 3, 4, flat]
    assert claimed("mail:a", reply, "claim", "worker", {3: now, 4: now}).args == b"args"


# The registry.


def test_a_queue_is_registered_again_when_its_store_was_emptied(store: Store) -> None:
    """By a process that had registered it before."""
    inserted(store.backend, an_item())
    store.client.delete(*store.client.scan_iter(f"{store.namespace}:*", count=1000))
    inserted(store.backend, an_item(state=State.SCHEDULED))

    assert list(store.backend.queues()) == [MAIL]


def test_a_queue_is_registered_again_after_a_while(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever removed it."""
    inserted(store.backend, an_item())
    store.client.srem(f"{store.namespace}:queues", MAIL)
    inserted(store.backend, an_item("b"))
    soon = list(store.backend.queues())
    monkeypatch.setattr("stanchion_redis.operations.REGISTERED", 0.0)
    inserted(store.backend, an_item("c"))

    assert soon == []
    assert list(store.backend.queues()) == [MAIL]


@pytest.mark.parametrize("at", range(5))
def test_a_queue_made_anew_while_it_is_forgotten_is_registered(store: Store, at: int) -> None:
    """Another process enqueues between any two of its commands."""
    other = RedisBackend(store.url, namespace=store.namespace, clock=store.clock)
    inserted(other, an_item())
    change(other, the(other), None)
    steps = store.backend._operations.forget(Forget(MAIL))
    reply: object = None
    with suppress(StopIteration):
        for number in count():
            if number == at:
                inserted(other, an_item("b"))
            reply = store.backend._run(one(steps.send(reply)))
    other.close()

    assert list(store.backend.queues()) == [MAIL]


def one(step: object) -> Iterator[object]:
    """An operation of one step."""
    return (yield step)


# What idle queues cost.


def test_an_idle_queue_costs_a_claim_one_command(store: Store) -> None:
    """A worker may serve a thousand."""
    queues = [f"q{number}" for number in range(100)]
    store.backend.now()
    before = _commands(store)
    a_claim(store.backend, *queues)

    assert _commands(store) - before <= len(queues) + 10


def _commands(store: Store) -> int:
    stats = store.client.info("commandstats")
    return sum(one["calls"] for name, one in stats.items() if name != "cmdstat_info")


def test_info_counts_what_is_quarantined(store: Store) -> None:
    """Where there is something; that is how an operator comes to know of it."""
    inserted(store.backend, an_item("bad"))
    options = ["info", "--backend", store.url, "--namespace", store.namespace, "--json"]
    before = CliRunner().invoke(stanchion, options)
    store.spoil("bad")
    a_claim(store.backend)
    after = CliRunner().invoke(stanchion, options)

    assert "quarantined" not in before.output
    assert json.loads(after.output)["queues"][0]["quarantined"] == 1
    assert "quarantined" in CliRunner().invoke(stanchion, options[:-1]).output


def test_check_names_what_is_damaged(store: Store) -> None:
    """As the warnings and errors say that it does; its status tells scripts."""
    inserted(store.backend, *items(["a", "bad"]))
    options = ["check", "--backend", store.url, "--namespace", store.namespace]
    sound = CliRunner().invoke(stanchion, options)
    store.spoil("bad")
    a_claim(store.backend)
    damaged = CliRunner().invoke(stanchion, [*options, MAIL])
    found = json.loads(CliRunner().invoke(stanchion, [*options, "--json"]).output)["findings"]

    assert sound.exit_code == 0
    assert sound.output.startswith("balanced: ")
    assert damaged.exit_code == 1
    assert "mail:bad is unreadable: it was queued and is quarantined" in damaged.output
    assert {one["where"] for one in found} == {"mail:bad"}
