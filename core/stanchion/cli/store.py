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
    "--backend",
    metavar="URL",
    help="Use this store, such as redis://localhost [default: STANCHION_BACKEND, else as configured].",
)
NAMESPACE: Final = click.option(
    "--namespace",
    metavar="NS",
    help="Use the queues of this namespace [default: STANCHION_NAMESPACE, else as configured].",
)
AS_JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def store_options(command: F) -> F:
    """Give a command the options that name a store.

    Args:
        command: The command's function.

    Returns:
        The same function, decorated.
    """
    return BACKEND(NAMESPACE(command))


def refuse_local(backend: Backend, command: str) -> None:
    """Refuse a store that no other process can see.

    Args:
        backend: The store.

        command: The command's name, for the error.

    Raises:
        ConfigError: It exists in this process only.
    """
    if backend.limits.local:
        raise ConfigError(
            f"cannot use {type(backend).__name__} for stanchion {command}: it exists in one process only; "
            "name another backend with --backend or STANCHION_BACKEND"
        )


@contextmanager
def opened(backend: str | None, namespace: str | None, command: str) -> Iterator[Stanchion]:
    """Open an application without tasks and plugins, to look at a store.

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
