"""`stanchion demo`: real work on real files, from enqueuing to a summary of the stored results."""

import os
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import click

from stanchion.cli.store import AS_JSON, BACKEND
from stanchion.cli.terminal import console, json_text, number, shown
from stanchion.config import redacted
from stanchion.errors import StanchionError

if TYPE_CHECKING:
    from stanchion.app import Stanchion
    from stanchion.cli.demo_report import Summary
    from stanchion.cli.demo_run import DemoRun

STOPPED: Final = 130
"""The exit code of a run that Ctrl-C stopped: 128 and the signal's number, as shells have it."""


@click.command()
@click.argument(
    "directory",
    required=False,
    type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path),
)
@BACKEND
@click.option("--concurrency", metavar="N", type=click.IntRange(1, 10_000), help="How many files at a time.")
@AS_JSON
def demo(directory: Path | None, backend: str | None, concurrency: int | None, *, as_json: bool) -> None:
    """Hash every file below a directory, one job for each.

    A job reads its file and records SHA-256, size and number of lines; the summary is made from these stored
    results. Unless a directory is named, it is Python's standard library. __pycache__ and site-packages are left
    out.

    The jobs are kept in jobs.db in the working directory, or wherever the configuration or --backend says. They
    outlive this process: a run that was stopped, or killed, is completed by the next one on the same directory.
    Records are kept for a day.

    Exit codes: 0 if every file is accounted for, those that could not be read included; 1 if not; 130 after Ctrl-C.
    """
    from stanchion.cli.demo_run import DemoRun
    from stanchion.cli.demo_tasks import demo_app, tree_of

    place = directory or Path(sysconfig.get_paths()["stdlib"]).resolve()
    try:
        tree = tree_of(place)
        app, task = demo_app(place, backend, concurrency)
        with app:
            run = DemoRun(app, task, place, tree)
            if not _work(run, app, place, len(tree.files), quiet=as_json):
                _stop(run, app, len(tree.files))
            summary = run.summary()
    except KeyboardInterrupt:  # before or after the worker listened to it
        _leave("stopped: run the same command again")
    _report(summary, as_json=as_json)


def _work(run: "DemoRun", app: "Stanchion", place: Path, files: int, *, quiet: bool) -> bool:
    if quiet:
        return run.work(lambda _: None)
    from stanchion.cli.demo_face import progress

    drawn = console()
    drawn.print(
        f"{number(files)} files of {shown(str(place))}, "
        f"{app.config.concurrency} at a time, {redacted(app.config.backend)}"
    )
    with progress(drawn, files) as show:
        return run.work(show)


def _report(summary: "Summary", *, as_json: bool) -> None:
    if as_json:
        import msgspec

        click.echo(json_text(msgspec.to_builtins(summary)))
    else:
        from stanchion.cli.demo_face import draw

        draw(console(), summary)
    sys.exit(0 if summary.whole else 1)


def _stop(run: "DemoRun", app: "Stanchion", files: int) -> NoReturn:
    try:
        done = run.hand_back()
    except StanchionError as error:
        _leave(f"stopped; the files at hand wait for the end of their leases: {shown(str(error))}")
    if app.engine.backend.limits.local:
        hint = "in memory they end with this process; with --backend sqlite:///jobs.db the next run goes on from here"
    else:
        hint = "run the same command again, and it goes on from here"
    _leave(f"stopped, {number(done)} of {number(files)} files are done: {hint}")


def _leave(message: str) -> NoReturn:
    click.echo(message, err=True)
    sys.stdout.flush()
    os._exit(STOPPED)  # a thread that hangs in a read must not keep a process whose jobs are handed back
