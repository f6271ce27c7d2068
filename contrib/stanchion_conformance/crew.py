"""Processes that come to a store from outside, to race for its jobs, or to be killed in the middle of something.

A member of a crew opens the store by its address and plays one of `PARTS`. It prints, a line each, what the store
acknowledged to it, and nothing else: `inserted mail:a`, `claimed mail:a`, `completed mail:a`, `lost mail:a`.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from typing import Final, TypeVar

from stanchion.contract.backend import Backend
from stanchion.contract.opening import open_backend
from stanchion.contract.requests import Apply, FindDue, Insert
from stanchion.model.changes import Applied, Change
from stanchion.model.decisions import decide
from stanchion.model.ids import new_key
from stanchion.model.records import Head, Item, Record
from stanchion.model.signals import Completed, Signal, signal_for
from stanchion.model.states import State
from stanchion_conformance.making import POLICY, a_claim, an_item, items

T = TypeVar("T")

PATIENCE: Final = 30.0
"""Seconds until a process counts as stuck; long, because a busy machine is not a failure."""

INTERVAL: Final = 0.01
"""Seconds between two looks at what a process does."""

HELD: Final = 5
"""How many jobs a member claims at a time."""

_START: Final = "from stanchion_conformance.crew import main; main()"


def eventually(condition: Callable[[], T]) -> T:
    """Wait until a condition is true.

    Returns:
        What the condition answered.

    Raises:
        AssertionError: It was not, for as long as one may have patience.
    """
    end = time.monotonic() + PATIENCE
    while not (answer := condition()):
        assert time.monotonic() < end, f"this was not so within {PATIENCE:g} s: {condition!r}"
        time.sleep(INTERVAL)
    return answer


class Member:
    """One process, as the test sees it."""

    def __init__(self, part: str, address: tuple[str, str], queue: str, lease: timedelta) -> None:
        self.lines: list[tuple[str, str]] = []
        """What it printed so far: a word and a job's id."""
        # It imports what this process can, whatever pytest put into the path.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", _START, part, *address, queue, str(lease.total_seconds())]
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.endswith("\n"):  # a line that was cut off acknowledges nothing
                word, _, job_id = line.strip().partition(" ")
                self.lines.append((word, job_id))

    def ids(self, word: str) -> list[str]:
        """Return the jobs of which the process printed this word.

        Returns:
            Their ids, in order.
        """
        return [job_id for said, job_id in self.lines if said == word]

    def until(self, word: str, number: int = 1) -> None:
        """Wait until it printed this of so many jobs."""
        eventually(lambda: len(self.ids(word)) >= number or not self._reader.is_alive())
        assert len(self.ids(word)) >= number, "a process ended too early; what it printed says why"

    def begin(self) -> None:
        """Let it play its part, now that it is ready."""
        assert self._process.stdin is not None
        self._process.stdin.write("begin\n")
        self._process.stdin.flush()

    def end(self) -> None:
        """Wait until it has played its part, and printed all of it."""
        assert self._process.wait(PATIENCE) == 0, "a process ended with an error, which it printed"
        self._reader.join(PATIENCE)

    def kill(self) -> None:
        """End it with SIGKILL, whatever it does, and wait until it is gone."""
        self._process.kill()
        self._process.wait()
        self._reader.join(PATIENCE)

    def close(self) -> None:
        """Kill it if it is still there, and close its pipes."""
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


@contextmanager
def a_crew(
    size: int, part: str, address: tuple[str, str], queue: str, lease: timedelta
) -> Iterator[Sequence[Member]]:
    """Start processes that begin at the same time, and end them."""
    members = [Member(part, address, queue, lease) for _ in range(size)]
    try:
        for member in members:
            member.until("ready")
        for member in members:
            member.begin()
        yield members
    finally:
        for member in members:
            member.close()


def main() -> None:
    """Play a part, as a process of its own."""
    part, url, namespace, queue, lease = sys.argv[1:]
    backend = open_backend(url, namespace)
    backend.now()  # connections and imports are not part of the race
    _print("ready", [""])
    sys.stdin.readline()
    PARTS[part](backend, queue, timedelta(seconds=float(lease)))
    backend.close()


def _print(word: str, ids: Sequence[str]) -> None:
    sys.stdout.write("".join(f"{word} {job_id}\n" for job_id in ids))
    sys.stdout.flush()


def insert(backend: Backend, made: Sequence[Item]) -> None:
    """Insert jobs, and print which of them that created."""
    answers = backend.insert(Insert(made))
    _print("inserted", [item.id for item, answer in zip(made, answers, strict=True) if answer.created])


def claim(backend: Backend, queue: str, lease: timedelta) -> Sequence[Record]:
    """Claim some jobs, and print which.

    Returns:
        The claimed jobs.
    """
    records = a_claim(
        backend, queue, limit=HELD, claim_id=new_key(), worker=f"w{os.getpid()}", lease=lease
    ).records
    _print("claimed", [job.id for job in records])
    return records


def settle(backend: Backend, jobs: Sequence[Head], word: str, signal: Callable[[Head], Signal]) -> None:
    """Apply what happened to jobs, and print of which it was accepted."""
    changes: list[Change] = [decide(job, signal(job), roll=0, policy=POLICY) for job in jobs]
    answers = backend.apply(Apply(changes))
    _print(word, [job.id for job, answer in zip(jobs, answers, strict=True) if isinstance(answer, Applied)])


def complete(backend: Backend, jobs: Sequence[Record]) -> None:
    """Settle jobs as completed."""
    settle(backend, jobs, "completed", lambda _: Completed(result=b"1"))


def work(backend: Backend, queue: str, lease: timedelta) -> None:
    """Complete jobs until there are none left to claim."""
    while jobs := claim(backend, queue, lease):
        complete(backend, jobs)


def produce(backend: Backend, queue: str, _: timedelta) -> None:
    """Insert the same jobs as the other processes: some have the same id, some the same unique key."""
    for n in range(100):
        mine = an_item(f"{n}-{os.getpid()}", queue=queue, unique=f"digest-{n}", scope="end")
        insert(backend, [an_item(f"{n}", queue=queue), mine])


def sweep(backend: Backend, queue: str, _: timedelta) -> None:
    """Lose the jobs whose lease has lapsed until there are none."""
    while due := backend.due(FindDue([queue], backend.limits.batch)).heads:
        settle(backend, due, "lost", signal_for)


def hold(backend: Backend, queue: str, lease: timedelta) -> None:
    """Claim jobs, complete the first two of them, and keep the others for ever."""
    jobs = claim(backend, queue, lease)
    complete(backend, jobs[:2])
    sys.stdin.readline()


def toil(backend: Backend, queue: str, lease: timedelta) -> None:
    """Insert, claim and complete jobs for ever."""
    for n in count():
        name = f"{os.getpid()}-{n}"
        waiting = items([f"{name}-w"], queue=queue, state=State.SCHEDULED, due=timedelta(0))
        unique = items([f"{name}-u"], queue=queue, unique=f"digest-{name}", scope="end")
        insert(backend, [*items([name], queue=queue), *waiting, *unique])
        complete(backend, claim(backend, queue, lease))


PARTS: Final[Mapping[str, Callable[[Backend, str, timedelta], None]]] = {
    "work": work,
    "produce": produce,
    "sweep": sweep,
    "hold": hold,
    "toil": toil,
}
"""What a member may do: each is given the store, the queue, and how long its claims hold."""
