"""The hooks of plugins, on one page.

Observing hooks are in the past tense: what they report has happened, and nothing they do can change or lose it.
They run on whichever thread changed the job, so they must be thread-safe and do no I/O; collect, and flush in
`tick`. A hook that raises is logged with its plugin's name and counted, and the next one is called. That holds for
whatever it raises, `SystemExit` and `CancelledError` as well; only a Ctrl-C is passed on to the caller of `enqueue`.

Deciding hooks are marked in the table: what they raise rejects the job, or fails the attempt.

A plugin is an object or module whose functions carry `@hookimpl` and the names below; each may take fewer
arguments than its specification. Plugins are called in the order in which they are listed; `@hookimpl(tryfirst=True)`
and `trylast=True` are called before and after the others.

| hook | arguments | when |
|---|---|---|
| job_changed | transition: Transition | something happened to a job: it was created, claimed, changed, ended, deleted |
| worker_started, worker_stopped | worker: str | |
| swept | count: int | a sweep of a worker changed this many jobs |
| tick | | once a second on the keeper's thread of each worker; may do I/O, briefly |
| before_enqueue | draft: Draft | deciding: a job is about to be enqueued; returns a changed draft, or raises |
| around_job | job: RunningJob | deciding: returns a context manager around the handler, plain or async |
| add_hookspecs | plugins: Plugins | once, while plugins are loaded: a plugin may specify hooks of its own |

A `Transition` says what happened, from which state to which, and has the job after it. Jobs whose time came are queued
inside a claim, and beats of runs: neither is observed.
"""

from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import ModuleType
from typing import Any, Final, Protocol, Self

import pluggy

from stanchion.context import RunningJob
from stanchion.model.transitions import Transition

hookspec: Final = pluggy.HookspecMarker("stanchion")
"""Marks a function as the specification of a hook of a plugin's own."""

hookimpl: Final = pluggy.HookimplMarker("stanchion")
"""Marks a plugin's function as an implementation of the hook of its name."""


class JobDraft(Protocol):
    """The part of `stanchion.Draft` that plugins rely on: a job that is not enqueued yet."""

    @property
    def id(self) -> str:
        """The id it will have: `<queue>:<key>`."""
        ...

    @property
    def task(self) -> str:
        """The name of its task."""
        ...

    def using(self, **options: Any) -> Self:
        """Return the same job with other options; see `stanchion.app.tasks.Options`.

        Args:
            **options: Their new values.

        Returns:
            Another draft.
        """
        ...

    def with_arguments(self, **changed: Any) -> Self:
        """Return the same job with some other arguments.

        Args:
            **changed: Their new values, by the names of the parameters.

        Returns:
            Another draft.
        """
        ...


class Hooks(Protocol):
    """The part of `stanchion.plugins.manager.Plugins` that a plugin calls."""

    def add_hookspecs(self, specifications: ModuleType | type) -> None:
        """Specify hooks of a plugin's own.

        Args:
            specifications: A module or class, whose functions that specify hooks carry `@hookspec`.
        """
        ...

    def call(self, hook: str, **arguments: object) -> Any:
        """Call a hook of every plugin.

        Args:
            hook: Its name.

            **arguments: Its arguments.

        Returns:
            The results that are not `None`.
        """
        ...

    def notify(self, hook: str, **arguments: object) -> None:
        """Notify every plugin; what one raises is logged.

        Args:
            hook: The name of the hook.

            **arguments: Its arguments.
        """
        ...


@hookspec
def job_changed(transition: Transition) -> None:
    """Observe a change of a job, once it is recorded.

    Args:
        transition: What happened.
    """


@hookspec
def worker_started(worker: str) -> None:
    """Observe that a worker begins to claim.

    Args:
        worker: Its name.
    """


@hookspec
def worker_stopped(worker: str) -> None:
    """Observe that a worker has stopped.

    What it held is settled or handed back, except for threads that did not return.

    Args:
        worker: Its name.
    """


@hookspec
def swept(count: int) -> None:
    """Observe that a worker's sweep moved jobs that were due.

    Args:
        count: How many.
    """


@hookspec
def tick() -> None:
    """Flush what other hooks collected; called once a second."""


@hookspec
def before_enqueue(draft: JobDraft) -> JobDraft | None:
    """Change or reject a job before it is enqueued, and before any I/O.

    Called for each job that the application enqueues, on the caller's thread or loop; each plugin gets what the one
    before it returned. With several jobs in one call, all of them are asked about before the first is inserted.

    Args:
        draft: The job, a frozen value: `draft.using(priority=5)` and `draft.with_arguments(locale="it")` return
            changed ones.

    Returns:
        The draft to enqueue instead, of the same task; `None` to leave it unchanged.

    Raises:
        Exception: Rejects the job. The caller gets the exception, and no job of the call is enqueued.
    """


@hookspec
def around_job(
    job: RunningJob,
) -> AbstractContextManager[Any] | AbstractAsyncContextManager[Any] | None:
    """Wrap the handler: the context manager is entered in its own task or thread, and sees its exception.

    When it is left, `job.outcome` says how the handler ended: `Returned(value)`, where the value may be a `Retry`,
    `Snooze`, `Cancel` or `Fail`, or `Raised(error)`. The first plugin listed is the outermost; it sees what those
    inside it let pass.

    Args:
        job: The job that runs; `job.is_async` says whether its handler is async.

    Returns:
        A context manager, plain or, for an async handler, async; of one that is both, the async half is used there.
        `None` to let the job pass.

    Raises:
        Exception: Fails the attempt as if the handler had raised it; so does what the context manager raises.
    """


@hookspec
def add_hookspecs(plugins: Hooks) -> None:
    """Specify hooks of the plugin's own, for other plugins to implement.

    Called once, while the application is made, when all its plugins are known and before their hooks are checked.

    Args:
        plugins: The application's plugins. Keep them to call the hooks: `plugins.call` returns what they return,
            and passes on what they raise; `plugins.notify` does neither.

    Raises:
        ConfigError: From `plugins.add_hookspecs`; the application cannot be made.
    """
