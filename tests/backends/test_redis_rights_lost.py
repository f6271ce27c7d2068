"""A right that is taken away while the scripts need it: nothing is left half done, and nothing counts as damaged."""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import redis

from stanchion.contract.answers import Finding, unbalanced
from stanchion.contract.backend import Backend
from stanchion.contract.requests import Apply, Configure, Count, FindDue, Forget, Insert, List, ReadLedger
from stanchion.errors import BackendError
from stanchion.model.states import State
from stanchion_conformance.invariants import broken
from stanchion_conformance.making import (
    a_change,
    a_claim,
    an_item,
    counts_of,
    in_states,
    inserted,
    items,
    keys_of,
    taken,
    the,
)
from stanchion_redis import RedisBackend
from stanchion_redis.lua import SCRIPTS
from stanchion_testing.clock import VirtualClock
from support.servers import own_server

HINTS = {"LLEN", "LPUSH", "PUBLISH", "ZRANK"}
"""What only wakes and notifies others; a call does without."""


def sent_by(name: str) -> list[str]:
    """The commands in the text of a script."""
    return sorted(set(re.findall(r"(?:redis\.p?call|try)\(\s*\"(\w+)\"", SCRIPTS[name][0])))


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with own_server() as url:
        yield url


class Limited:
    """A backend of a user whose rights can be taken away."""

    def __init__(self, url: str) -> None:
        self.admin = redis.Redis.from_url(url)
        self.admin.flushall()
        self.admin.execute_command(
            "ACL", "SETUSER", "limited", "reset", "on", ">pw", "~test:*", "&*", "+@all", "-acl"
        )
        self.clock = VirtualClock()
        self.backend: Backend = RedisBackend(
            url.replace("redis://", "redis://limited:pw@"), namespace="test", clock=self.clock
        )
        self.base = "test:{mail}"

    @contextmanager
    def without(self, command: str) -> Iterator[None]:
        """Meanwhile, the user may not run a command."""
        self.admin.execute_command("ACL", "SETUSER", "limited", f"-{command.lower()}")
        try:
            yield
        finally:
            self.admin.execute_command("ACL", "SETUSER", "limited", f"+{command.lower()}")

    def misplaced(self) -> dict[str, tuple[list[str], str]]:
        """The jobs whose indexes and record do not agree: where they are listed, and what they say."""
        listed: dict[str, list[str]] = {}
        for state in State:
            for key in self.admin.zrange(f"{self.base}:{state}", 0, -1):
                listed.setdefault(key.decode(), []).append(state.value)
        for entry in self.admin.zrange(f"{self.base}:quarantine", 0, -1):
            state_name, _, key = entry.decode().partition(" ")
            listed.setdefault(key, []).append(state_name)
        names = self.admin.scan_iter(f"{self.base}:j:*", count=1000)
        says = {name.decode().rpartition(":")[2]: self.admin.hget(name, "s").decode() for name in names}
        return {
            key: (listed.get(key, []), says.get(key, ""))
            for key in listed.keys() | says.keys()
            if listed.get(key) != [says.get(key)]
        }


@pytest.fixture
def limited(server: str) -> Iterator[Limited]:
    limited = Limited(server)
    limited.backend.now()
    yield limited
    limited.backend.close()
    limited.admin.close()


def unbalanced_in(limited: Limited) -> list[Finding]:
    """Where the ledger and the jobs disagree."""
    totals = limited.backend.ledger(ReadLedger(queue="mail")).totals
    return unbalanced("mail", totals, counts_of(limited.backend))


Act = Callable[[], object]


def an_insert(limited: Limited) -> Act:
    backend = limited.backend
    inserted(backend, an_item("there", unique="held", scope="end"))
    made = [an_item("q", unique="digest", scope="end"), an_item("s", state=State.SCHEDULED)]
    made += [
        an_item("b", state=State.BLOCKED),
        an_item("there"),
        an_item("other", unique="held", scope="end"),
    ]
    return lambda: [bool(answer.created or answer.head) for answer in backend.insert(Insert(made))]


def a_claim_of_many(limited: Limited) -> Act:
    backend = limited.backend
    in_states(backend, {"s": State.SCHEDULED, "r": State.RETRYING})
    inserted(backend, an_item("u", unique="digest", scope="start"), *items("ab"))
    limited.clock.advance(hours=1)
    return lambda: sorted(keys_of(a_claim(backend, claim_id="the one").records))


def changes_of_many(limited: Limited) -> Act:
    backend = limited.backend
    states = {"c": State.RUNNING, "f": State.RUNNING, "q": State.RUNNING, "beats": State.RUNNING}
    jobs = in_states(backend, {**states, "gone": State.FAILED, "s": State.SCHEDULED})
    unique = taken(backend, "u", unique="digest", scope="end")
    log = {"append": {"history": b"x" * 200_000}}
    backend.apply(Apply([a_change(jobs[key], State.RUNNING, **log) for key in ("c", "beats")]))

    def held(key: str) -> dict[str, Any]:
        return {"guards": {"claim": jobs[key].claim}}

    made = [
        a_change(unique, State.COMPLETED, guards={"claim": unique.claim}, unique=None),
        a_change(jobs["c"], State.COMPLETED, notes={"result": b"1", "old": None}, **held("c"), **log),
        a_change(jobs["f"], State.RETRYING, due=timedelta(1), **held("f"), **log),
        a_change(jobs["q"], State.QUEUED, **held("q")),
        a_change(jobs["beats"], State.RUNNING, due=timedelta(1), **held("beats"), **log),
        a_change(jobs["s"], State.SCHEDULED, due=timedelta(2), priority=3, unique="new"),
        a_change(jobs["gone"], None),
    ]
    return lambda: len(backend.apply(Apply(made)))


def a_sweep(limited: Limited) -> Act:
    backend = limited.backend
    in_states(backend, {state.value: state for state in State if state is not State.QUEUED})
    limited.clock.advance(hours=1)
    return lambda: len(backend.due(FindDue(["mail"], 100)).heads)


def a_sweep_that_restores(limited: Limited) -> Act:
    backend, name = limited.backend, f"{limited.base}:j:bad"
    taken(backend, "bad")
    limited.admin.hdel(name, "t")
    limited.clock.advance(hours=1)
    backend.due(FindDue(["mail"], 100))
    limited.admin.hset(name, "t", "task")
    return lambda: keys_of(backend.due(FindDue(["mail"], 100)).heads)


def a_pause(limited: Limited) -> Act:
    return lambda: limited.backend.configure(Configure(queue="mail", set={"paused": True})).after.paused


def reads(limited: Limited) -> Act:
    backend = limited.backend
    inserted(backend, *items("ab"))
    cursor = backend.list(List(queue="mail", state=State.QUEUED, limit=1)).cursor

    def read() -> object:
        backend.list(List(queue="mail", state=State.QUEUED, cursor=cursor))
        backend.count(Count(["mail"]))
        backend.queues()
        return keys_of([the(backend, "a")])

    return read


def a_goodbye(limited: Limited) -> Act:
    limited.backend.configure(Configure(queue="mail"))
    return lambda: limited.backend.forget(Forget("mail"))


ACTS: dict[str, tuple[Callable[[Limited], Act], object]] = {
    "insert": (an_insert, [True] * 5),
    "claim": (a_claim_of_many, ["a", "b", "r", "s", "u"]),
    "apply": (changes_of_many, 7),
    "due": (a_sweep, 8),
    "due, restoring": (a_sweep_that_restores, ["bad"]),
    "configure": (a_pause, True),
    "list": (reads, ["a"]),
    "forget": (a_goodbye, True),
}
TAKEN = [(act, command) for act in ACTS for command in sent_by(act.partition(",")[0])]


@pytest.mark.parametrize(("act", "command"), TAKEN)
def test_a_right_that_is_missing_leaves_nothing_half_done(limited: Limited, act: str, command: str) -> None:
    """Each job stands where its record says, and the call succeeds once the right is given back."""
    prepare, answer = ACTS[act]
    call = prepare(limited)
    with limited.without(command):
        try:
            call()
        except BackendError as error:
            refused = str(error)
        else:
            refused = ""
    there, amiss = limited.misplaced(), unbalanced_in(limited)

    assert there == {}
    assert amiss == []
    assert command not in HINTS or not refused
    assert call() == answer
    assert limited.misplaced() == {}
    assert broken(limited.backend) == []
    assert limited.admin.zcard(f"{limited.base}:quarantine") == 0


PROVED = {
    "insert": ("HSET", "ZADD", "HINCRBY"),
    "claim": ("ZADD", "HSET", "HDEL", "SET", "ZREM"),
    "apply": ("ZADD", "HSET", "HDEL", "DEL", "ZREM"),
    "due, restoring": ("ZREM", "ZADD", "HGETALL", "ZSCORE"),
    "forget": ("DEL", "ZCARD"),
}


@pytest.mark.parametrize(("act", "command"), [(act, one) for act, ones in PROVED.items() for one in ones])
def test_a_script_that_may_not_write_changes_nothing(limited: Limited, act: str, command: str) -> None:
    """The error says so; not a single job of the call was changed."""
    call = ACTS[act][0](limited)
    before = {key: limited.admin.dump(key) for key in limited.admin.scan_iter("*", count=1000)}

    with limited.without(command), pytest.raises(BackendError, match="rights"):
        call()
    after = {key: limited.admin.dump(key) for key in limited.admin.scan_iter("*", count=1000)}
    assert after == before


@pytest.mark.parametrize("command", ["HGET", "HGETALL", "ZRANGEBYSCORE", "ZSCORE"])
def test_a_claim_that_cannot_read_one_queue_takes_from_none(limited: Limited, command: str) -> None:
    """The jobs of the others would be lost, again and again, without ever having been started."""
    inserted(limited.backend, an_item("a"), an_item("u", queue="other", unique="digest", scope="start"))
    with limited.without(command), pytest.raises(BackendError):
        a_claim(limited.backend, "mail", "other")

    assert the(limited.backend).state is State.QUEUED


def test_a_right_that_was_missing_for_a_while_quarantines_nothing(
    limited: Limited, caplog: pytest.LogCaptureFixture
) -> None:
    """Healthy jobs stay where they are, and are claimed once they can be read again."""
    inserted(limited.backend, *items("abc"))
    caplog.set_level(logging.WARNING, "stanchion.redis")
    with limited.without("HGETALL"), pytest.raises(BackendError, match="rights"):
        a_claim(limited.backend)

    assert keys_of(a_claim(limited.backend).records) == ["a", "b", "c"]
    assert "quarantined" not in caplog.text
