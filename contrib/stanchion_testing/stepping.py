"""Running an application's jobs one at a time, by the code of workers, when the test asks for it."""

import asyncio
from asyncio import AbstractEventLoop
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextvars import Context, copy_context
from datetime import timedelta
from functools import partial
from typing import Any, Final, TypeVar

from msgspec.structs import replace

from stanchion.app.application import Stanchion
from stanchion.app.tasks import Definition
from stanchion.contract.answers import Inserted
from stanchion.contract.backend import Backend
from stanchion.engine.engine import Engine
from stanchion.engine.operations import Steps
from stanchion.errors import ResultTimeout, StanchionError, UnknownTask
from stanchion.model.records import Item, Record
from stanchion.model.signals import Completed, Ended, GivenUp, TaskUnknown
from stanchion.model.states import FINAL
from stanchion.plugins.manager import Plugins
from stanchion.worker import Worker
from stanchion.worker.calling import in_thread
from stanchion.worker.runner import Left, Runner
from stanchion.worker.runs import Run

T = TypeVar("T")

NOBODY: Final = "in a test only drain() and run_one() run jobs"


class StillEngine(Engine):
    """An engine for a test: it knows in which order jobs were enqueued, and never waits for a result."""

    def __init__(self, backend: Backend, plugins: Plugins, roll: Callable[[], float]) -> None:
        super().__init__(backend, plugins, roll=roll)
        self.order: dict[str, int] = {}
        """The ids of the jobs that were enqueued, and their numbers."""

    def insert(self, items: Iterable[Item], connection: Any = None) -> Steps[list[Inserted]]:
        """See `Engine.insert`. A transaction of the caller is ignored: the jobs exist at once."""
        found = list(items)
        answers = yield from super().insert(found)
        for item, answer in zip(found, answers, strict=True):
            if answer.created:
                self.order.setdefault(item.id, len(self.order))
        return answers

    def wait_for_end(self, job_id: str, timeout: timedelta | None) -> Steps[Record]:
        """Return the job if it is final; otherwise it cannot end while the caller waits.

        Args:
            job_id: The job.

            timeout: How long the caller would wait; `None` for ever.

        Returns:
            The final job.

        Raises:
            ResultTimeout: It is not final, and there is a timeout.
            StanchionError: It is not final, and there is none.
        """
        record = yield from self.get(job_id)
        if record.state in FINAL:
            return record
        if timeout is None:
            raise StanchionError(f"waiting for job {job_id} would never end (it is {record.state}): {NOBODY}")
        late = ResultTimeout(job_id, record.state, timeout)
        late.add_note(NOBODY)
        raise late


class Here:
    """The thread of the test, and a loop that stands still while calls are made there.

    So sync handlers see what belongs to that thread, such as the open transaction of a database, and may run loops of
    their own, as they may in the thread of a worker.
    """

    def __init__(self) -> None:
        self.loop: Final[AbstractEventLoop] = asyncio.new_event_loop()
        self._calls: list[Callable[[], object]] = []

    def add(self, call: Callable[[], object]) -> None:
        """Make a call as soon as the loop has stopped."""
        self._calls.append(call)
        self.loop.stop()

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end, and the calls that it adds.

        Args:
            main: The coroutine.

        Returns:
            What the coroutine returns.
        """
        task = self.loop.create_task(main)
        task.add_done_callback(lambda _: self.loop.stop())
        while not task.done():
            self.loop.run_forever()
            while self._calls:
                self._calls.pop(0)()
        return task.result()

    def close(self) -> None:
        """Cancel what handlers left on the loop, and close it."""
        with asyncio.Runner(loop_factory=lambda: self.loop):
            pass


class OnThisThread:
    """A runner that calls sync handlers on the thread of the test.

    Args:
        here: That thread.

        plugins: The application's plugins.

        left: See `stanchion.worker.runner.Left`.
    """

    def __init__(self, here: Here, plugins: Plugins, left: Left) -> None:
        self._here, self._plugins, self._left = here, plugins, left

    def start(self, runs: Sequence[Run]) -> None:
        """See `stanchion.worker.runner.Runner`."""
        for run in runs:
            self._here.add(partial(self._call, run, copy_context()))

    def _call(self, run: Run, context: Context) -> None:
        outcome = in_thread(run, self._plugins, context)
        self._here.loop.call_soon(self._left, run, outcome)


class Planned:
    """A call of a task that is planned to fail.

    Args:
        task: The name of the task.

        number: Which of the next calls, from 1.

        error: What it raises.

        after: Whether the handler runs before that.
    """

    def __init__(self, task: str, number: int, error: BaseException, *, after: bool) -> None:
        self.task, self.number, self.error = task, number, error
        self._after = after
        self.calls = 0
        """How many calls there have been."""

    def handler(self, definition: Definition) -> Callable[..., Any]:
        """Return what is called instead of the task's own handler.

        Args:
            definition: The task.

        Returns:
            A function that raises; a coroutine function if the handler is one.
        """

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
    """A worker that runs one job at a time, and keeps how its run ended.

    Args:
        app: The application.

        queues: See `Worker`.

        plans: The calls that are planned to fail.

    Attributes:
        twice: Whether the first completion of each job is lost.
    """

    def __init__(self, app: Stanchion, queues: Sequence[str], plans: Sequence[Planned]) -> None:
        super().__init__(app, queues=queues)
        self._plans = plans
        self._here: Here | None = None
        self._repeated: set[str] = set()
        self.twice = False
        self.last: Run | None = None
        """The latest run."""
        self.lost = False
        """Whether its outcome was lost on purpose."""
        self.error: BaseException | None = None
        """What a test raises, if anything: what the handler raised, unless that was planned."""

    async def one(self, queues: Sequence[str], here: Here | None) -> bool:
        """Run one job, if one can be run.

        Args:
            queues: Where to look for it, in this order.

            here: Where sync handlers are called; `None` for threads.

        Returns:
            `True` if one was run.
        """
        self.queues[:] = queues
        self._here = here
        return bool(await self.step(limit=1))

    def close(self) -> None:
        """End its threads."""
        self._runners.close()

    def _runner(self, definition: Definition) -> Runner:
        if self._here is None or definition.is_async:
            return super()._runner(definition)
        return OnThisThread(self._here, self._app.plugins, self._left)

    def _definition(self, task: str) -> Definition | None:
        definition = super()._definition(task)
        for plan in [plan for plan in self._plans if plan.task == task]:
            plan.calls += 1
            if plan.calls == plan.number and definition is not None:
                definition = replace(definition, handler=plan.handler(definition))
        return definition

    def _left(self, run: Run, outcome: Ended | None) -> None:
        self.last, self.error = run, self._raised_in_test(run, outcome)
        self.lost = self.twice and self._to_be_lost(run, outcome)
        super()._left(run, GivenUp() if self.lost else outcome)

    def _raised_in_test(self, run: Run, outcome: Ended | None) -> BaseException | None:
        if isinstance(outcome, TaskUnknown):
            return UnknownTask(run.record.task, tuple(self._app.tasks))
        if any(plan.error is run.error for plan in self._plans):
            return None
        if run.error is not None and run.record.id in self._repeated:
            run.error.add_note(
                "this was the job's second run: run_twice discarded the completion of the first"
            )
        return run.error

    def _to_be_lost(self, run: Run, outcome: Ended | None) -> bool:
        """Return whether this is the first completion of a job that may be lost and run again."""
        job = run.record
        first = isinstance(outcome, Completed) and job.id not in self._repeated
        if not first or job.count("lost") >= run.policy.max_lost:
            return False
        self._repeated.add(job.id)
        return True
