"""How the Redis backend lays jobs out: heads that stay packed, bodies apart, and nothing that a job does not use."""

import re
from collections.abc import Iterator
from datetime import timedelta
from importlib.resources import files
from typing import Any

import pytest
import redis

from stanchion.contract.answers import Fault
from stanchion.contract.requests import Configure, FindDue, List
from stanchion.model.changes import Applied, Refused
from stanchion.model.policies import Policy
from stanchion.model.states import FIRST, State
from stanchion_conformance.invariants import findings
from stanchion_conformance.making import (
    QUEUE,
    a_change,
    a_claim,
    an_item,
    applied_all,
    change,
    in_states,
    inserted,
    items,
    taken,
    the,
)
from stanchion_redis import RedisBackend
from stanchion_redis.lua import CONSTANTS
from stanchion_testing.clock import VirtualClock
from support.stores import keys_of as stored_keys
from support.stores import own_namespace

LARGE = b"x" * 200_000


class Store:
    """A namespace of a real server, and a client to look at it."""

    def __init__(self, url: str, client: "redis.Redis", namespace: str) -> None:
        self.client, self.namespace = client, namespace
        self.clock = VirtualClock()
        self.backend = RedisBackend(url, namespace=namespace, clock=self.clock)
        self.base = f"{namespace}:{{mail}}"

    def kinds(self, key: str = "a") -> list[str]:
        """Which keys a job has."""
        pattern = re.compile(rf"{re.escape(self.base)}:([abjt]):(?:.*:)?{key}$")
        found = (pattern.match(name.decode()) for name in stored_keys(self.client, self.namespace))
        return sorted(match[1] for match in found if match)

    def sent(self) -> dict[str, int]:
        """How often each command was sent since the statistics were begun anew."""
        stats = self.client.info("commandstats")
        return {name.removeprefix("cmdstat_"): one["calls"] for name, one in stats.items()}

    def moved(self) -> int:
        """How many bytes went over the server's connections."""
        stats = self.client.info("stats")
        total: int = stats["total_net_input_bytes"] + stats["total_net_output_bytes"]
        return total


@pytest.fixture
def store(redis_url: str) -> Iterator[Store]:
    with redis.Redis.from_url(redis_url) as client, own_namespace(client) as namespace:
        store = Store(redis_url, client, namespace)
        yield store
        store.backend.close()


# Heads.


def test_an_ordinary_job_is_one_packed_hash(store: Store) -> None:
    """From its enqueue to its end, and it has no other key."""
    policy = Policy(retries=9, max_lost=7, timeout=timedelta(hours=5), keep=timedelta(days=9), unique="a key")
    inserted(store.backend, an_item(args=b"x" * 256, policy=policy))
    packed = [store.client.object("encoding", f"{store.base}:j:a")]
    (job,) = a_claim(store.backend).records
    packed.append(store.client.object("encoding", f"{store.base}:j:a"))
    change(store.backend, job, State.COMPLETED, counters={"attempts": 1}, notes={"result": b"1" * 64})
    packed.append(store.client.object("encoding", f"{store.base}:j:a"))

    assert set(packed) <= {b"listpack", b"ziplist"}
    assert store.kinds() == ["j"]


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 128, 255, 256, 257, 5_000])
def test_arguments_of_every_size_are_handed_out_and_read(store: Store, size: int) -> None:
    """Whether they lie in the head, in several pieces, or apart."""
    args = bytes(range(256)) * 20
    inserted(store.backend, an_item(args=args[:size]))
    kinds = store.kinds()
    (job,) = a_claim(store.backend).records

    assert kinds == (["a", "j"] if size > 256 else ["j"])
    assert job.args == the(store.backend).args == args[:size]


@pytest.mark.parametrize("size", [0, 1, 64, 65, 257, 1_000])
def test_policies_of_every_size_are_read(store: Store, size: int) -> None:
    """They are never apart from the head."""
    policy = bytes(range(256)) * 4
    inserted(store.backend, an_item(policy=policy[:size]))

    assert store.backend.list(List(queue=QUEUE, state=State.QUEUED)).heads[0].policy == policy[:size]
    assert store.kinds() == ["j"]


# Bodies.


def test_a_note_moves_with_its_size(store: Store) -> None:
    """Into the body as it grows, back into the head as it shrinks; it is in one place."""
    job = taken(store.backend)
    read = []
    for value in (b"1", b"x" * 65, b"2", b"y" * 1000, None):
        change(store.backend, job, State.RUNNING, notes={"progress": value, "saved": b"z" * 100})
        read.append(the(store.backend).notes.get("progress"))
        fields = [name for part in "jb" for name in store.client.hkeys(f"{store.base}:{part}:a")]

        assert fields.count(b"n.progress") == (value is not None)
    assert read == [b"1", b"x" * 65, b"2", b"y" * 1000, None]
    assert findings(store.backend, QUEUE) == []


def test_what_an_earlier_job_left_is_no_part_of_a_new_one(store: Store) -> None:
    """Somebody removed its head by hand; the same key is used again."""
    job = taken(store.backend)
    change(store.backend, job, State.RUNNING, notes={"saved": LARGE}, append={"log": b"old"})
    store.client.delete(f"{store.base}:j:a")
    store.client.zrem(f"{store.base}:running", "a")
    job = taken(store.backend)
    change(store.backend, job, State.RUNNING, append={"log": b"new"})
    found = the(store.backend)

    assert [entry.data for entry in found.lists["log"]] == [b"new"]
    assert found.notes == {}


@pytest.mark.parametrize("state", [state for state in State if state is not State.RUNNING])
def test_nothing_is_left_of_a_deleted_job(store: Store, state: State) -> None:
    """Wherever it lay."""
    (job,) = in_states(store.backend, {"a": state}, args=LARGE, tags=("one", "two")).values()
    if state not in FIRST:
        change(store.backend, job, state, notes={"result": LARGE}, append={"log": b"x"})
    before = store.kinds()
    change(store.backend, job, None)

    assert before[:1] == ["a"]
    assert store.kinds() == []
    assert store.client.keys(f"{store.base}:t:*") == []


def test_heads_alone_are_listed_and_swept(store: Store) -> None:
    """A hundred jobs with results of 200 kB send a few hundred bytes each."""
    jobs = in_states(store.backend, {f"{n:03}": State.RUNNING for n in range(100)})
    for job in jobs.values():
        change(store.backend, job, State.COMPLETED, due=timedelta(seconds=1), notes={"result": LARGE})
    store.clock.advance(2)
    before = store.moved()
    heads = store.backend.due(FindDue([QUEUE], 100)).heads
    listed = store.backend.list(List(queue=QUEUE, state=State.COMPLETED)).heads
    answers = applied_all(store.backend, (a_change(head, None, guards={"if_due": True}) for head in heads))
    moved = store.moved() - before

    assert len(heads) == len(listed) == sum(isinstance(answer, Applied) for answer in answers) == 100
    assert moved < 100_000


def test_a_refusal_shows_head_and_history_alone(store: Store) -> None:
    """Not its result, nor other lists."""
    job = taken(store.backend, args=LARGE)
    lists = {"history": b"an entry", "log": LARGE}
    change(store.backend, job, State.COMPLETED, notes={"result": LARGE}, append=lists)
    before = store.moved()
    refused = change(store.backend, job, State.COMPLETED)

    assert isinstance(refused, Refused)
    assert [entry.data for entry in refused.history] == [b"an entry"]
    assert store.moved() - before < 5_000


def test_a_claim_brings_no_lists(store: Store) -> None:
    """Arguments and notes are what a handler needs."""
    job = taken(store.backend, args=LARGE)
    change(store.backend, job, State.QUEUED, notes={"saved": LARGE}, append={"log": LARGE})
    before = store.moved()
    (again,) = a_claim(store.backend).records

    assert (again.args, again.notes, again.lists) == (LARGE, {"saved": LARGE}, {})
    assert store.moved() - before < 2 * len(LARGE) + 5_000


# What is not used costs nothing.


def test_an_enqueue_sends_few_commands(store: Store) -> None:
    """As many as it sent before there was a ledger."""
    inserted(store.backend, an_item())
    store.client.config_resetstat()
    inserted(store.backend, an_item("b"))
    sent = store.sent()

    assert {name: n for name, n in sent.items() if name not in ("info", "config|resetstat")} == {
        "evalsha": 1,
        "exists": 1,
        "hget": 1,
        "hincrby": 2,
        "hset": 1,
        "llen": 1,
        "zadd": 1,
    }


def test_a_run_sends_few_commands(store: Store) -> None:
    """Claimed and completed at once: each command once, but for what the ledger counts."""
    inserted(store.backend, *items("ab"))
    job = a_claim(store.backend, limit=1).records[0]
    change(store.backend, job, State.COMPLETED, guards={"claim": job.claim}, due=timedelta(days=1))
    store.client.config_resetstat()
    job = a_claim(store.backend, limit=1).records[0]
    store.clock.advance(1)
    change(store.backend, job, State.COMPLETED, guards={"claim": job.claim}, due=timedelta(days=1))
    sent = store.sent()

    assert sent["hset"] == 2
    assert sent["hincrby"] == 3
    assert "hdel" not in sent


def test_no_command_is_sent_for_tags_that_a_job_does_not_have(store: Store) -> None:
    """Nor a key kept."""
    job = taken(store.backend)
    change(store.backend, job, State.COMPLETED)
    inserted(store.backend, an_item("tagged", tags=("a tag",)))
    tagged = store.client.keys(f"{store.base}:t:*")

    assert tagged == [f"{store.base}:t:queued:a tag".encode()]
    assert store.client.hexists(f"{store.base}:j:a", "g") is False


# Settings.


def test_settings_are_changed_in_one_trip(store: Store) -> None:
    """The registry is written when the queue is made, and not again."""
    first = [*_commands_of(store, Configure(queue="new", set={"paused": True}))]
    other = RedisBackend(store.backend._url, namespace=store.namespace, clock=store.clock)
    store.backend.now()
    again = [*_commands_of(store, Configure(queue="new", unset=["paused"]))]
    other.close()

    assert first == ["configure", "SADD", "HDEL"]
    assert again == ["configure"]


@pytest.mark.parametrize("cut", [1, 2])
def test_a_queue_whose_making_was_cut_off_is_registered_by_the_next_call(store: Store, cut: int) -> None:
    """Whoever makes that, and whatever it changes."""
    steps = store.backend._operations.configure(Configure(queue="new", set={"paused": True}))
    reply: Any = None
    for _ in range(cut):
        reply = store.backend._perform(steps.send(reply))
    steps.close()
    other = RedisBackend(store.backend._url, namespace=store.namespace, clock=store.clock)
    after = other.configure(Configure(queue="new")).after
    queues = other.queues()
    other.close()

    assert queues == {"new": after}
    assert after.paused


def test_settings_that_cannot_be_read_have_their_defaults(store: Store) -> None:
    """Whoever wrote them; what a later version set stays as it is."""
    store.backend.configure(Configure(queue=QUEUE, set={"paused": True}))
    store.client.hset(store.base, mapping={"paused": "perhaps", "later": "1"})
    settings = store.backend.queues()[QUEUE]
    store.backend.configure(Configure(queue=QUEUE, set={"paused": True}))

    assert not settings.paused
    assert store.client.hget(store.base, "later") == b"1"


def _commands_of(store: Store, request: Configure) -> Iterator[str]:
    """What is sent to change settings."""
    steps = store.backend._operations.configure(request)
    reply: Any = None
    try:
        while True:
            step: Any = steps.send(reply)
            yield step.name if hasattr(step, "name") else step.args[0]
            reply = store.backend._perform(step)
    except StopIteration:
        return


# Damage.


@pytest.mark.parametrize("part", ["a", "b"])
def test_what_no_head_knows_of_is_reported(store: Store, part: str) -> None:
    """Arguments, or a body."""
    inserted(store.backend, an_item())
    name = f"{store.base}:{part}:a"
    if part == "a":
        store.client.set(name, "x")
    else:
        store.client.hset(name, "n.result", "x")

    assert [one.split(":")[0] for one in findings(store.backend, QUEUE)] == [Fault.CORRUPT]


def test_an_index_of_a_tag_that_does_not_agree_is_reported(store: Store) -> None:
    """A job that is missing, one that should not be there, and one at another place."""
    inserted(store.backend, *items("abc", tags=("t",)), an_item("other"))
    index = f"{store.base}:t:queued:t"
    store.client.zrem(index, "a")
    store.client.zadd(index, {"b": 5, "other": 7})
    where = sorted({":".join(one.split(": ")[1:2]) for one in findings(store.backend, QUEUE)})

    assert where == ["mail:a", "mail:b", "mail:other"]


def test_a_job_whose_body_is_none_is_quarantined(store: Store) -> None:
    """Where a change needs it; others of the call are made."""
    jobs = in_states(store.backend, dict.fromkeys(("a", "bad"), State.RUNNING))
    for job in jobs.values():
        change(store.backend, job, State.RUNNING, append={"log": b"x"})
    store.client.delete(f"{store.base}:b:bad")
    store.client.set(f"{store.base}:b:bad", "x")
    answers = applied_all(
        store.backend, (a_change(job, State.COMPLETED, append={"log": b"y"}) for job in jobs.values())
    )

    assert [type(answer) for answer in answers] == [Applied, Refused]
    assert store.client.zrange(f"{store.base}:quarantine", 0, -1) == [b"running bad"]


# Constants.


def test_no_script_spells_out_what_core_knows() -> None:
    """Lists of states, and numbers: they are written in front of the scripts, from core."""
    folder = files("stanchion_redis") / "scripts"
    shared = list((folder / "shared").iterdir())
    texts = {
        file.name: file.read_text() for file in (*folder.iterdir(), *shared) if file.name.endswith(".lua")
    }
    code = {name: re.sub(r"--.*", "", text) for name, text in texts.items()}
    named = {
        (name, line.strip())
        for name, text in code.items()
        for line in text.splitlines()
        if sum(f'"{state}"' in line for state in State) > 2
    }
    numbers = {value for value in CONSTANTS.values() if value.isdigit() and len(value) > 2}

    assert named == set()
    assert {
        name for name, text in code.items() for number in numbers if re.search(rf"\b{number}\b", text)
    } == set()
