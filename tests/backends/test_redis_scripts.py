"""The scripts of the Redis backend: their headers, the keys they touch, and what they do in a damaged store."""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from importlib.resources import files
from itertools import product
from typing import Any

import pytest
import redis
from msgspec.structs import replace
from redis.cluster import key_slot

from stanchion.contract.answers import Fault, Finding
from stanchion.contract.backend import Backend
from stanchion.contract.requests import (
    Apply,
    Check,
    Configure,
    Count,
    FindDue,
    Forget,
    Get,
    Insert,
    List,
    ReadLedger,
    Wait,
)
from stanchion.errors import BackendError
from stanchion.model.changes import Applied, Refusal, Refused
from stanchion.model.records import Head
from stanchion.model.states import State
from stanchion_conformance import blocking
from stanchion_conformance.making import (
    a_change,
    a_claim,
    an_item,
    change,
    in_states,
    inserted,
    items,
    keys_of,
    taken,
    the,
)
from stanchion_redis import RedisBackend
from stanchion_redis import lua as assembled
from stanchion_testing.clock import VirtualClock
from support.stores import dump_of, own_namespace
from support.stores import keys_of as stored_keys

FOLDER = files("stanchion_redis") / "scripts"
SCRIPTS = {file.name: file.read_text() for file in FOLDER.iterdir() if file.name.endswith(".lua")}
SHARED_PARTS = {file.name: file.read_text() for file in (FOLDER / "shared").iterdir()}
VERBS = sorted(SCRIPTS)
SECOND = timedelta(seconds=1)


class Store:
    """A namespace of a real server: the backend on it, and a client to look at it and to damage it."""

    def __init__(self, url: str, client: "redis.Redis", namespace: str) -> None:
        self.client, self.namespace = client, namespace
        self.clock = VirtualClock()
        self.backend: Backend = RedisBackend(url, namespace=namespace, clock=self.clock)
        self.base = f"{namespace}:{{mail}}"

    def dump(self) -> Any:
        return dump_of(self.client, self.namespace)

    def findings(self) -> list[Finding]:
        page = self.backend.check(Check("mail"))
        found = list(page.findings)
        while page.cursor is not None:
            page = self.backend.check(Check("mail", page.cursor))
            found += page.findings
        return found


@pytest.fixture
def store(redis_url: str) -> Iterator[Store]:
    with redis.Redis.from_url(redis_url) as client, own_namespace(client) as namespace:
        store = Store(redis_url, client, namespace)
        yield store
        store.backend.close()


def a_story(backend: Backend, clock: VirtualClock) -> None:
    """Every verb, and jobs in every state, some with unique keys."""
    in_states(backend, {state.value: state for state in State}, tags=("a tag", "another"))
    inserted(
        backend,
        an_item("u", unique="digest", scope="start", priority=1),
        an_item("u2", unique="digest"),
        an_item("large", args=b"x" * 1000),
    )
    job = a_claim(backend, limit=1).records[0]
    change(
        backend,
        job,
        State.RUNNING,
        guards={"claim": job.claim},
        notes={"n": b"1" * 100},
        append={"log": b"x"},
    )
    change(backend, job, State.COMPLETED, guards={"claim": job.claim}, unique="digest")
    change(backend, job, State.COMPLETED, guards={"claim": "stale"})
    clock.advance(hours=1)
    for due in backend.due(FindDue(["mail"], 100)).heads:
        deleted(backend, due)
    backend.configure(Configure(queue="mail", set={"paused": True}))
    backend.configure(Configure(queue="mail", unset=["paused"]))
    backend.wait(Wait(["mail"], timedelta(0)))
    backend.list(List(queue="mail", state=State.QUEUED))
    backend.count(Count(["mail"], tag="a tag"))
    backend.ledger(ReadLedger(queue="mail", since=clock.now() - timedelta(days=1)))
    backend.queues()
    backend.forget(Forget("mail"))
    cursor = backend.check(Check("mail")).cursor
    while cursor is not None:
        cursor = backend.check(Check("mail", cursor)).cursor


def deleted(backend: Backend, job: Head) -> None:
    """Delete a job; a running one ends first, as the table wants it."""
    if job.state is State.RUNNING:
        change(backend, job, State.FAILED)
        job = replace(job, state=State.FAILED)
    change(backend, job, None)


# Headers.


@pytest.mark.parametrize("name", sorted({**SCRIPTS, **SHARED_PARTS}))
def test_every_script_says_what_it_is(name: str) -> None:
    """Its first sentence names it, in words."""
    assert re.match(rf"-- {re.escape(name)}: \w[^.]+\.", {**SCRIPTS, **SHARED_PARTS}[name])


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_says_what_it_takes_and_answers(name: str) -> None:
    """KEYS, ARGV and what is returned, before the first line of code, in this order."""
    header = re.match(r"(--[^\n]*\n)+", SCRIPTS[name])

    assert header is not None
    assert re.findall(r"^-- (KEYS|ARGV|returns)  ", header[0], re.MULTILINE) == ["KEYS", "ARGV", "returns"]


@pytest.mark.parametrize("name", VERBS)
def test_scripts_send_no_command_whose_cost_grows_with_the_store(name: str) -> None:
    """What they send is known, and each of it is bounded by the size of a batch or of one job."""
    sent = set(
        re.findall(r"(?:redis\.p?call|try)\(\s*\"(\w+)\"", assembled.SCRIPTS[name.removesuffix(".lua")][0])
    )
    bounded = {
        "DEL",
        "EXISTS",
        "GET",
        "HDEL",
        "HGET",
        "HGETALL",
        "HINCRBY",
        "HLEN",
        "HMGET",
        "HSCAN",
        "HSET",
        "HSTRLEN",
        "LLEN",
    }
    bounded |= {
        "LPUSH",
        "PUBLISH",
        "SET",
        "TIME",
        "ZADD",
        "ZCARD",
        "ZRANGE",
        "ZRANGEBYSCORE",
        "ZRANK",
        "ZREM",
        "ZREMRANGEBYSCORE",
        "ZREVRANGEBYSCORE",
        "ZSCORE",
    }

    assert sent <= bounded
    assert "redis.call(ARGV" not in SCRIPTS[name]


# Keys.


def test_every_key_touched_is_the_queues_own(store: Store) -> None:
    """All begin with the queue's base key, so that they lie in its slot; the server itself says which they are."""
    end = f"the end of {store.namespace}"
    with store.client.monitor() as monitor:
        a_story(store.backend, store.clock)
        store.client.echo(end)
        heard = []
        for said in monitor.listen():
            if end in said["command"]:
                break
            heard.append(said)

    touched = {
        said["command"].split(" ")[1]
        for said in heard
        if said["client_type"] == "lua" and " " in said["command"]
    }
    assert len(touched) > 20
    assert {name for name in touched if not name.startswith(store.base)} == set()


def test_all_keys_of_a_queue_lie_in_one_slot(store: Store) -> None:
    """Its name is their hash tag; only the registry of queues lies elsewhere."""
    in_states(store.backend, {state.value: state for state in State})
    inserted(store.backend, an_item(unique="digest", scope="end"))
    keys = [
        key
        for key in stored_keys(store.client, store.namespace)
        if key != f"{store.namespace}:queues".encode()
    ]

    assert len(keys) > 15
    assert {key_slot(key) for key in keys} == {key_slot(b"mail")}


def test_no_key_that_matters_expires(store: Store) -> None:
    """Only the answers to claims do, with their lease."""
    a_story(store.backend, store.clock)
    taken(store.backend, "late", priority=9)
    lives = {key: store.client.pttl(key) for key in stored_keys(store.client, store.namespace)}
    expiring = {key: ttl for key, ttl in lives.items() if ttl != -1}

    assert expiring
    assert all(b"}:claim:" in key and 0 < ttl <= 30_000 for key, ttl in expiring.items())


@pytest.mark.parametrize(("lease", "kept"), [(30_000, 30_000), (3_600_000, 60_000)])
def test_the_answer_to_a_claim_is_kept_while_it_may_be_asked_for_again(
    store: Store, lease: int, kept: int
) -> None:
    """For the lease, and not for the hour that a long one lasts. It is the server that forgets it, by its own clock."""
    inserted(store.backend, an_item())
    a_claim(store.backend, claim_id="once", lease=timedelta(milliseconds=lease))

    assert kept - 20_000 < store.client.pttl(f"{store.base}:claim:once") <= kept


def test_nothing_is_left_of_a_queue_that_was_forgotten(store: Store) -> None:
    """But answers to claims, for as long as their lease was."""
    for job in in_states(store.backend, {state.value: state for state in State}).values():
        deleted(store.backend, job)
    inserted(store.backend, an_item(unique="digest", scope="end"))
    change(store.backend, the(store.backend), None)

    assert store.backend.forget(Forget("mail"))
    assert [key for key in stored_keys(store.client, store.namespace) if b"}:claim:" not in key] == []


# The server's cache of scripts.


def test_a_flushed_script_is_loaded_again(store: Store) -> None:
    """A restart or a failover forgets them, between any two calls."""
    for _ in range(3):
        store.client.script_flush()
        a_story(store.backend, store.clock)
        for state in State:
            for job in store.backend.list(List(queue="mail", state=state)).heads:
                store.client.script_flush()
                deleted(store.backend, job)

    assert store.findings() == []


def test_a_flushed_script_is_loaded_again_on_a_loop(store: Store) -> None:
    """The async verbs do the same."""
    assert isinstance(store.backend, RedisBackend)
    with blocking(store.backend.to_async) as backend:
        store.client.script_flush()
        inserted(backend, an_item())
        store.client.script_flush()

        assert keys_of(a_claim(backend).records) == ["a"]


# Damage.

Damage = Callable[["redis.Redis", str], object]

DAMAGES: dict[str, Damage] = {
    "no record": lambda client, name: client.delete(name),
    "a string": lambda client, name: (client.delete(name), client.set(name, "x")),
    "a list": lambda client, name: (client.delete(name), client.lpush(name, "x")),
    "no task": lambda client, name: client.hdel(name, "t"),
    "no state": lambda client, name: client.hdel(name, "s"),
    "no arguments": lambda client, name: client.hdel(name, "A"),
    "no time of creation": lambda client, name: client.hdel(name, "a"),
    "unknown state": lambda client, name: client.hset(name, "s", "floating"),
    "another state": lambda client, name: client.hset(name, "s", "timed_out"),
    **{
        f"{field}={value!r}": lambda client, name, field=field, value=value: client.hset(name, field, value)
        for field, value in product("rvpo", ("", "x", "nan", "1e5", "9" * 30))
    },
}
HEADS = sorted(set(DAMAGES) - {"no arguments"})
"""What is damaged in heads; arguments are not looked at before they are handed out."""

SEEN_BY_QUEUEING = sorted(name for name in HEADS if name[:2] in ("p=", "o="))
"""What a change looks at only if it leads to the queue."""

SEEN_BY_APPLY = sorted(
    name for name in HEADS if name not in ("no time of creation", *SEEN_BY_QUEUEING) and name[0] != "r"
)
"""What it looks at wherever it leads."""


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_record_does_not_stop_a_claim(store: Store, damage: str) -> None:
    """The others are handed out; it is put aside and reported."""
    inserted(store.backend, *items(["a", "bad", "b"]))
    DAMAGES[damage](store.client, f"{store.base}:j:bad")
    claimed = a_claim(store.backend, limit=3)

    assert keys_of(claimed.records) == ["a", "b"]
    assert store.client.zrange(f"{store.base}:quarantine", 0, -1) == [b"queued bad"]
    assert Fault.UNREADABLE in {one.fault for one in store.findings() if one.where == "mail:bad"}
    assert not claimed.more


@pytest.mark.parametrize("damage", HEADS)
@pytest.mark.parametrize("state", [State.RUNNING, State.SCHEDULED, State.COMPLETED])
def test_a_damaged_record_does_not_stop_a_sweep(store: Store, state: State, damage: str) -> None:
    """The others are found; it is put aside and reported, and the next sweep does not see it."""
    in_states(store.backend, {"a": state, "bad": state, "b": state})
    DAMAGES[damage](store.client, f"{store.base}:j:bad")
    store.clock.advance(hours=1)
    first, second = store.backend.due(FindDue(["mail"], 3)), store.backend.due(FindDue(["mail"], 3))

    assert sorted(keys_of(first.heads)) == sorted(keys_of(second.heads)) == ["a", "b"]
    assert Fault.UNREADABLE in {one.fault for one in store.findings() if one.where == "mail:bad"}


@pytest.mark.parametrize("damage", SEEN_BY_APPLY)
def test_a_damaged_record_does_not_stop_other_changes(store: Store, damage: str) -> None:
    """It is refused: as absent, or for the state it says it is in; the others of the call are made."""
    found = in_states(store.backend, dict.fromkeys(("a", "bad", "b"), State.RUNNING))
    DAMAGES[damage](store.client, f"{store.base}:j:bad")
    answers = store.backend.apply(Apply([a_change(job, State.COMPLETED) for job in found.values()]))

    assert [type(answer) for answer in answers] == [Applied, Refused, Applied]
    assert answers[1] in (Refused(Refusal.ABSENT, None), Refused(Refusal.STATE, None))
    assert "mail:bad" in {one.where for one in store.findings()}


@pytest.mark.parametrize("damage", SEEN_BY_QUEUEING)
def test_a_damaged_record_does_not_stop_others_on_their_way_to_the_queue(store: Store, damage: str) -> None:
    """It is refused and quarantined, as its place there cannot be told."""
    found = in_states(store.backend, dict.fromkeys(("a", "bad", "b"), State.RUNNING))
    DAMAGES[damage](store.client, f"{store.base}:j:bad")
    answers = store.backend.apply(Apply([a_change(job, State.QUEUED) for job in found.values()]))

    assert [type(answer) for answer in answers] == [Applied, Refused, Applied]
    assert store.client.zrange(f"{store.base}:quarantine", 0, -1) == [b"running bad"]


@pytest.mark.parametrize("damage", SEEN_BY_QUEUEING)
def test_a_run_can_be_settled_though_its_place_is_damaged(store: Store, damage: str) -> None:
    """What a change does not need does not stop it."""
    job = taken(store.backend, "bad")
    DAMAGES[damage](store.client, f"{store.base}:j:bad")

    assert isinstance(change(store.backend, job, State.COMPLETED, guards={"claim": job.claim}), Applied)


def test_a_job_without_arguments_is_not_handed_out(store: Store) -> None:
    """Nor can it be read whole; but its head shows it, and it can be deleted."""
    inserted(store.backend, an_item("bad", args=b"x" * 1000), an_item("small"))
    store.client.delete(f"{store.base}:a:bad")
    store.client.hdel(f"{store.base}:j:small", "A")
    listed = store.backend.list(List(queue="mail", state=State.QUEUED)).heads
    found = store.findings()

    assert keys_of(listed) == ["bad", "small"]
    assert store.backend.get(Get(["mail:bad", "mail:small"])) == [None, None]
    assert [(one.fault, one.where) for one in found] == [
        (Fault.UNREADABLE, "mail:bad"),
        (Fault.UNREADABLE, "mail:small"),
    ]
    assert isinstance(change(store.backend, listed[0], None), Applied)
    assert a_claim(store.backend).records == []
    assert store.client.zrange(f"{store.base}:quarantine", 0, -1) == [b"queued small"]


@pytest.mark.parametrize("damage", HEADS)
def test_a_refusal_can_be_told_of_a_damaged_record(store: Store, damage: str) -> None:
    """With the word alone, as there is no record to show."""
    job = taken(store.backend, "bad")
    DAMAGES[damage](store.client, f"{store.base}:j:bad")
    answer = change(store.backend, job, State.COMPLETED, guards={"claim": "stale"})

    assert isinstance(answer, Refused)
    assert answer.head is None


@pytest.mark.parametrize("damage", HEADS)
def test_a_damaged_record_can_be_read_past(store: Store, damage: str) -> None:
    """It is absent to a reader, and lists show the others."""
    found = in_states(store.backend, dict.fromkeys(("a", "bad", "b"), State.RUNNING))
    DAMAGES[damage](store.client, f"{store.base}:j:bad")
    read = store.backend.get(Get([job.id for job in found.values()]))
    listed = store.backend.list(List(queue="mail", state=State.RUNNING)).heads

    assert keys_of(read) == ["a", "b"]
    assert sorted(job.id for job in listed if job.state is State.RUNNING) == ["mail:a", "mail:b"]


@pytest.mark.parametrize("damage", sorted(set(HEADS) - {"no record"}))
def test_the_id_of_a_damaged_record_is_taken(store: Store, damage: str) -> None:
    """A new job must not be mixed with what is left of another, and nobody is told that it was made."""
    inserted(store.backend, an_item("bad"))
    DAMAGES[damage](store.client, f"{store.base}:j:bad")
    with pytest.raises(BackendError, match="mail:bad.*stanchion check mail"):
        inserted(store.backend, *items(["a", "bad", "b"]))

    assert keys_of(store.backend.get(Get(["mail:a", "mail:b"]))) == ["a", "b"]


@pytest.mark.parametrize("damage", sorted(set(HEADS) - {"no record"}))
def test_a_unique_key_of_a_damaged_record_is_taken(store: Store, damage: str) -> None:
    """The error names its holder."""
    inserted(store.backend, an_item("bad", unique="digest", scope="end"))
    DAMAGES[damage](store.client, f"{store.base}:j:bad")

    with pytest.raises(BackendError, match="mail:bad.*stanchion check mail"):
        inserted(store.backend, an_item(unique="digest", scope="end"))


def test_a_score_without_end_stops_no_claim(store: Store) -> None:
    """Infinities are scores to the server, and places to nobody."""
    inserted(store.backend, *items(["a", "low", "high"]))
    store.client.zadd(f"{store.base}:queued", {"low": float("-inf"), "high": float("inf")})

    assert {job.id for job in store.backend.list(List(queue="mail", state=State.QUEUED)).heads} == {
        "mail:a",
        "mail:low",
        "mail:high",
    }
    assert keys_of(a_claim(store.backend).records) == ["a"]
    assert {one.where for one in store.findings()} == {"mail:low", "mail:high"}


def test_damaged_notes_and_lists_are_read_as_far_as_possible(store: Store) -> None:
    """Core decides what a note means; a list whose counter is damaged begins anew."""
    job = taken(store.backend)
    store.client.hset(f"{store.base}:j:a", mapping={"k.attempts": b"\xff", "B": ""})
    store.client.hset(f"{store.base}:b:a", mapping={"l.log": "nan", "l.log.x": "1:a", "l.log.7": "x:b"})
    answer = change(store.backend, job, State.RUNNING, append={"log": b"new"})

    assert isinstance(answer, Applied)
    assert the(store.backend).count("attempts") > 1000
    assert {entry.data for entry in the(store.backend).lists["log"]} == {b"b", b"new"}


def test_a_unique_key_whose_holder_is_gone_can_be_taken(store: Store) -> None:
    """Nobody is refused for the sake of a record that does not exist."""
    store.client.hset(f"{store.base}:unique", "digest", "gone")
    found = store.findings()
    (answer,) = inserted(store.backend, an_item(unique="digest", scope="end"))

    assert [one.fault for one in found] == [Fault.UNIQUE]
    assert answer.created
    assert store.findings() == []


@pytest.mark.parametrize("unique", [None, "another"])
def test_a_holder_that_does_not_say_so_is_reported(store: Store, unique: str | None) -> None:
    """It exists, and nobody can take the key that it does not know of."""
    inserted(store.backend, an_item(unique=unique, scope="end"))
    store.client.hset(f"{store.base}:unique", "digest", "a")

    assert [(one.fault, one.where) for one in store.findings()] == [(Fault.UNIQUE, "mail:a")]


@pytest.mark.parametrize("part", [*State, "unique", "settings"])
def test_a_key_of_the_wrong_type_is_reported(store: Store, part: str) -> None:
    """Each part of a queue."""
    inserted(store.backend, an_item("other", queue="other"))
    store.client.set(store.base if part == "settings" else f"{store.base}:{part}", "x")

    assert Fault.CORRUPT in {one.fault for one in store.findings() if one.where == f"mail:{part}"}


@pytest.mark.parametrize("part", ["queued", "scheduled", "unique", "settings"])
def test_an_insert_that_meets_a_wrong_type_changes_nothing(store: Store, part: str) -> None:
    """The call is refused whole, before its first write."""
    inserted(store.backend, an_item("a"), an_item("b", state=State.SCHEDULED))
    _misuse(store, part)
    before = store.dump()
    made = [an_item("c"), an_item("d", state=State.SCHEDULED), an_item("e", unique="digest", scope="end")]

    with pytest.raises(BackendError, match="CORRUPT"):
        store.backend.insert(Insert(made))
    assert store.dump() == before


@pytest.mark.parametrize("part", ["running", "completed", "unique"])
def test_a_change_that_meets_a_wrong_type_changes_nothing(store: Store, part: str) -> None:
    """All changes of the call are refused, before the first write."""
    jobs = in_states(store.backend, {"a": State.RUNNING, "b": State.RUNNING, "c": State.COMPLETED})
    _misuse(store, part)
    before = store.dump()
    changes = [a_change(jobs[key], State.COMPLETED, unique=f"digest-{key}") for key in "ab"]

    with pytest.raises(BackendError, match="CORRUPT"):
        store.backend.apply(Apply(changes))
    assert store.dump() == before


@pytest.mark.parametrize("part", ["queued", "running", "scheduled", "retrying", "settings"])
def test_a_claim_goes_past_a_queue_with_a_wrong_type(store: Store, part: str) -> None:
    """Nothing of that queue is changed, and the jobs of others are handed out."""
    inserted(
        store.backend,
        an_item("a"),
        an_item("b", state=State.SCHEDULED, due=SECOND),
        an_item("c", queue="other"),
    )
    store.clock.advance(1)
    _misuse(store, part)
    before = {key: value for key, value in store.dump().items() if b"{mail}" in key}
    claimed = a_claim(store.backend, "mail", "other")

    assert [job.id for job in claimed.records] == ["other:c"]
    assert {key: value for key, value in store.dump().items() if b"{mail}" in key} == before


def _misuse(store: Store, part: str) -> None:
    name = store.base if part == "settings" else f"{store.base}:{part}"
    store.client.delete(name)
    store.client.set(name, "x")
