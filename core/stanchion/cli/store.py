"""The options that say which store a command looks at, and the application that opens it."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import click

from stanchion.app.application import Stanchion
from stanchion.contract.backend import Backend
from stanchion.errors import ConfigError

F = TypeVar("F", bound=Callable[..., Any])

BACKEND: Final = click.option(
    "--backend", metavar="URL", help="Where jobs are kept, such as redis://localhost; else STANCHION_BACKEND."
)
NAMESPACE: Final = click.option(
    "--namespace", metavar="NS", help="What sets this application's queues apart from others in the store."
)
AS_JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def store_options(command: F) -> F:
    """Give a command the options that name a store."""
    return BACKEND(NAMESPACE(command))


def refuse_local(backend: Backend, command: str) -> None:
    """Refuse a store that no other process can see.

    Raises:
        ConfigError: It lives in this process alone.
    """
    if backend.limits.local:
        raise ConfigError(
            f"stanchion {command} needs a backend that several processes share, and {type(backend).__name__} "
            "lives in one: name another with --backend or STANCHION_BACKEND"
        )


@contextmanager
def opened(backend: str | None, namespace: str | None, command: str) -> Iterator[Stanchion]:
    """An application without tasks and plugins, for looking at a store.

    Raises:
        ConfigError: The store cannot be used, or lives in this process alone.
    """
    log = logging.getLogger("stanchion")
    before = log.level
    log.setLevel(logging.ERROR)  # warnings about a store concern those who run jobs, not those who look
    try:
        with Stanchion(backend, namespace=namespace, plugins=()) as app:
            refuse_local(app.engine.backend, command)
            yield app
    finally:
        log.setLevel(before)
