"""The kit: inspect what an application enqueued, and run it in virtual time.

With pytest, ask for the fixture `stanchion_kit`; anywhere else, `with Kit(app) as kit: …`.
"""

import asyncio
from asyncio import CancelledError
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from types import TracebackType
from typing import Any, Final, NoReturn, Self, TypeVar, Unpack, overload

from stanchion.app.application import Stanchion
from stanchion.app.registry import Task
from stanchion.context import current
from stanchion.errors import ConfigError, InvalidArgument, StanchionError, UnknownTask
from stanchion.model.policies import duration
from stanchion.model.queues import check_queue
from stanchion.model.records import Record
from stanchion.model.states import FINAL, State
from stanchion_testing.clock import VirtualClock
from stanchion_testing.seen import WAITING, Filters, SeenJob, Wanted, listed, nearest
from stanchion_testing.stepping import Here, Planned, Stepper, StillEngine

R = TypeVar("R")

SEED: Final = 0
"""The seed of the random part of back-off: each test sees the same waits."""

ENDLESS: Final = 10_000
"""How many runs a drain makes before it gives up."""


class Kit:
    """An application under test, from `with` until its end: on a memory backend of its own, in virtual time.

    Jobs are enqueued as usual, and run when the test runs them: one at a time, in the order in which one worker would
    take them, by the code of the worker, through the codec. The application keeps its tasks, plugins and settings. The
    backend that it is configured for is out of reach.

    Methods that run jobs have async versions with the prefix `a`, for tests on a running loop. Sync handlers run on the
    thread of the test; with the async versions, in threads.

    Args:
        app: The application.

        clock: The clock of its time. Defaults to one that starts now.

        run_twice: See the attribute.
    """

    def __init__(self, app: Stanchion, *, clock: VirtualClock | None = None, run_twice: bool = False) -> None:
        self.app = app
        """The application."""
        self.clock = clock or VirtualClock(datetime.now(UTC))
        """Its time: `kit.clock.advance(hours=3)`."""
        self.run_twice = run_twice
        """Whether each job that completes runs a second time, as if its worker had died before it could say so.

        The first completion is discarded: its result, and what its handler wrote with `progress`, `save` and `log`.
        The job is lost, which counts as `lost`, goes back to its place in the queue, and runs again; no time passes.
        A job that may not be lost, or not once more, runs once.
        """
        self._plans: list[Planned] = []
        self._ending = ExitStack()
        self._stepper: Stepper | None = None
        self._here: Here | None = None
        self._engine: StillEngine | None = None
        self._busy = False

    def __enter__(self) -> Self:
        self._ending.enter_context(self.app.override("memory://", clock=self.clock))
        store = self.app.engine.backend
        self.app.engine = self._engine = StillEngine(store, self.app.plugins, Random(SEED).random)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine = None
        self._ending.close()
        late = [plan for plan in self._plans if plan.calls < plan.number]
        if late and error is None:
            raise AssertionError(
                f"fail_call: call {late[0].number} of task {late[0].task} never came (calls: {late[0].calls})"
            )

    @overload
    def enqueued(self, task: Task[..., R], /, **filters: Unpack[Filters]) -> list[SeenJob[R]]: ...
    @overload
    def enqueued(self, task: str | None = None, /, **filters: Unpack[Filters]) -> list[SeenJob[Any]]: ...
    def enqueued(
        self, task: Task[..., Any] | str | None = None, /, **filters: Unpack[Filters]
    ) -> list[SeenJob[Any]]:
        """Return the jobs that are enqueued and were not started.

        Args:
            task: Only jobs of this task, or of the task with this name.

            **filters: Only jobs that match; see `stanchion_testing.seen.Filters`.

        Returns:
            The jobs, in the order in which they were enqueued.

        Raises:
            InvalidArgument: The task is not of this application or has no such argument, or a value cannot be used.
        """
        wanted = self._wanted(task, filters)
        return [job for job in self._jobs() if not wanted.misses(job)]

    @overload
    def assert_enqueued(self, task: Task[..., R], /, **filters: Unpack[Filters]) -> SeenJob[R]: ...
    @overload
    def assert_enqueued(self, task: str | None = None, /, **filters: Unpack[Filters]) -> SeenJob[Any]: ...
    def assert_enqueued(
        self, task: Task[..., Any] | str | None = None, /, **filters: Unpack[Filters]
    ) -> SeenJob[Any]:
        """Assert that `enqueued` finds a job.

        Args:
            task: As for `enqueued`.

            **filters: As for `enqueued`.

        Returns:
            The first of the jobs.

        Raises:
            AssertionError: It finds none; the message shows the jobs that exist.
            InvalidArgument: As for `enqueued`.
        """
        __tracebackhide__ = True
        wanted, jobs = self._wanted(task, filters), self._jobs()
        for job in jobs:
            if not wanted.misses(job):
                return job
        raise AssertionError(f"no {wanted}; {nearest(wanted, jobs)}")

    def refute_enqueued(
        self, task: Task[..., Any] | str | None = None, /, **filters: Unpack[Filters]
    ) -> None:
        """Assert that `enqueued` finds no job.

        Args:
            task: As for `enqueued`.

            **filters: As for `enqueued`.

        Raises:
            AssertionError: It finds some; the message shows them.
            InvalidArgument: As for `enqueued`.
        """
        __tracebackhide__ = True
        wanted = self._wanted(task, filters)
        found = [job for job in self._jobs() if not wanted.misses(job)]
        if found:
            raise AssertionError(f"expected no {wanted}; found:\n{listed(found)}")

    def drain(
        self, *, raises: bool = True, within: float | timedelta | None = None, queue: str | None = None
    ) -> list[SeenJob[Any]]:
        """Run all jobs that may start, and those that they enqueue, until none is left.

        Args:
            raises: Whether what a handler raises is raised here: the same exception, with the handler's own
                traceback, after its outcome is recorded; the jobs behind it stay enqueued. With `False` it is only in
                the state of the job. What a handler returns (`Retry`, `Fail`, …) is never raised; what is not an
                `Exception`, such as `pytest.fail`, always is.

            within: Also run the jobs that may start within this time, each at its time: the clock advances from one
                to the next, and finally to the end. A timedelta or seconds.

            queue: Run only the jobs of this queue.

        Returns:
            The jobs that ran, in order.

        Raises:
            StanchionError: It cannot be called here, or the jobs do not end.
            ConfigError: The application has no tasks.
            UnknownTask: A job's task is not among them.
        """
        __tracebackhide__ = True
        with self._turn("drain"):
            here = self._on_own_loop()
            ran, error = here.run(self._drain(raises, within, queue, here))
        if error is not None:
            raise error
        return ran

    async def adrain(
        self, *, raises: bool = True, within: float | timedelta | None = None, queue: str | None = None
    ) -> list[SeenJob[Any]]:
        """`drain`, async."""
        __tracebackhide__ = True
        with self._turn("adrain"):
            ran, error = await self._drain(raises, within, queue, None)
        if error is not None:
            raise error
        return ran

    def run_one(self, *, raises: bool = True, queue: str | None = None) -> SeenJob[Any]:
        """Run the next job.

        Args:
            raises: As for `drain`.

            queue: As for `drain`.

        Returns:
            The job after its run.

        Raises:
            AssertionError: No job may start now; the message shows those that wait.
            StanchionError: It cannot be called here.
            ConfigError: The application has no tasks.
            UnknownTask: The job's task is not among them.
        """
        __tracebackhide__ = True
        with self._turn("run_one"):
            here = self._on_own_loop()
            job, error = here.run(self._one(raises, queue, here))
        if error is not None:
            raise error
        return job or self._nothing_to_run()

    async def arun_one(self, *, raises: bool = True, queue: str | None = None) -> SeenJob[Any]:
        """`run_one`, async."""
        __tracebackhide__ = True
        with self._turn("arun_one"):
            job, error = await self._one(raises, queue, None)
        if error is not None:
            raise error
        return job or self._nothing_to_run()

    def fail_call(
        self,
        task: Task[..., Any] | str,
        number: int = 1,
        *,
        error: BaseException | type[BaseException] | None = None,
        after: bool = False,
    ) -> None:
        """Make a call of a task fail, to test how the job is retried.

        Such a failure is expected, so `drain` does not raise it.

        Args:
            task: The task.

            number: Which of its calls from now on: 1 is the next one. If there are fewer, leaving the kit raises.

            error: What it raises. Defaults to a `RuntimeError`.

            after: Whether the handler runs first: its work is done although the attempt has failed.

        Raises:
            InvalidArgument: The task is not of this application, or the number is less than 1.
        """
        if type(number) is not int or number < 1:
            raise InvalidArgument(f"number must be an integer of at least 1, not {number!r}")
        name = self._name(task)
        if isinstance(error, type):
            error = error()
        error = error or RuntimeError(f"planned failure of call {number} of task {name}")
        self._plans.append(Planned(name, number, error, after=after))

    def _wanted(self, task: Task[..., Any] | str | None, filters: Filters) -> Wanted:
        wanted = Wanted(task=None if task is None else self._name(task), **filters)
        if wanted.task is not None:
            signature = self.app.tasks[wanted.task].signature
            unknown = [name for name in wanted.args if name not in signature.names]
            if unknown:
                raise InvalidArgument(f"unknown argument {unknown[0]!r}: the signature is {signature}")
        return wanted

    def _name(self, task: Task[..., Any] | str) -> str:
        name = task if isinstance(task, str) else task.name
        known = self.app.tasks.get(name)
        if known is None:
            raise InvalidArgument(str(UnknownTask(name, tuple(self.app.tasks))))
        if isinstance(task, Task) and task.definition.signature is not known.signature:
            raise InvalidArgument(f"{task!r} belongs to another application than {self.app!r}")
        return name

    def _jobs(self) -> list[SeenJob[Any]]:
        """Return all jobs, in the order in which they were enqueued."""
        engine = self._open("enqueued()")
        found = [
            self._seen(job.record)
            for queue in self.app.queues()
            for state in State
            for job in self.app.jobs(queue, state)
        ]
        return sorted(found, key=lambda job: engine.order.get(job.id, len(engine.order)))

    def _seen(self, record: Record) -> SeenJob[Any]:
        return SeenJob(self.app.engine, record, self.app.tasks.get(record.task))

    def _nothing_to_run(self) -> NoReturn:
        __tracebackhide__ = True
        waiting = [job for job in self._jobs() if job.state not in FINAL]
        raise AssertionError(
            f"no job may start now{'; these wait:' if waiting else ''}\n{listed(waiting)}".strip()
        )

    async def _drain(
        self, raises: bool, within: float | timedelta | None, queue: str | None, here: Here | None
    ) -> tuple[list[SeenJob[Any]], BaseException | None]:
        end = None if within is None else self.clock.now() + duration(within, "within")
        ran: list[SeenJob[Any]] = []
        while True:
            job, error = await self._one(raises, queue, here)
            if job is None:
                due = self._next_due(queue)
                if end is None or due is None or due > end:
                    break
                self.clock.advance(due - self.clock.now())
                continue
            ran.append(job)
            if error is not None:
                return ran, error
            if len(ran) >= ENDLESS:
                raise StanchionError(
                    f"gave up after {ENDLESS} runs: jobs keep enqueuing jobs; the last was {job}"
                )
        if end is not None:
            self.clock.advance(end - self.clock.now())
        return ran, None

    async def _one(
        self, raises: bool, queue: str | None, here: Here | None
    ) -> tuple[SeenJob[Any] | None, BaseException | None]:
        """Run jobs until the outcome of one is recorded; return that one, and what to raise."""
        engine, queues = self._open("drain()"), self._queues(queue)
        if self._stepper is None:
            self._stepper = Stepper(self.app, queues, self._plans)
            self._ending.callback(self._stepper.close)
        stepper = self._stepper
        stepper.twice = self.run_twice
        while await stepper.one(queues, here):
            if stepper.last is None or stepper.lost:
                continue
            job = self._seen(engine.call(engine.get(stepper.last.record.id)))
            error = stepper.error
            is_raised = raises or not isinstance(error, Exception | CancelledError)
            return job, _own_lines(error) if error is not None and is_raised else None
        return None, None

    def _queues(self, queue: str | None) -> list[str]:
        """Return where to look for jobs, in order: the queues that tasks name, then all others."""
        if queue is not None:
            return [check_queue(queue)]
        named = [task.options.queue for task in self.app.tasks.values()]
        return list(dict.fromkeys([*named, *self.app.queues()]))

    def _next_due(self, queue: str | None) -> datetime | None:
        known = self.app.queues()
        serving = [name for name in self._queues(queue) if name in known and not known[name].paused]
        firsts = [next(self.app.jobs(name, state), None) for name in serving for state in WAITING]
        deadlines = [job.head.due_at for job in firsts if job is not None]
        return min((due for due in deadlines if due is not None), default=None)

    @contextmanager
    def _turn(self, verb: str) -> Iterator[None]:
        """Allow one call at a time to run jobs, where that is possible."""
        running = current.get()
        if running is not None:
            raise StanchionError(
                f"cannot call {verb}() inside a handler: job {running.id} is running; what it enqueues runs after it"
            )
        if not verb.startswith("a") and _on_loop():
            raise StanchionError(
                f"cannot call {verb}() on a running event loop, which it would block: await a{verb}()"
            )
        self._open(f"{verb}()")
        if not self.app.tasks:
            raise ConfigError(f"{self.app!r} has no tasks: import the modules that register them")
        if self._busy:
            raise StanchionError(f"cannot call {verb}(): jobs are already being run")
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    def _open(self, what: str) -> StillEngine:
        if self._engine is None:
            raise StanchionError(
                f"cannot call {what} outside of the kit: use it inside `with Kit(app) as kit:`"
            )
        return self._engine

    def _on_own_loop(self) -> Here:
        if self._here is None:
            self._here = Here()
            self._ending.callback(self._here.close)
        return self._here


_OURS: Final = ("stanchion.", "stanchion_testing.")


def _on_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _own_lines(error: BaseException) -> BaseException:
    """Return the exception with a traceback that begins at the first line outside of Stanchion, if there is one."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith(_OURS):
        trace = trace.tb_next
    return error if trace is None else error.with_traceback(trace)
