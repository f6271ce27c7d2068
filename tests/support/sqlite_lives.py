"""Processes on a SQLite file that are killed: at random moments of a life, and at chosen points of one call."""

import os
import random
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

from stanchion.contract.backend import Backend
from stanchion.contract.requests import Apply, Get, Insert
from stanchion.model.decisions import decide
from stanchion.model.policies import Policy
from stanchion.model.signals import Completed
from stanchion_conformance.making import LEASE, QUEUE, a_claim, an_item
from stanchion_sqlite import SqliteBackend
from stanchion_sqlite import connections as opening
from stanchion_testing.clock import VirtualClock
from support.factories import NOW
from support.sqlite_deeds import backend_on, engine_on, settle

POLICY: Final = Policy(max_lost=1_000_000)
"""Of jobs that survive any number of deaths."""

_kept: Final[list[SqliteBackend]] = []


def live(path: str, journal: str, seed: int) -> None:
    """Insert, claim and complete jobs for ever; each answer is written down before anything else is done.

    The lines of the journal: `inserted`, `claimed` or `completed`, the job's id, the number of its run, a full stop.
    """
    lines = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    chance, engine = random.Random(seed), engine_on(backend_on(path))
    numbers = count()

    def note(word: str, jobs: dict[str, int]) -> None:
        # A kill may cut it short where a page of the journal ends.
        os.write(lines, "".join(f"\n{word} {job} {run} .\n" for job, run in jobs.items()).encode())

    while True:
        keys = [f"{os.getpid()}-{seed}-{next(numbers)}" for _ in range(chance.randint(1, 5))]
        engine.call(engine.insert([an_item(key, policy=POLICY) for key in keys]))
        note("inserted", {f"{QUEUE}:{key}": 0 for key in keys})
        claimed = engine.call(engine.claim([QUEUE], chance.randint(1, 5), "mortal", LEASE)).records
        note("claimed", {one.id: one.run for one in claimed})
        for one in claimed:
            if settle(engine, one):
                note("completed", {one.id: one.run})


def grow(path: str, transactions: int) -> list[int]:
    """Insert two jobs in each of some transactions; how long the log was after each. The file stays open."""
    backend = backend_on(path, "full")
    _kept.append(backend)
    ends = []
    for number in range(transactions):
        backend.insert(Insert([an_item(f"{number}"), an_item(f"{number}-b")]))
        ends.append(Path(f"{path}-wal").stat().st_size)
    return ends


def stage(path: str | Path) -> SqliteBackend:
    """A backend whose time stands still, so that the same calls always leave the same file."""
    return SqliteBackend(Path(path), namespace="test", synchronous="normal", clock=VirtualClock(NOW))


def prepare(backend: Backend) -> None:
    """What is there before any call of `ACTS`."""
    backend.insert(Insert([an_item(key) for key in "abcd"]))
    a_claim(backend, limit=2, claim_id="first")


def _insert(backend: Backend) -> None:
    backend.insert(
        Insert([an_item("e"), an_item("f", queue="video", unique="digest", scope="end"), an_item("a")])
    )


def _claim(backend: Backend) -> None:
    a_claim(backend, limit=2, claim_id="second")


def _apply(backend: Backend) -> None:
    found = backend.get(Get([f"{QUEUE}:a", f"{QUEUE}:b"]))
    signal = Completed(result=b"1")
    backend.apply(Apply([decide(one, signal, roll=0, policy=Policy()) for one in found if one is not None]))


ACTS: Final[dict[str, Callable[[Backend], None]]] = {"insert": _insert, "claim": _claim, "apply": _apply}
"""Calls that change several jobs, by the verb that does it."""


def act(path: str, verb: str) -> None:
    """Make a call, whole."""
    backend = stage(path)
    ACTS[verb](backend)
    backend.close()


def die_at(path: str, verb: str, statement: int, steps: int) -> None:
    """Make a call, and be killed when it begins its n-th statement, or some steps of SQLite's machine after that."""
    backend = stage(path)
    with _watched() as connections:
        backend.get(Get([f"{QUEUE}:a"]))  # it is open now
    writer = connections[0]
    left = count(statement, -1)
    writer.set_trace_callback(lambda _: _doomed(writer, steps) if next(left) == 1 else None)
    ACTS[verb](backend)


def _doomed(connection: sqlite3.Connection, steps: int) -> None:
    if steps == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    connection.set_progress_handler(lambda: os.kill(os.getpid(), signal.SIGKILL), steps)


def die_making(path: str, statement: int) -> None:
    """Make the tables, and be killed when the n-th of their statements that create something begins."""
    left = count(statement, -1)

    def doomed(text: str) -> None:
        if "CREATE" in text and next(left) == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    connect = sqlite3.connect

    def connected(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection = connect(*args, **kwargs)
        connection.set_trace_callback(doomed)
        return connection

    opening.sqlite3.connect = connected
    backend_on(path).insert(Insert([an_item()]))


@contextmanager
def _watched() -> Iterator[list[Any]]:
    """The connections that are opened meanwhile, the one that writes first."""
    opened: list[Any] = []
    connect = sqlite3.connect

    def noting(*args: Any, **kwargs: Any) -> Any:
        opened.append(connect(*args, **kwargs))
        return opened[-1]

    opening.sqlite3.connect = noting
    yield opened
    opening.sqlite3.connect = connect
