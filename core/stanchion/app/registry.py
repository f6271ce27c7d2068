"""The registry: functions become tasks."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Generic, ParamSpec, TypeVar, overload

from stanchion.app.drafts import Draft
from stanchion.app.jobs import Job
from stanchion.app.lifecycle import Lifecycle
from stanchion.app.tasks import Definition, Options
from stanchion.contract.answers import Inserted
from stanchion.engine.engine import Engine
from stanchion.errors import ConfigError
from stanchion.plugins import middleware
from stanchion.plugins.drafts import prepared

P = ParamSpec("P")
R = TypeVar("R")


class Task(Generic[P, R]):
    """A registered function. Call it to run the function; `enqueue` schedules it as a job."""

    def __init__(self, app: Lifecycle, definition: Definition) -> None:
        self._app = app
        self.definition = definition
        """What a worker needs to run its jobs."""
        self.__name__ = definition.name
        self.__doc__ = definition.handler.__doc__

    @property
    def name(self) -> str:
        """What its jobs name it by."""
        return self.definition.name

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Run the function itself, without any queue."""
        return self.definition.handler(*args, **kwargs)

    def using(self, **options: Any) -> "Task[P, R]":
        """Return the same task with other options for its jobs; see `stanchion.app.tasks.Options`.

        Args:
            **options: Their new values.

        Returns:
            Another task, of the same function.

        Raises:
            ConfigError: A function among the options cannot be called with the arguments of the task.
            InvalidArgument: There is no such option, or its value cannot be used.
        """
        return Task(self._app, self.definition.using(options))

    def draft(self, *args: P.args, **kwargs: P.kwargs) -> Draft[R]:
        """Return a job of this call that is not enqueued yet.

        Args:
            *args: The handler's arguments.

            **kwargs: The handler's arguments by name.

        Returns:
            The draft.

        Raises:
            InvalidArgument: Its tags cannot be computed from the arguments.
            PayloadError: The arguments do not fit the signature, or cannot be stored.
        """
        return Draft.of(self.definition, self.definition.signature.encode(args, kwargs))

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Enqueue a job that calls the function with these arguments.

        Once this returns, the job is in the backend: it is kept until it finishes and its retention expires.

        Args:
            *args: The handler's arguments.

            **kwargs: The handler's arguments by name.

        Returns:
            A handle of the job. If a job of the same key exists, or one that holds the same unique key, that job's.

        Raises:
            PayloadError: The arguments do not fit the signature, or cannot be stored.
            Unavailable: The backend did not answer; enqueuing again with a `key` of your own is harmless.
            Exception: What a plugin rejects the job with in `before_enqueue`.
        """
        (draft,) = prepared(self._app.plugins, [self.draft(*args, **kwargs)])
        return handle(
            self._app.engine, draft, self._app.engine.call(self._app.engine.insert([draft.item]))[0]
        )

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """`enqueue`, async."""
        (draft,) = prepared(self._app.plugins, [self.draft(*args, **kwargs)])
        return handle(
            self._app.engine, draft, (await self._app.engine.acall(self._app.engine.insert([draft.item])))[0]
        )

    def __repr__(self) -> str:
        return f"<Task {self.name} in queue {self.definition.options.queue}>"


class TaskDecorator:
    """Registers the function it is called with."""

    def __init__(self, app: Lifecycle, name: str | None, options: Mapping[str, Any]) -> None:
        Options.of(options)  # wrong ones are refused where they are written
        self._app, self._name, self._options = app, name, options

    @overload
    def __call__(self, handler: Callable[P, Awaitable[R]], /) -> Task[P, R]: ...
    @overload
    def __call__(self, handler: Callable[P, R], /) -> Task[P, R]: ...
    def __call__(self, handler: Callable[..., Any], /) -> Task[..., Any]:
        """Register the function.

        Args:
            handler: The function.

        Returns:
            The task.

        Raises:
            ConfigError: A task of that name exists, its signature cannot be used, or its handler is sync and a
                plugin's middleware is async.
            InvalidArgument: The name cannot be used.
        """
        definition = Definition.of(handler, self._name, self._options)
        middleware.check(self._app.plugins, definition.name, is_async=definition.is_async)
        if definition.name in self._app.tasks:
            raise ConfigError(
                f"cannot register a second task named {definition.name!r}: give one of them another name="
            )
        self._app.tasks[definition.name] = definition
        return Task(self._app, definition)


def handle(engine: Engine, draft: Draft[R], answer: Inserted) -> Job[R]:
    """Return the handle of a job that was enqueued.

    Args:
        engine: Where it lives.

        draft: What was enqueued.

        answer: The backend's answer.

    Returns:
        The handle of the new job, or of the one that was there.
    """
    known = answer.head or (draft.item, answer.now)
    return Job(engine, known, draft.returns, is_new=answer.created)


def handles(engine: Engine, drafts: Iterable[Draft[R]], answers: Iterable[Inserted]) -> list[Job[R]]:
    """Return the handles of jobs that were enqueued together.

    Args:
        engine: Where they live.

        drafts: What was enqueued.

        answers: The backend's answers.

    Returns:
        A handle for each, in that order.
    """
    return [handle(engine, draft, answer) for draft, answer in zip(drafts, answers, strict=True)]
