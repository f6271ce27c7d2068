"""`stanchion worker`: run an application's jobs."""

import logging
import sys
from typing import Final

import click

from stanchion.app.application import Stanchion
from stanchion.app.importing import application
from stanchion.cli.store import refuse_local, store_options
from stanchion.errors import ConfigError, StanchionError
from stanchion.errors.logs import logger

_log: Final = logger("stanchion.worker")

FORMAT: Final = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
"""How a line of the log looks; lines name jobs, tasks and what handlers raised, never arguments or results."""


@click.command()
@click.option(
    "--app",
    "where",
    metavar="MODULE:ATTRIBUTE",
    required=True,
    help="Run the jobs of this application. Its module is imported, so its code is run.",
)
@click.option(
    "--app-dir",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, resolve_path=True),
    help="Look for the module in this directory as well [default: the import path only].",
)
@click.option(
    "--queues", metavar="A,B", help="Queues to serve, in order [default: those of the app's tasks]."
)
@click.option(
    "--concurrency",
    metavar="N",
    type=click.IntRange(1, 10_000),
    help="Run this many jobs at a time [default: the app's setting, else 10].",
)
@click.option("--burst", is_flag=True, help="Stop when there is nothing left to do.")
@store_options
@click.option("-v", "--verbose", is_flag=True, help="Log details as well.")
def worker(
    *,
    where: str,
    app_dir: str | None,
    queues: str | None,
    concurrency: int | None,
    burst: bool,
    verbose: bool,
    backend: str | None,
    namespace: str | None,
) -> None:
    """Run the jobs of an application until stopped.

    SIGTERM, SIGHUP or Ctrl-C: no new job is started, running ones get their grace, what is left is handed back. A
    second one ends the grace. Options given here override the application's settings. The log goes to standard error.
    """
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, format=FORMAT)
    with loaded(where, app_dir).override(backend, namespace=namespace, concurrency=concurrency) as app:
        refuse_local(app.engine.backend, "worker")
        _work(app, _names(queues), burst=burst)


def loaded(where: str, app_dir: str | None) -> Stanchion:
    """Return the application that `module:attribute` names.

    Args:
        where: The name.

        app_dir: A directory to look in as well.

    Returns:
        The application.

    Raises:
        click.BadParameter: There is no such module or attribute, or it is not an application.
    """
    if app_dir is not None:
        sys.path.insert(0, app_dir)
    try:
        return application(where, "--app-dir DIR adds a directory")
    except ConfigError as error:
        raise click.BadParameter(str(error), param_hint="--app") from error


def _names(queues: str | None) -> list[str] | None:
    return None if queues is None else [name.strip() for name in queues.split(",") if name.strip()]


def _work(app: Stanchion, queues: list[str] | None, *, burst: bool) -> None:
    from stanchion.worker import Worker
    from stanchion.worker.leaving import leave
    from stanchion.worker.signals import StopSignals

    runner = Worker(app, queues=queues, burst=burst)
    runner.run()
    if not runner.stuck and not runner.unrecorded:
        return
    with StopSignals(
        lambda: None
    ):  # the end has come; one more signal must not keep jobs from being handed back
        try:
            runner.abandon()
        except StanchionError as error:
            _log.error("could not hand back jobs: %s; they run again when their leases end", error)
        if runner.stuck:
            _log.warning("handed back jobs whose handlers did not end: %s", ", ".join(runner.stuck))
            leave(0)
