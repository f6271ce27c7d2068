"""The lifecycle of an application: what it is made of, how that is overridden, and its end."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Self

from stanchion.app.config import Config
from stanchion.app.tasks import Definition
from stanchion.contract.backend import Clock
from stanchion.contract.opening import open_backend, redacted
from stanchion.engine.engine import Engine
from stanchion.plugins import middleware
from stanchion.plugins.manager import Plugins


class Lifecycle:
    """What an application is made of; see `stanchion.Stanchion`."""

    def __init__(
        self,
        backend: str | None = None,
        *,
        namespace: str | None = None,
        plugins: Iterable[object] | Mapping[str, Mapping[str, Any]] | None = None,
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
        plugins: Iterable[object] | Mapping[str, Mapping[str, Any]] | None = None,
        clock: Clock | None = None,
        **settings: Any,
    ) -> Iterator[Self]:
        """Override this application's settings for a while: `with app.override("memory://"): …`.

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
        for task in self.tasks.values():
            middleware.check(loaded, task.name, is_async=task.is_async)
        with ExitStack() as ending:
            ending.callback(self._use, *before)
            engine = self.engine
            if (backend, namespace, clock) != (None, None, None):
                store = open_backend(config.backend, config.namespace, clock)
                ending.callback(store.close)
                ending.enter_context(engine.out_of_reach(f"cannot use {self!r}: it is overridden"))
                engine = Engine(store, loaded)
            self._use(config, loaded, engine)
            yield self

    def _use(self, config: Config, plugins: Plugins, engine: Engine) -> None:
        self.config, self.plugins, self.engine = config, plugins, engine
        engine.plugins = plugins

    def close(self) -> None:
        """Release connections. Not needed before a program ends."""
        self.engine.backend.close()

    async def aclose(self) -> None:
        """Release connections, those of the running loop as well."""
        await self.engine.release_async_backend()
        self.engine.backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<Stanchion {redacted(self.config.backend)} {self.config.namespace}, {len(self.tasks)} tasks>"
