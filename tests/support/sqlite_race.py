"""One process of a race: threads that do everything that can be done to jobs on one SQLite file, at once."""

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from time import monotonic
from typing import Any, Final

from stanchion import IllegalTransition, State
from stanchion.codec.specs import policy_of
from stanchion.contract.requests import List, Wait
from stanchion.engine.engine import Engine
from stanchion.engine.reporting import Report
from stanchion.model.changes import Applied
from stanchion.model.records import Record
from stanchion.model.signals import Beaten, CancelAsked, Completed
from stanchion_conformance.making import an_item
from support.sqlite_deeds import LEASE, backend_on, engine_on

QUEUES: Final = ("mail", "video")
THREADS: Final = 4


class Racer:
    """One thread. The jobs it inserts bear its name."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine, self._name = engine, name
        self._chance = random.Random(name)
        self.inserted = 0
        self.completed: list[str] = []
        """What this thread completed, one entry for each time."""
        self.cancelled: list[str] = []
        """What it cancelled while it waited."""
        self.calls: Counter[str] = Counter()

    def race(self, seconds: float) -> None:
        """Do one thing after another."""
        end = monotonic() + seconds
        works = [self.work] * 3
        deeds = [self._insert, *works, self._cancel, self._sweep, self._pause, self._wait]
        while monotonic() < end:
            deed = self._chance.choice(deeds)
            deed()
            self.calls[deed.__name__.strip("_")] += 1

    def _insert(self) -> None:
        numbers = range(self.inserted, self.inserted + self._chance.randint(1, 20))
        self.inserted = numbers.stop
        waiting = {"state": State.SCHEDULED, "due": timedelta(milliseconds=50)}
        items = [
            an_item(f"{self._name}-{number}", queue=self._queue(), **(waiting if number % 5 == 0 else {}))
            for number in numbers
        ]
        self._engine.call(self._engine.insert(items))

    def work(self) -> None:
        """Claim, beat some, complete all."""
        limit = self._chance.randint(1, 20)
        claimed = self._engine.call(self._engine.claim(QUEUES, limit, self._name, LEASE)).records
        if self._chance.random() < 0.2:
            self._report(claimed, Beaten(lease=LEASE))
        done = self._report(claimed, Completed(result=b"1"))
        self.completed += [record.id for record in done]

    def _report(self, records: list[Record], signal: Any) -> list[Record]:
        reports = [Report(record, signal, policy_of(record.policy)) for record in records]
        answers = self._engine.call(self._engine.report(reports))
        return [one for one, answer in zip(records, answers, strict=True) if isinstance(answer, Applied)]

    def _cancel(self) -> None:
        """One of the newest that wait; somebody may have taken it meanwhile."""
        request = List(queue=self._queue(), state=State.QUEUED)
        heads = self._engine.call(self._engine.page(request)).heads
        if not heads:
            return
        try:
            after = self._engine.call(self._engine.ask(heads[-1].id, CancelAsked(reason="enough")))
        except IllegalTransition:
            return
        if after is not None and after.state is State.CANCELLED:
            self.cancelled.append(after.id)

    def _sweep(self) -> None:
        self._engine.call(self._engine.sweep(QUEUES))

    def _pause(self) -> None:
        queue = self._queue()
        self._engine.call(self._engine.configure(queue, paused=True))
        self._engine.call(self._engine.configure(queue, paused=False))

    def _wait(self) -> None:
        self._engine.backend.wait(Wait(QUEUES, timedelta(milliseconds=5)))

    def _queue(self) -> str:
        return self._chance.choice(QUEUES)


def ready() -> None:
    """To be called before the race, for the process has to import all this first."""


def race(path: str, name: str, seconds: float) -> dict[str, Any]:
    """Let some threads race; the tally of what they did."""
    backend = backend_on(path)
    engine = engine_on(backend)
    racers = [Racer(engine, f"{name}{number}") for number in range(THREADS)]
    with ThreadPoolExecutor(THREADS) as threads:
        for future in [threads.submit(racer.race, seconds) for racer in racers]:
            future.result()
    backend.close()
    return {
        "inserted": sum(racer.inserted for racer in racers),
        "completed": [job for racer in racers for job in racer.completed],
        "cancelled": [job for racer in racers for job in racer.cancelled],
        "calls": sum((racer.calls for racer in racers), Counter()),
    }
