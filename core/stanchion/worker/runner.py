"""Runners: how handlers of one kind are called. Two kinds there are: on the loop, and in threads.

A worker gives a runner the runs of one claim together, and the runner says of each run when it ended and with which
outcome. So a runner decides how many runs it hands over at once, and may call one handler for several of them.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Final, Protocol

from stanchion.app.tasks import Definition
from stanchion.codec.failures import failure_of
from stanchion.engine.threads import Threads
from stanchion.errors.logs import logger
from stanchion.model.signals import Ended, Failed
from stanchion.plugins.manager import Plugins
from stanchion.worker.calling import handed_back, in_thread, on_loop
from stanchion.worker.runs import Act, Run

_log: Final = logger("stanchion.worker")

HANDLERS: Final = "stanchion-handler"
"""The name of the threads that call handlers."""

Left = Callable[[Run, Ended | None], None]
"""Is called on the loop for a run that holds its slot no more, with its outcome. `None`: the outcome of a run that was
entered was decided by the keeper; another run is handed back, unless it is decided as well."""


class Runner(Protocol):
    """Calls handlers of one kind.

    A runner calls `Run.move` when a handler is entered and when it has left, and `Run.can_be_interrupted` if it has a
    way to stop one from outside.
    """

    def start(self, runs: Sequence[Run]) -> None:
        """Call the handlers of some runs, each as soon as there is room for it.

        Called on the loop; returns at once and never raises. For each run, `Left` is called once, on the loop, when
        its handler has left or will not be entered.

        Args:
            runs: The runs, in the order in which their handlers should be entered; each has a definition.
        """
        ...


class OnLoop:
    """Calls async handlers, each in an asyncio task of its own.

    Args:
        plugins: The application's plugins.

        left: See `Left`.
    """

    def __init__(self, plugins: Plugins, left: Left) -> None:
        self._plugins, self._left = plugins, left

    def start(self, runs: Sequence[Run]) -> None:
        """See `Runner.start`."""
        for run in runs:
            task = asyncio.create_task(on_loop(run, self._plugins))
            run.can_be_interrupted(task.cancel)
            task.add_done_callback(partial(self._ended, run))

    def _ended(self, run: Run, task: "asyncio.Task[Ended | None]") -> None:
        if task.cancelled():  # before it began
            self._left(run, handed_back(run))
        elif (error := task.exception()) is not None:
            self._left(run, broken(run, error))
        else:
            self._left(run, task.result())


class InThreads:
    """Calls sync handlers in threads, several to each turn of the loop.

    Runs go to the threads in groups: one thread wakes up, and each that takes a run wakes the next. So short handlers
    are called one after the other in few threads, and none waits for a long one. Outcomes come back in groups as well:
    the loop is woken once, by the thread that leaves no run waiting.

    Args:
        threads: The threads, as many as there are slots: each run that is started has one.

        plugins: The application's plugins.

        left: See `Left`.
    """

    def __init__(self, threads: Threads, plugins: Plugins, left: Left) -> None:
        self._threads, self._plugins, self._left = threads, plugins, left
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()
        self._outcomes: deque[tuple[Run, Ended | None]] = deque()
        self._is_waking = False

    def start(self, runs: Sequence[Run]) -> None:
        """See `Runner.start`."""
        try:
            self._threads.add(self._acts(runs))
        except RuntimeError as error:  # there is not a single thread
            for run in runs:
                self._left(run, broken(run, error))

    def _acts(self, runs: Sequence[Run]) -> list[Callable[[], object]]:
        """Return what threads do: a call for each run, and a bell behind several.

        The thread that is free when all of them are taken rings the bell: after short handlers the one that called
        them all, beside a long one another.
        """
        acts: list[Callable[[], object]] = [partial(self._run, run) for run in runs]
        return [*acts, self._ring] if len(acts) > 1 else acts

    def _ring(self) -> None:
        if self._outcomes:
            self._wake()

    def _run(self, run: Run) -> None:
        """Call one handler, in a thread."""
        if self._outcomes:
            self._wake()  # other outcomes must not wait for this handler
        try:
            outcome = in_thread(run, self._plugins, self._context.copy())
        except BaseException as error:  # noqa: BLE001 - an interrupt from outside; a run must not be lost
            run.move(Act.LEAVE)
            outcome = broken(run, error)
        self._outcomes.append((run, outcome))
        self._wake()

    def _wake(self) -> None:
        """Wake the loop, from a thread, unless it wakes up already or the thread that takes the next run will do it."""
        if self._is_waking or (self._threads.has_waiting and not self._threads.is_short):
            return
        self._is_waking = True
        with suppress(RuntimeError):  # the loop is closed, and needs nothing any more
            self._loop.call_soon_threadsafe(self._collect)

    def _collect(self) -> None:
        """Pass on the outcomes that have gathered, on the loop."""
        self._is_waking = (
            False  # first: what comes from now on may find the queue empty, or wakes the loop again
        )
        while self._outcomes:
            self._left(*self._outcomes.popleft())


class Runners:
    """The runners of one worker.

    Args:
        most: How many handlers run at a time.

        plugins: The application's plugins.

        left: See `Left`.
    """

    def __init__(self, most: int, plugins: Plugins, left: Left) -> None:
        self._most, self._plugins, self._left = most, plugins, left
        self._threads: Threads | None = None
        self.begin()

    def begin(self) -> None:
        """Use the running loop from now on; the threads stay."""
        self._on_loop = OnLoop(self._plugins, self._left)
        self._in_threads: InThreads | None = None

    def make_ready(self) -> None:
        """Start the first thread now, so that a process that may start none fails before anything is claimed.

        Raises:
            RuntimeError: It cannot be started.
        """
        self._threads = self._threads or Threads(HANDLERS, self._most, ready=1)

    def of(self, definition: Definition) -> Runner:
        """Return what calls a task's handlers.

        There are no threads before they are needed, so that a process with a worker that takes steps can fork.

        Args:
            definition: The task.

        Returns:
            The runner of its kind.
        """
        if definition.is_async:
            return self._on_loop
        if self._in_threads is None:
            self._threads = self._threads or Threads(HANDLERS, self._most)
            self._in_threads = InThreads(self._threads, self._plugins, self._left)
        return self._in_threads

    def close(self) -> None:
        """End the threads; one whose handler does not leave is left behind."""
        if self._threads is not None:
            self._threads.shutdown()
        self._threads = self._in_threads = None


def broken(run: Run, error: BaseException) -> Ended:
    """Log why a run could not be called: the error is ours, not its handler's.

    Args:
        run: The run.

        error: What was raised.

    Returns:
        The run's outcome.
    """
    _log.error("%s %s could not be run by its worker", run.record.id, run.record.task, exc_info=error)
    run.raised(error)
    return Failed(failure=failure_of(error, run.record.run))
