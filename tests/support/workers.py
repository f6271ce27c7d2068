"""Applications on the memory backend, and workers for them inside the test's own process."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from stanchion import Event, Job, Stanchion, State, Transition, hookimpl
from stanchion.contract.backend import Clock
from stanchion.contract.requests import Apply
from stanchion.errors import BackendError
from stanchion.model.changes import Applied, Refused
from stanchion.worker import Worker
from support.yielding import YieldingMemory


def an_app(
    *,
    clock: Clock | None = None,
    plugins: Iterable[object] = (),
    concurrency: int = 10,
    grace: float = 0.1,
    lease: float = 0.6,
) -> Stanchion:
    """An application on a store of its own, its leases and sweeps so short that tests can wait for them.

    Its async calls let the loop turn, so that what can happen between two of them does.
    """
    app = Stanchion(
        "memory://",
        clock=clock,
        plugins=plugins,
        concurrency=concurrency,
        lease=lease,
        sweep=0.1,
        grace=grace,
    )
    app.engine.backend = YieldingMemory(clock=clock)
    return app


def step(app: Stanchion, *, times: int = 1, queues: Sequence[str] | None = None) -> int:
    """Let a worker sweep, claim, run and settle; how many jobs it ran."""
    worker = Worker(app, queues=queues)
    return sum(asyncio.run(asyncio.wait_for(worker.step(), 10)) for _ in range(times))


@asynccontextmanager
async def working(app: Stanchion, **options: Any) -> AsyncIterator[Worker]:
    """A worker that works beside the test, and is stopped without grace at the end."""
    worker = Worker(app, **options)
    main = asyncio.create_task(worker.main())
    await asyncio.sleep(0)  # it has begun
    try:
        yield worker
    finally:
        worker.stop()
        worker.stop()
        await asyncio.wait_for(main, 10)


def drain(app: Stanchion) -> None:
    """Let a worker run everything that can be run, and stop."""
    asyncio.run(asyncio.wait_for(Worker(app, burst=True).main(), 20))


def is_in(job: Job[Any], state: State) -> bool:
    """Whether a job is in this state by now."""
    return job.refresh().state is state


class Witness:
    """A plugin that writes down what it was notified of: new states, a run that was lost or released, workers."""

    def __init__(self) -> None:
        self.saw: list[str] = []
        self.transitions: list[Transition] = []

    @hookimpl
    def job_changed(self, transition: Transition) -> None:
        self.transitions.append(transition)
        if (
            transition.is_new_state and transition.event is not Event.PROMOTE
        ):  # a claim does it as well, unseen
            self.saw.append(_word(transition))

    @hookimpl
    def worker_started(self, worker: str) -> None:
        self.saw.append("started")

    @hookimpl
    def worker_stopped(self, worker: str) -> None:
        self.saw.append("stopped")


_EVENTS: Final = {
    Event.ENQUEUE: "enqueued",
    Event.CLAIM: "claimed",
    Event.LOSE: "lost",
    Event.RELEASE: "released",
    Event.EXPIRE: "expired",
    Event.DELETE: "deleted",
}


def _word(transition: Transition) -> str:
    return _EVENTS.get(transition.event) or str(transition.to_state)


class Saboteur:
    """A plugin whose every hook raises."""

    @hookimpl
    def job_changed(self) -> None:
        raise RuntimeError("broken plugin")

    @hookimpl
    def worker_started(self) -> None:
        raise RuntimeError("broken plugin")

    @hookimpl
    def worker_stopped(self) -> None:
        raise RuntimeError("broken plugin")

    @hookimpl
    def swept(self) -> None:
        raise RuntimeError("broken plugin")

    @hookimpl
    def tick(self) -> None:
        raise RuntimeError("broken plugin")


class FaultyMemory(YieldingMemory):
    """A memory backend that refuses some changes with an error, as often as a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: dict[Event, list[Exception]] = {}
        """For each event, what the next calls that carry it raise before anything is done."""
        self.refused: set[str] = set()
        """Ids of jobs; a call that changes one of them always fails."""

    def apply(self, request: Apply) -> Sequence[Applied | Refused]:
        for change in request.changes:
            if change.job_id in self.refused:
                raise BackendError(f"{change.job_id} is refused")
            if self.errors.get(change.event):
                raise self.errors[change.event].pop()
        return super().apply(request)


def on_faulty_memory(app: Stanchion) -> FaultyMemory:
    """Give an application a backend that can be made to fail."""
    backend = FaultyMemory()
    app.engine.backend = backend
    return backend
