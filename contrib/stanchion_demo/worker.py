"""One worker process of `stanchion demo --kill`: `python -m stanchion_demo.worker`.

It reads what to do from one line on its standard input, where no other user can see it, prints its name on its
standard output, and works until SIGTERM, or until its input ends: then the process that started it has ended.
"""

import asyncio
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta

import msgspec

from stanchion.app.application import Stanchion
from stanchion.context import RunningJob
from stanchion.plugins.hookspecs import hookimpl
from stanchion.worker import Worker
from stanchion_demo.tasks import GRACE, Stopwatch, hashing


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker process is to do."""

    backend: str
    """The URL of the store."""

    namespace: str
    """The namespace in it."""

    queue: str
    """The queue to serve."""

    concurrency: int
    """How many files it reads at a time."""

    lease: timedelta
    """How long a claim holds a job without a beat."""

    pace: timedelta
    """How much longer than it takes to read a file its job is held."""


class Pace:
    """Middleware that holds each job a while longer, so that the work lasts.

    Args:
        pace: How long.
    """

    def __init__(self, pace: timedelta) -> None:
        self._seconds = pace.total_seconds()

    @hookimpl
    def around_job(self, job: RunningJob) -> AbstractContextManager[None]:
        """Wait after the handler has ended.

        Args:
            job: The running job.

        Returns:
            A context manager around the handler.
        """
        return self._slowed()

    @contextmanager
    def _slowed(self) -> Iterator[None]:
        yield
        time.sleep(self._seconds)


def main() -> None:
    """Work as standard input asks."""
    line = sys.stdin.buffer.readline()
    if not line:
        return  # the process that started this one has ended before it wrote anything
    logging.getLogger("stanchion").setLevel(logging.ERROR)  # the summary shows the rest
    orders = msgspec.json.decode(line, type=Orders)
    app = Stanchion(
        orders.backend,
        namespace=orders.namespace,
        plugins=[Pace(orders.pace), Stopwatch()],  # the first one is the outermost: the stopwatch has stopped
        concurrency=orders.concurrency,
        lease=orders.lease,
        grace=GRACE,
    )
    hashing(app, orders.queue)
    asyncio.run(_work(app, Worker(app)))


async def _work(app: Stanchion, worker: Worker) -> None:
    loop, source = asyncio.get_running_loop(), sys.stdin.fileno()

    def end_of_input() -> None:
        loop.remove_reader(source)
        worker.stop()

    loop.add_reader(source, end_of_input)
    sys.stdout.write(f"{worker.name}\n")
    sys.stdout.flush()
    await worker.main(signals=True)
    if worker.stuck:
        try:
            worker.abandon()
        finally:
            os._exit(0)  # a thread that hangs in a read must not keep a process whose jobs are handed back
    await app.aclose()


if __name__ == "__main__":
    main()
