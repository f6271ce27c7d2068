"""Running an application's jobs one at a time, by the code that workers run, as the test says."""

import asyncio
from asyncio import AbstractEventLoop, Task
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import Executor, Future
from datetime import timedelta
from typing import Any, Final, TypeVar

from msgspec.structs import replace

from stanchion.app.application import Stanchion
from stanchion.app.tasks import Definition
from stanchion.contract.answers import Inserted
from stanchion.contract.backend import Backend
from stanchion.engine.engine import Engine
from stanchion.engine.operations import Steps
from stanchion.errors import ResultTimeout, StanchionError, UnknownTask
from stanchion.model.decisions import Completed, Ended, GivenUp, TaskUnknown
from stanchion.model.records import Item, Record
from stanchion.model.states import FINAL
from stanchion.plugins.manager import Plugins
from stanchion.worker import Worker
from stanchion.worker.runs import Run

T = TypeVar("T")

NOBODY: Final = "in a test nothing runs jobs but drain() and run_one()"


class StillEngine(Engine):
    """An engine for a test: it knows in which order jobs were enqueued, and waits for no result in vain."""

    def __init__(self, backend: Backend, plugins: Plugins, roll: Callable[[], float]) -> None:
        super().__init__(backend, plugins, roll=roll)
        self.order: dict[str, int] = {}
        """The ids of the jobs that were enqueued, and their numbers."""

    def insert(self, items: Iterable[Item], connection: Any = None) -> Steps[list[Inserted]]:
        """See `Engine.insert`. In memory there is no transaction to wait for: the jobs are there at once."""
        found = list(items)
        answers = yield from super().insert(found)
        for item, answer in zip(found, answers, strict=True):
            if answer.created:
                self.order.setdefault(item.id, len(self.order))
        return answers

    def ended(self, job_id: str, timeout: timedelta | None) -> Steps[Record]:
        """The job if it is final; if not, it will not be while the caller waits.

        Raises:
            ResultTimeout: It is not, and the caller would have waited for so long.
            StanchionError: It is not, and the caller would have waited for ever.
        """
        record = yield from self.get(job_id)
        if record.state in FINAL:
            return record
        if timeout is None:
            raise StanchionError(f"job {job_id} is {record.state}, and its result is waited for: {NOBODY}")
        late = ResultTimeout(job_id, record.state, timeout)
        late.add_note(NOBODY)
        raise late


class Here(Executor):
    """Calls sync handlers on the thread of the test, while its loop stands still.

    So they see what belongs to that thread, such as the open transaction of a database, and may run loops of their
    own, as they may in the thread of a worker.
    """

    def __init__(self) -> None:
        self.loop: Final[AbstractEventLoop] = asyncio.new_event_loop()
        self._calls: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        """Call it once the loop has stopped."""
        future: Future[T] = Future()
        self._calls.append((future, lambda: fn(*args, **kwargs)))
        self.loop.stop()
        return future

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end, and what it submits."""
        task = self.loop.create_task(main)
        task.add_done_callback(lambda _: self.loop.stop())
        while not task.done():
            self.loop.run_forever()
            while self._calls:
                future, call = self._calls.pop(0)
                future.set_result(call())
        return task.result()

    def close(self) -> None:
        """Cancel what handlers left on the loop, and close it."""
        with asyncio.Runner(loop_factory=lambda: self.loop):
            pass


class Planned:
    """A call of a task that shall fail.

    Args:
        number: Which of the next calls, from 1.

        error: What it raises.

        after: Whether the handler runs before that.
    """

    def __init__(self, task: str, number: int, error: BaseException, *, after: bool) -> None:
        self.task, self.number, self.error = task, number, error
        self._after = after
        self.calls = 0
        """How many calls there were since."""

    def handler(self, definition: Definition) -> Callable[..., Any]:
        """What to call instead of the task's own handler."""

        def call(*args: Any, **kwargs: Any) -> None:
            if self._after:
                definition.handler(*args, **kwargs)
            raise self.error

        async def acall(*args: Any, **kwargs: Any) -> None:
            if self._after:
                await definition.handler(*args, **kwargs)
            raise self.error

        return acall if definition.is_async else call


class Stepper(Worker):
    """A worker that runs one job at a time, and tells what became of its run.

    Args:
        app: The application.

        queues: See `Worker`.

        plans: The calls that shall fail.

    Attributes:
        twice: Whether the first completion of each job is lost.
    """

    def __init__(self, app: Stanchion, queues: Sequence[str], plans: Sequence[Planned]) -> None:
        super().__init__(app, queues=queues)
        self._plans = plans
        self._repeated: set[str] = set()
        self.twice = False
        self.last: Run | None = None
        """The latest run."""
        self.lost = False
        """Whether its outcome was lost on purpose."""
        self.error: BaseException | None = None
        """What a test should hear of, if anything: what was raised, unless that was planned."""

    async def one(self, queues: Sequence[str], threads: Executor | None) -> bool:
        """Run one job, if one can be run.

        Args:
            queues: Where to look for it, in this order.

            threads: What runs sync handlers; threads unless given.
        """
        self.queues[:] = queues
        own, self._threads = self._threads, threads or self._threads
        try:
            return bool(await self.step(limit=1))
        finally:
            self._threads = self._threads if threads is None else own

    def close(self) -> None:
        """Let its threads go."""
        if self._threads is not None:
            self._threads.shutdown(wait=False)

    def _definition(self, task: str) -> Definition | None:
        definition = super()._definition(task)
        for plan in [plan for plan in self._plans if plan.task == task]:
            plan.calls += 1
            if plan.calls == plan.number and definition is not None:
                definition = replace(definition, handler=plan.handler(definition))
        return definition

    def _outcome(self, run: Run, task: "Task[Ended | None]") -> Ended | None:
        outcome = super()._outcome(run, task)
        self.last, self.error = run, self._to_be_told(run, outcome)
        self.lost = self.twice and self._to_be_lost(run, outcome)
        return GivenUp() if self.lost else outcome

    def _to_be_told(self, run: Run, outcome: Ended | None) -> BaseException | None:
        if isinstance(outcome, TaskUnknown):
            return UnknownTask(run.record.task, tuple(self._app.tasks))
        if any(plan.error is run.error for plan in self._plans):
            return None
        if run.error is not None and run.record.id in self._repeated:
            run.error.add_note("this was the job's second run: its first completed, and run_twice lost that")
        return run.error

    def _to_be_lost(self, run: Run, outcome: Ended | None) -> bool:
        """Whether this is the first completion of a job that may be lost and run again."""
        job = run.record
        first = isinstance(outcome, Completed) and job.id not in self._repeated
        if not first or job.count("lost") >= run.policy.max_lost:
            return False
        self._repeated.add(job.id)
        return True
