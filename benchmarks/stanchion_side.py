"""Stanchion's side: an application with a task that does nothing, and its worker as a process of its own.

Run as `stanchion_side.py burst URL JOBS` it says `ready`, waits for a line, works until nothing is left, and prints
what it took. Run as `stanchion_side.py idle URL` it works until it is stopped.
"""

import asyncio
import json
import logging
import sys
import time
from typing import Any, NamedTuple

from stanchion import Stanchion, Task
from stanchion.contract.capabilities import HasAsync
from stanchion.contract.requests import Apply
from stanchion.worker import Worker

PAYLOAD = "x" * (100 - len('{"payload":""}'))
"""Makes 100 bytes of encoded arguments."""


Noop = Task[[str], None]


class Application(NamedTuple):
    """An application, its task that does nothing, and its task that tells when it was started."""

    app: Stanchion
    noop: Noop
    started_at: Task[[], int]


def application(url: str) -> Application:
    """An application on a backend."""
    # Our own server keeps nothing on disk; the backend would warn of it each time.
    logging.getLogger("stanchion.redis").setLevel(logging.ERROR)
    app = Stanchion(url, plugins=(), concurrency=100)

    @app.task(queue="bench")
    async def noop(payload: str) -> None: ...

    @app.task(queue="bench")
    async def started_at() -> int:
        return time.monotonic_ns()

    return Application(app, noop, started_at)


async def _burst(url: str, jobs: int) -> dict[str, float]:
    app, _, _ = application(url)
    settled = _Settled(app)
    print("ready", flush=True)
    sys.stdin.readline()
    cpu, start = time.process_time(), time.perf_counter()
    await Worker(app, burst=True).main()
    app.close()
    if settled.count != jobs:
        raise SystemExit(f"{settled.count} jobs were settled, not {jobs}")
    return {"seconds": settled.at - start, "cpu": settled.cpu - cpu}


class _Settled:
    """Notes when the last settlement was answered: the end of the work, a quarter of a second before the worker's.

    It looks at each round trip of the worker's loop, so what it adds is far below a microsecond a job.
    """

    def __init__(self, app: Stanchion) -> None:
        if isinstance(app.engine.backend, HasAsync):
            async_backend = app.engine.async_backend()
            self._apply, async_backend.apply = async_backend.apply, self.aapply
        else:
            backend: Any = app.engine.backend
            self._apply, backend.apply = backend.apply, self.apply
        self.at = self.cpu = 0.0
        self.count = 0

    async def aapply(self, request: Apply) -> Any:
        """Settle, and look at the clocks."""
        return self._noted(request, await self._apply(request))

    def apply(self, request: Apply) -> Any:
        """The same where verbs run on the loop."""
        return self._noted(request, self._apply(request))

    def _noted(self, request: Apply, answers: Any) -> Any:
        self.count += len(request.changes)
        self.at, self.cpu = time.perf_counter(), time.process_time()
        return answers


if __name__ == "__main__":
    if sys.argv[1] == "burst":
        print(json.dumps(asyncio.run(_burst(sys.argv[2], int(sys.argv[3])))))
    else:
        Worker(application(sys.argv[2])[0]).run()
