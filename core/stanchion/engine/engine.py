"""The engine: the one place where a backend is called. It decides, applies, and then notifies.

Everything is an operation (see `stanchion.engine.operations`), so that it serves sync and async callers alike. Each
use case is a file of its own beside this one.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from stanchion.contract.answers import Claimed, Configured, Counts, Inserted, Page
from stanchion.contract.requests import List
from stanchion.engine import claiming, controlling, finding, inserting, reporting, sweeping, waiting
from stanchion.engine.driver import Driver
from stanchion.engine.notifying import Observer
from stanchion.engine.operations import Steps
from stanchion.engine.reporting import Report, Reported
from stanchion.model.ledger import Books
from stanchion.model.queues import QueueSettings
from stanchion.model.records import Head, Item, Record
from stanchion.model.signals import Asked


class Engine(Driver):
    """Makes operations on one backend, for one application; `call` and `acall` run them."""

    def insert(self, items: Iterable[Item], connection: Any = None) -> Steps[list[Inserted]]:
        """Create jobs; see `stanchion.engine.inserting.insert`."""
        return inserting.insert(self, items, connection)

    def claim(
        self, queues: Sequence[str], limit: int, worker: str, lease: timedelta, claim_id: str | None = None
    ) -> Steps[Claimed]:
        """Take jobs for a worker; see `stanchion.engine.claiming.claim`."""
        return claiming.claim(self, queues, limit, worker, lease, claim_id)

    def report(self, reports: Sequence[Report], *, observer: Observer | None = None) -> Steps[list[Reported]]:
        """Record what a worker says of its runs; see `stanchion.engine.reporting.report`."""
        return reporting.report(self, reports, observer=observer)

    def ask(
        self,
        job_id: str,
        signal: Asked,
        *,
        known: Head | None = None,
        created_at: datetime | None = None,
    ) -> Steps[Head | None]:
        """Change a job from outside; see `stanchion.engine.controlling.ask`."""
        return controlling.ask(self, job_id, signal, known=known, created_at=created_at)

    def sweep(
        self, queues: Sequence[str], rounds: int = sweeping.ROUNDS, *, observer: Observer | None = None
    ) -> Steps[int]:
        """Move the jobs that are due; see `stanchion.engine.sweeping.sweep`."""
        return sweeping.sweep(self, queues, rounds, observer=observer)

    def sweep_once(
        self, queues: Sequence[str], *, observer: Observer | None = None
    ) -> Steps[tuple[int, bool]]:
        """Move the jobs of one answer; see `stanchion.engine.sweeping.sweep_once`."""
        return sweeping.sweep_once(self, queues, observer=observer)

    def get(self, job_id: str) -> Steps[Record]:
        """Read a job; see `stanchion.engine.finding.find`."""
        return finding.find(job_id)

    def page(self, request: List) -> Steps[Page]:
        """Read one page of a queue's jobs in a state; see `stanchion.engine.finding.page`."""
        return finding.page(request)

    def queues(self) -> Steps[Mapping[str, QueueSettings]]:
        """Read the queues that exist; see `stanchion.engine.finding.queues`."""
        return finding.queues()

    def configure(self, queue: str, **settings: Any) -> Steps[Configured]:
        """Change some settings of a queue; see `stanchion.engine.finding.configure`."""
        return finding.configure(queue, settings)

    def counts(self, queue: str, tag: str | None = None) -> Steps[Counts]:
        """Count a queue's jobs; see `stanchion.engine.finding.counts`."""
        return finding.counts(queue, tag)

    def ledger(self, queue: str, since: datetime | None = None, *, hourly: bool = False) -> Steps[Books]:
        """Read a queue's ledger; see `stanchion.engine.finding.ledger`."""
        return finding.ledger(queue, since, hourly=hourly)

    def forget(self, queue: str) -> Steps[None]:
        """Remove an empty queue; see `stanchion.engine.finding.forget`."""
        return finding.forget(queue)

    def wait_for_end(self, job_id: str, timeout: timedelta | None) -> Steps[Record]:
        """Wait until a job is final; see `stanchion.engine.waiting.wait_for_end`."""
        return waiting.wait_for_end(self.backend, job_id, timeout)


__all__ = ["Engine", "Report"]
