"""For tests of applications: what was enqueued, and running it in virtual time.

With pytest, ask for the fixture `stanchion_app`; anywhere else, `with Kit(app) as kit: …`.
"""

import asyncio
from asyncio import CancelledError
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from types import TracebackType
from typing import Any, Final, NoReturn, Self, TypeVar, Unpack, overload

from stanchion.app.application import Stanchion, Task
from stanchion.context import current
from stanchion.errors import ConfigError, InvalidArgument, StanchionError, UnknownTask
from stanchion.model.policies import duration
from stanchion.model.queues import check_name
from stanchion.model.records import Record
from stanchion.model.states import FINAL, State
from stanchion_testing.clock import VirtualClock
from stanchion_testing.seen import WAITING, Filters, SeenJob, Wanted, listed, nearest
from stanchion_testing.stepping import Here, Planned, Stepper, StillEngine

R = TypeVar("R")

SEED: Final = 0
"""Where the chance in back-off starts: each test sees the same waits."""

ENDLESS: Final = 10_000
"""Runs after which a drain counts as one that never ends."""


class Kit:
    """An application under test, from `with` until its end: on a memory backend of its own, in virtual time.

    Jobs are enqueued as ever, and run when the test says so: one at a time, in the order in which one worker would
    take them, by the code of the worker, through the codec. Everything else of the application stays: its tasks, its
    plugins, its settings. The backend it is configured for is out of reach.

    Methods that run jobs have async twins with the prefix `a`, for tests on a running loop. Sync handlers run on the
    thread of the test; under the twins, in threads.

    Args:
        app: The application.

        clock: What moves its time; one that starts now, unless given.

        run_twice: See the attribute.
    """

    def __init__(self, app: Stanchion, *, clock: VirtualClock | None = None, run_twice: bool = False) -> None:
        self.app = app
        """The application."""
        self.clock = clock or VirtualClock(datetime.now(UTC))
        """Its time: `kit.clock.advance(hours=3)`."""
        self.run_twice = run_twice
        """Whether each job that completes runs a second time, as if its worker had died before it could say so.

        The first completion is thrown away: its result, and what its handler wrote with `progress`, `save` and `log`.
        The job is lost, which counts as `lost`, goes back to its place in the queue, and runs again; no time passes.
        A job that may not be lost (any more) is left alone.
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
                f"call {late[0].number} of task {late[0].task} was to fail, and there were {late[0].calls} calls"
            )

    @overload
    def enqueued(self, task: Task[..., R], /, **filters: Unpack[Filters]) -> list[SeenJob[R]]: ...
    @overload
    def enqueued(self, task: str | None = None, /, **filters: Unpack[Filters]) -> list[SeenJob[Any]]: ...
    def enqueued(
        self, task: Task[..., Any] | str | None = None, /, **filters: Unpack[Filters]
    ) -> list[SeenJob[Any]]:
        """The jobs that are enqueued and were not started, in the order in which they were enqueued.

        Args:
            task: Only those of this task, or of the task of this name.

            **filters: Only those that are like this; see `stanchion_testing.seen.Filters`.

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
        """The first of the jobs that `enqueued` finds.

        Raises:
            AssertionError: It finds none; the message shows the jobs that there are.
            InvalidArgument: As for `enqueued`.
        """
        __tracebackhide__ = True
        wanted, jobs = self._wanted(task, filters), self._jobs()
        for job in jobs:
            if not wanted.misses(job):
                return job
        raise AssertionError(f"there is no {wanted}; {nearest(wanted, jobs)}")

    def refute_enqueued(
        self, task: Task[..., Any] | str | None = None, /, **filters: Unpack[Filters]
    ) -> None:
        """See that `enqueued` finds no job.

        Raises:
            AssertionError: It finds some; the message shows them.
            InvalidArgument: As for `enqueued`.
        """
        __tracebackhide__ = True
        wanted = self._wanted(task, filters)
        found = [job for job in self._jobs() if not wanted.misses(job)]
        if found:
            raise AssertionError(f"there should be no {wanted}; there are:\n{listed(found)}")

    def drain(
        self, *, raises: bool = True, within: float | timedelta | None = None, queue: str | None = None
    ) -> list[SeenJob[Any]]:
        """Run all jobs that may start, and those that they enqueue, until none is left; what ran, in order.

        Args:
            raises: Whether what a handler raises is raised here: the same exception, with the handler's own
                traceback, once the outcome is recorded; the jobs behind it stay enqueued. Without, it is in the state
                of the job. What a handler returns (`Retry`, `Fail`, …) is its word, and never raised; what is no
                `Exception`, such as `pytest.fail`, always is.

            within: Run as well what may start within this time, each job at its time: the clock moves from one to
                the next, and to the end of this time at last. A timedelta or seconds.

            queue: Run only the jobs of this queue.

        Raises:
            StanchionError: It cannot be called here, or there is no end of jobs.
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
        """Run the next job; the job afterwards. Takes what `drain` takes.

        Raises:
            AssertionError: None may start now; the message shows those that wait.
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
        """Let a call of a task fail: what then runs is the code of the worker that handles failures.

        Such a failure is expected, so `drain` does not raise it.

        Args:
            task: The task.

            number: Which of its calls from now on: 1 is the next one. If there are fewer, the end of the kit raises.

            error: What it raises; a `RuntimeError` unless given.

            after: Whether the handler runs before that: its work is done, and the attempt has failed.

        Raises:
            InvalidArgument: The task is not of this application, or the number is none.
        """
        if type(number) is not int or number < 1:
            raise InvalidArgument(f"calls are numbered from 1, not {number!r}")
        name = self._name(task)
        if isinstance(error, type):
            error = error()
        error = error or RuntimeError(f"call {number} of task {name} was to fail")
        self._plans.append(Planned(name, number, error, after=after))

    def _wanted(self, task: Task[..., Any] | str | None, filters: Filters) -> Wanted:
        wanted = Wanted(task=None if task is None else self._name(task), **filters)
        if wanted.task is not None:
            signature = self.app.tasks[wanted.task].signature
            unknown = [name for name in wanted.args if name not in signature.names]
            if unknown:
                raise InvalidArgument(f"no argument is named {unknown[0]!r}: the task is {signature}")
        return wanted

    def _name(self, task: Task[..., Any] | str) -> str:
        name = task if isinstance(task, str) else task.name
        known = self.app.tasks.get(name)
        if known is None:
            raise InvalidArgument(str(UnknownTask(name, tuple(self.app.tasks))))
        if isinstance(task, Task) and task.definition.signature is not known.signature:
            raise InvalidArgument(f"{task!r} is a task of another application than {self.app!r}")
        return name

    def _jobs(self) -> list[SeenJob[Any]]:
        """All jobs there are, in the order in which they were enqueued."""
        engine = self._open("looking for jobs")
        found = [
            self._seen(job.record)
            for queue in self.app.queues()
            for state in State
            for job in self.app.jobs(queue, state)
            if job.record is not None
        ]
        return sorted(found, key=lambda job: engine.order.get(job.id, len(engine.order)))

    def _seen(self, record: Record) -> SeenJob[Any]:
        return SeenJob(self.app.engine, record, self.app.tasks.get(record.task))

    def _nothing_to_run(self) -> NoReturn:
        __tracebackhide__ = True
        waiting = [job for job in self._jobs() if job.state not in FINAL]
        raise AssertionError(
            f"no job may start now{'; there are:' if waiting else ''}\n{listed(waiting)}".strip()
        )

    async def _drain(
        self, raises: bool, within: float | timedelta | None, queue: str | None, threads: Executor | None
    ) -> tuple[list[SeenJob[Any]], BaseException | None]:
        end = None if within is None else self.clock.now() + duration(within, "within")
        ran: list[SeenJob[Any]] = []
        while True:
            job, error = await self._one(raises, queue, threads)
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
                raise StanchionError(f"no end of jobs after {ENDLESS} runs; the last was {job}")
        if end is not None:
            self.clock.advance(end - self.clock.now())
        return ran, None

    async def _one(
        self, raises: bool, queue: str | None, threads: Executor | None
    ) -> tuple[SeenJob[Any] | None, BaseException | None]:
        """Run jobs until the outcome of one is recorded; that one, and what to raise."""
        engine, queues = self._open("running jobs"), self._queues(queue)
        if self._stepper is None:
            self._stepper = Stepper(self.app, queues, self._plans)
            self._ending.callback(self._stepper.close)
        stepper = self._stepper
        stepper.twice = self.run_twice
        while await stepper.one(queues, threads):
            if stepper.last is None or stepper.lost:
                continue
            job = self._seen(engine.run(engine.get(stepper.last.record.id)))
            error = stepper.error
            told = raises or not isinstance(error, Exception | CancelledError)
            return job, _own_lines(error) if error is not None and told else None
        return None, None

    def _queues(self, queue: str | None) -> list[str]:
        """Where to look for jobs, in this order: the queues that tasks name, then any other there is."""
        if queue is not None:
            return [check_name(queue)]
        named = [task.options.queue for task in self.app.tasks.values()]
        return list(dict.fromkeys([*named, *self.app.queues()]))

    def _next_due(self, queue: str | None) -> datetime | None:
        known = self.app.queues()
        serving = [name for name in self._queues(queue) if name in known and not known[name].paused]
        firsts = [next(self.app.jobs(name, state), None) for name in serving for state in WAITING]
        clocks = [job.record.due_at for job in firsts if job is not None and job.record is not None]
        return min((due for due in clocks if due is not None), default=None)

    @contextmanager
    def _turn(self, verb: str) -> Iterator[None]:
        """Take the turn to run jobs, if that is possible here."""
        running = current.get()
        if running is not None:
            raise StanchionError(
                f"{verb}() inside a handler: job {running.id} is running; what it enqueues runs after it"
            )
        if not verb.startswith("a") and _on_loop():
            raise StanchionError(f"{verb}() on a running event loop, which it would block: await a{verb}()")
        self._open(f"{verb}()")
        if not self.app.tasks:
            raise ConfigError(f"{self.app!r} has nothing to run: import the modules that register its tasks")
        if self._busy:
            raise StanchionError(f"{verb}() while jobs are run already")
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    def _open(self, what: str) -> StillEngine:
        if self._engine is None:
            raise StanchionError(f"{what} outside of the kit: with Kit(app) as kit: …")
        return self._engine

    def _on_own_loop(self) -> Here:
        if self._here is None:
            self._here = Here()
            self._ending.callback(self._here.close)
        return self._here


def _on_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _own_lines(error: BaseException) -> BaseException:
    """An exception whose traceback begins with the first line that is not ours, if there is one."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith("stanchion."):
        trace = trace.tb_next
    return error if trace is None else error.with_traceback(trace)
