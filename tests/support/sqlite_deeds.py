"""What tests let other processes do with a SQLite file; see `support.hands`."""

import fcntl
import gc
import os
import sqlite3
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Final

from stanchion.codec.specs import policy_of
from stanchion.contract.requests import Insert, Wait
from stanchion.engine.engine import Engine
from stanchion.engine.operations import ONCE
from stanchion.engine.reporting import Report
from stanchion.model.changes import Applied, Topic
from stanchion.model.records import Record
from stanchion.model.signals import CancelAsked, Completed
from stanchion.model.states import State
from stanchion.plugins.manager import Plugins
from stanchion_conformance.invariants import listed
from stanchion_conformance.making import QUEUE, a_claim, an_item, keys_of
from stanchion_sqlite import SqliteBackend
from stanchion_sqlite.log import log_of
from stanchion_sqlite.turns import Turns

LEASE: Final = timedelta(minutes=5)
"""Of claims that shall not lapse while a test runs."""

_holding: list[sqlite3.Connection] = []
_opened: dict[str, SqliteBackend] = {}


def backend_on(path: str | Path, synchronous: str = "normal") -> SqliteBackend:
    """A backend on a file, in the namespace that all tests use."""
    return SqliteBackend(Path(path), namespace="test", synchronous=synchronous)


def engine_on(backend: SqliteBackend) -> Engine:
    """An engine that tries each call once."""
    return Engine(backend, Plugins(), pauses=ONCE)


def settle(engine: Engine, record: Record) -> bool:
    """Say that a run completed, its number being the result; whether that was recorded."""
    signal = Completed(result=b"%d" % record.run)
    (answer,) = engine.call(engine.report([Report(record, signal, policy_of(record.policy))]))
    return isinstance(answer, Applied)


def hold(path: str) -> None:
    """Begin to write, and keep the lock."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    _holding.append(connection)


def let_go() -> None:
    """Give the lock back."""
    connection = _holding.pop()
    connection.execute("ROLLBACK")
    connection.close()


def make(path: str, key: str) -> bool:
    """Insert a job into a file that may not exist yet, and close it; whether it was created."""
    backend = backend_on(path)
    try:
        return backend.insert(Insert([an_item(key)]))[0].created
    finally:
        backend.close()


def drop(path: str, key: str) -> None:
    """Insert a job, and forget the backend without closing it."""
    backend_on(path).insert(Insert([an_item(key)]))
    gc.collect()


def keys(path: str) -> list[str]:
    """The keys of the queued jobs, as a process sees them that opens the file now and closes it."""
    backend = backend_on(path)
    try:
        return sorted(keys_of(listed(backend, QUEUE, State.QUEUED)))
    finally:
        backend.close()


def is_locked(file: str, byte: int) -> bool:
    """Whether another process has locked a byte of a file."""
    with Path(file).open("rb+") as opened:
        try:
            fcntl.lockf(opened, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except BlockingIOError:
            return True
    return False


def take_turn(path: str) -> bool:
    """Take the turn to write, and keep it."""
    log = os.open(log_of(Path(path)), os.O_RDWR)
    return Turns(log).take(monotonic() + 60)


def insert(path: str, *keys: str) -> None:
    """Insert jobs, on a backend that stays open."""
    _kept(path).insert(Insert([an_item(key) for key in keys]))


def take(path: str) -> list[str]:
    """Claim all there is; the ids."""
    claimed = a_claim(_kept(path), claim_id=os.urandom(8).hex(), worker="hand", lease=LEASE)
    return [record.id for record in claimed.records]


def wait(path: str, seconds: float) -> bool:
    """Wait for something to claim."""
    return _kept(path).wait(Wait([QUEUE], timedelta(seconds=seconds)))


def change(path: str, job_id: str, topic: str) -> None:
    """Do to a running job what is published under a topic: end it, or ask to cancel it."""
    engine = engine_on(_kept(path))
    if topic == Topic.ENDED:
        assert settle(engine, engine.call(engine.get(job_id)))
    else:
        engine.call(engine.ask(job_id, CancelAsked()))


def _kept(path: str) -> SqliteBackend:
    return _opened.setdefault(path, backend_on(path))
