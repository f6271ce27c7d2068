"""The application: tasks, enqueuing, and what it finds."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, ParamSpec, TypeVar, overload

from stanchion.app.drafts import Draft
from stanchion.app.jobs import Job
from stanchion.app.lookup import Lookup
from stanchion.app.registry import Task, TaskDecorator, handles
from stanchion.plugins.drafts import prepared

P = ParamSpec("P")
R = TypeVar("R")


class Stanchion(Lookup):
    """An application: its tasks, and the backend their jobs live in.

    Args:
        backend: The backend's URL, such as `redis://localhost` or `memory://`. Defaults to the configured one.

        namespace: Keeps this application's queues apart from others in the same store. Defaults to the configured one.

        plugins: Plugins, by name or as objects, instead of those in the configuration; or a mapping of names to
            settings. A name alone has the settings that its table in the configuration says.

        clock: For tests: the source of time. Defaults to the backend's own.

        **settings: Any other setting of `stanchion.app.config.Config`.

    Raises:
        ConfigError: The configuration, the backend or a plugin cannot be used.
        InvalidArgument: A setting's value cannot be used.
    """

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

            name: What its jobs name it by. Defaults to the function's name.

            **options: See `stanchion.app.tasks.Options`.

        Returns:
            The task; without a function, a decorator that returns it.

        Raises:
            ConfigError: A task of that name exists, or the signature cannot be used.
            InvalidArgument: The name or an option cannot be used.
        """
        decorator = TaskDecorator(self, name, options)
        return decorator if handler is None else decorator(handler)

    def enqueue_many(self, drafts: Iterable[Draft[R]], *, connection: Any = None) -> list[Job[R]]:
        """Enqueue many jobs, in one round trip for each batch.

        Jobs are created independently; on error some may exist. If a plugin rejects one in `before_enqueue`, none is
        created.

        Args:
            drafts: The jobs.

            connection: A connection of yours to the database that the jobs are in. They are enqueued inside its
                transaction, so they will exist if and only if you commit it. Defaults to none of yours.

        Returns:
            A handle for each job, in the same order.

        Raises:
            Unsupported: A connection is given, and the backend keeps jobs in no database of that kind.
            InvalidArgument: It is a connection to another database, or commits each statement by itself.
            Exception: What a plugin rejects a job with.
        """
        found = prepared(self.plugins, drafts)
        inserting = self.engine.insert((one.item for one in found), connection)
        return handles(self.engine, found, self.engine.call(inserting))

    async def aenqueue_many(self, drafts: Iterable[Draft[R]], *, connection: Any = None) -> list[Job[R]]:
        """`enqueue_many`, async."""
        found = prepared(self.plugins, drafts)
        inserting = self.engine.insert((one.item for one in found), connection)
        return handles(self.engine, found, await self.engine.acall(inserting))
