"""The application: tasks, enqueuing, and asking about jobs and queues."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Generic, ParamSpec, Self, TypeVar, overload

from msgspec.structs import replace

from stanchion.app.config import Config
from stanchion.app.jobs import Job
from stanchion.app.tasks import Definition, Options
from stanchion.contract.answers import Counts, Inserted
from stanchion.contract.backend import Clock
from stanchion.contract.opening import open_backend, redacted
from stanchion.engine.engine import Engine
from stanchion.errors import ConfigError, InvalidArgument
from stanchion.model.ids import check_id
from stanchion.model.queues import QueueSettings, check_name
from stanchion.model.records import Item
from stanchion.model.states import State
from stanchion.plugins.manager import Plugins

P = ParamSpec("P")
R = TypeVar("R")


class Draft(Generic[R]):
    """A job that is not enqueued yet: what `task.job(…)` returns and `app.enqueue_many` takes."""

    def __init__(self, item: Item, returns: Any) -> None:
        self.item = item
        """What will be inserted."""
        self.returns = returns
        """The type hint of its result."""


class Task(Generic[P, R]):
    """A registered function. Calling it runs it here and now; `enqueue` makes a job of the call."""

    def __init__(self, app: "Stanchion", definition: Definition) -> None:
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
        """The same task with other options for its jobs; see `stanchion.app.tasks.Options`.

        Raises:
            InvalidArgument: There is no such option, or its value cannot be used.
        """
        return Task(self._app, replace(self.definition, options=self.definition.options.but(options)))

    def job(self, *args: P.args, **kwargs: P.kwargs) -> Draft[R]:
        """A job of this call, not enqueued yet.

        Raises:
            PayloadError: The arguments do not fit the signature, or cannot be stored.
        """
        definition = self.definition
        item = definition.options.item(definition.name, definition.signature.encode(args, kwargs))
        return Draft(item, definition.signature.returns)

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Make a job of this call.

        Once this returns, the job is in the backend, and stays there until it is final and its time is over. If
        a job of the same key exists, or one that holds the same unique key, the answer is that job.

        Raises:
            PayloadError: The arguments do not fit the signature, or cannot be stored.
            Unavailable: The backend did not answer; enqueuing again with a `key` of your own is harmless.
        """
        draft = self.job(*args, **kwargs)
        return self._app._handle(draft, self._app.engine.run(self._app.engine.insert([draft.item]))[0])

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """`enqueue`, async."""
        draft = self.job(*args, **kwargs)
        return self._app._handle(
            draft, (await self._app.engine.arun(self._app.engine.insert([draft.item])))[0]
        )

    def __repr__(self) -> str:
        return f"<Task {self.name} in queue {self.definition.options.queue}>"


class Queue:
    """A queue, as an application sees it."""

    def __init__(self, app: "Stanchion", name: str) -> None:
        self._app = app
        self.name = check_name(name)
        """Its name."""

    @property
    def _engine(self) -> Engine:
        return self._app.engine  # asked for each time: `override` changes it

    def pause(self) -> None:
        """Hand out no more jobs; running ones go on. Pausing twice is harmless."""
        self._engine.run(self._engine.configure(self.name, paused=True))

    async def apause(self) -> None:
        """`pause`, async."""
        await self._engine.arun(self._engine.configure(self.name, paused=True))

    def resume(self) -> None:
        """Hand out jobs again."""
        self._engine.run(self._engine.configure(self.name, paused=False))

    async def aresume(self) -> None:
        """`resume`, async."""
        await self._engine.arun(self._engine.configure(self.name, paused=False))

    def count(self) -> Counts:
        """How many jobs are in each state."""
        return self._engine.run(self._engine.counts(self.name))

    async def acount(self) -> Counts:
        """`count`, async."""
        return await self._engine.arun(self._engine.counts(self.name))

    def forget(self) -> None:
        """Remove an empty queue and its settings.

        Raises:
            QueueNotEmpty: It has jobs.
        """
        self._engine.run(self._engine.forget(self.name))

    async def aforget(self) -> None:
        """`forget`, async."""
        await self._engine.arun(self._engine.forget(self.name))

    def __repr__(self) -> str:
        return f"<Queue {self.name}>"


class Stanchion:
    """An application: its tasks, and the backend their jobs live in.

    Args:
        backend: The backend's URL, such as `redis://localhost` or `memory://`; from configuration unless given.

        namespace: Sets this application's queues apart from others in the same store.

        plugins: Plugins, by name or as objects, instead of those in the configuration.

        clock: For tests: where the backend gets its time from.

        **settings: Any other setting of `stanchion.app.config.Config`.

    Raises:
        ConfigError: The configuration, the backend or a plugin cannot be used.
        InvalidArgument: A setting's value cannot be used.
    """

    def __init__(
        self,
        backend: str | None = None,
        *,
        namespace: str | None = None,
        plugins: Iterable[object] | None = None,
        clock: Clock | None = None,
        **settings: Any,
    ) -> None:
        self.config = Config.load(
            {"backend": backend, "namespace": namespace, "plugins": plugins, **settings}
        )
        self.tasks: dict[str, Definition] = {}
        """The registered tasks by name."""
        self.plugins = Plugins(self.config.plugins)
        self.engine = Engine(open_backend(self.config.backend, self.config.namespace, clock), self.plugins)

    @contextmanager
    def override(
        self,
        backend: str | None = None,
        *,
        namespace: str | None = None,
        plugins: Iterable[object] | None = None,
        clock: Clock | None = None,
        **settings: Any,
    ) -> Iterator[Self]:
        """Put other settings over this application's own for a while: `with app.override("memory://"): …`.

        Its tasks and queues go with it, wherever they were imported. The store it had before is out of reach until
        the end, also for handles of jobs made before: they raise `BackendError`. The store that is opened here is
        closed at the end. Takes what `Stanchion` takes.

        Raises:
            ConfigError: There is no such setting, or the backend or a plugin cannot be used.
            InvalidArgument: A setting's value cannot be used.
        """
        before = self.config, self.plugins, self.engine
        config = self.config.but({"backend": backend, "namespace": namespace, "plugins": plugins, **settings})
        loaded = self.plugins if plugins is None else Plugins(config.plugins)
        with ExitStack() as ending:
            ending.callback(self._use, *before)
            engine = self.engine
            if (backend, namespace, clock) != (None, None, None):
                store = open_backend(config.backend, config.namespace, clock)
                ending.callback(store.close)
                ending.enter_context(engine.set_aside(f"{self!r} is out of reach: it is overridden"))
                engine = Engine(store, loaded)
            self._use(config, loaded, engine)
            yield self

    def _use(self, config: Config, plugins: Plugins, engine: Engine) -> None:
        self.config, self.plugins, self.engine = config, plugins, engine
        engine.plugins = plugins

    @overload
    def task(self, handler: Callable[P, Awaitable[R]], /) -> Task[P, R]: ...
    @overload
    def task(self, handler: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def task(self, /, *, name: str | None = None, **options: Any) -> "TaskDecorator": ...
    def task(self, handler: Any = None, /, *, name: str | None = None, **options: Any) -> Any:
        """Register a function as a task: `@app.task`, or `@app.task(queue="mail", retries=5)`.

        Args:
            handler: The function, sync or async.

            name: What its jobs shall name it by; the function's name unless given.

            **options: See `stanchion.app.tasks.Options`.

        Raises:
            ConfigError: A task of that name exists, or the signature cannot be used.
            InvalidArgument: The name or an option cannot be used.
        """
        decorator = TaskDecorator(self, name, options)
        return decorator if handler is None else decorator(handler)

    def enqueue_many(self, drafts: Iterable[Draft[R]], *, connection: Any = None) -> list[Job[R]]:
        """Enqueue many jobs, one round trip for each batch; the handles are in the same order.

        Each job is created on its own: if this raises, some may have been.

        Args:
            drafts: The jobs.

            connection: A connection of yours to the database that the jobs are in. They are enqueued inside its
                transaction, so there will be such jobs if and only if you commit it.

        Raises:
            Unsupported: A connection is given, and the backend keeps jobs in no database of that kind.
            InvalidArgument: It is a connection to another database, or commits each statement by itself.
        """
        found = list(drafts)
        inserting = self.engine.insert((one.item for one in found), connection)
        return self._handles(found, self.engine.run(inserting))

    async def aenqueue_many(self, drafts: Iterable[Draft[R]], *, connection: Any = None) -> list[Job[R]]:
        """`enqueue_many`, async."""
        found = list(drafts)
        inserting = self.engine.insert((one.item for one in found), connection)
        return self._handles(found, await self.engine.arun(inserting))

    def job(self, job_id: str) -> Job[Any]:
        """The job of this id.

        Raises:
            InvalidArgument: It is no id.
            JobNotFound: There is no such job.
        """
        return self._job(self.engine.run(self.engine.get(check_id(job_id))))

    async def ajob(self, job_id: str) -> Job[Any]:
        """`job`, async."""
        return self._job(await self.engine.arun(self.engine.get(check_id(job_id))))

    def jobs(self, queue: str, state: State | str) -> Iterator[Job[Any]]:
        """The jobs of a queue in one state, read page by page as they are asked for.

        A job that stays put appears exactly once.

        Raises:
            InvalidArgument: It is no name for a queue, or no state.
        """
        return self._pages(check_name(queue), check_state(state))

    def ajobs(self, queue: str, state: State | str) -> AsyncIterator[Job[Any]]:
        """`jobs`, async."""
        return self._apages(check_name(queue), check_state(state))

    def _pages(self, queue: str, state: State) -> Iterator[Job[Any]]:
        cursor, more = None, True
        while more:
            page = self.engine.run(self.engine.page(queue, state, cursor))
            yield from map(self._job, page.records)
            cursor, more = page.cursor, page.cursor is not None

    async def _apages(self, queue: str, state: State) -> AsyncIterator[Job[Any]]:
        cursor, more = None, True
        while more:
            page = await self.engine.arun(self.engine.page(queue, state, cursor))
            for record in page.records:
                yield self._job(record)
            cursor, more = page.cursor, page.cursor is not None

    def queue(self, name: str) -> Queue:
        """A queue, whether it exists yet or not.

        Raises:
            InvalidArgument: It is no name for a queue.
        """
        return Queue(self, name)

    def queues(self) -> Mapping[str, QueueSettings]:
        """The queues that exist, and their settings."""
        return self.engine.run(self.engine.queues())

    def close(self) -> None:
        """Give connections back. Not needed before a program ends."""
        self.engine.backend.close()

    async def aclose(self) -> None:
        """`close`, and the connections of the running loop as well."""
        await self.engine.release_twin()
        self.engine.backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _handle(self, draft: Draft[R], answer: Inserted) -> Job[R]:
        return Job(self.engine, answer.record or draft.item, draft.returns, created=answer.created)

    def _handles(self, drafts: Iterable[Draft[R]], answers: Iterable[Inserted]) -> list[Job[R]]:
        return [self._handle(draft, answer) for draft, answer in zip(drafts, answers, strict=True)]

    def _job(self, record: Any) -> Job[Any]:
        task = self.tasks.get(record.task)
        return Job(self.engine, record, task.signature.returns if task else Any)

    def __repr__(self) -> str:
        return f"<Stanchion {redacted(self.config.backend)} {self.config.namespace}, {len(self.tasks)} tasks>"


class TaskDecorator:
    """Registers the function it is called with."""

    def __init__(self, app: Stanchion, name: str | None, options: Mapping[str, Any]) -> None:
        Options.of(options)  # wrong ones are refused where they are written
        self._app, self._name, self._options = app, name, options

    @overload
    def __call__(self, handler: Callable[P, Awaitable[R]], /) -> Task[P, R]: ...
    @overload
    def __call__(self, handler: Callable[P, R], /) -> Task[P, R]: ...
    def __call__(self, handler: Callable[..., Any], /) -> Task[..., Any]:
        """Register the function.

        Raises:
            ConfigError: A task of that name exists, or the signature cannot be used.
            InvalidArgument: The name cannot be used.
        """
        definition = Definition.of(handler, self._name, self._options)
        if definition.name in self._app.tasks:
            raise ConfigError(
                f"a task named {definition.name!r} is registered already; give one of them a name="
            )
        self._app.tasks[definition.name] = definition
        return Task(self._app, definition)


def check_state(state: State | str) -> State:
    """Return the state of this name.

    Raises:
        InvalidArgument: There is none.
    """
    try:
        return State(state)
    except ValueError:
        raise InvalidArgument(f"no state is named {state!r}; there are: {', '.join(State)}") from None
