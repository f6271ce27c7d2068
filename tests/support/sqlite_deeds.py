"""What tests let other processes do with a SQLite file; see `support.hands`."""

import os
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Final

from stanchion.backend import Topic
from stanchion.changes import Applied
from stanchion.decisions import CancelAsked, Completed
from stanchion.engine import Engine, Report
from stanchion.jobs import Record
from stanchion.payloads import policy_of
from stanchion.plugins import Plugins
from stanchion.steps import ONCE
from stanchion.testing.conformance.making import QUEUE, an_item
from stanchion_sqlite import SqliteBackend

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
    (answer,) = engine.run(engine.report([Report(record, signal, policy_of(record.spec))]))
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


def interrupt_and_let_go(pid: int, number: int) -> None:
    """Send a process a signal, which it will see once it has the lock."""
    os.kill(pid, number)
    let_go()


def make(path: str, key: str) -> bool:
    """Insert a job into a file that may not exist yet, and close it; whether it was created."""
    backend = backend_on(path)
    try:
        return backend.insert([an_item(key)])[0].created
    finally:
        backend.close()


def insert(path: str, *keys: str) -> None:
    """Insert jobs, on a backend that stays open."""
    _kept(path).insert([an_item(key) for key in keys])


def take(path: str) -> list[str]:
    """Claim all there is; the ids."""
    claim = {"limit": 100, "claim_id": os.urandom(8).hex(), "worker": "hand", "lease": LEASE}
    return [record.id for record in _kept(path).claim([QUEUE], **claim).records]


def wait(path: str, seconds: float) -> bool:
    """Wait for something to claim."""
    return _kept(path).wait([QUEUE], timedelta(seconds=seconds))


def change(path: str, job_id: str, topic: str) -> None:
    """Do to a running job what is heard of under a topic: end it, or ask to cancel it."""
    engine = engine_on(_kept(path))
    if topic == Topic.ENDED:
        assert settle(engine, engine.run(engine.get(job_id)))
    else:
        engine.run(engine.ask(job_id, CancelAsked()))


def _kept(path: str) -> SqliteBackend:
    return _opened.setdefault(path, backend_on(path))
