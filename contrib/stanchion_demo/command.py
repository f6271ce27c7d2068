"""`stanchion demo`: real work on real files, from enqueuing to a summary of the stored results."""

import os
import sys
import sysconfig
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

import click

from stanchion.cli.store import AS_JSON, BACKEND
from stanchion.cli.terminal import console, json_text, number
from stanchion.contract.opening import redacted
from stanchion.errors import StanchionError
from stanchion.errors.texts import shown

if TYPE_CHECKING:
    from stanchion.app.application import Stanchion
    from stanchion_demo.report import Summary
    from stanchion_demo.run import Show

STOPPED: Final = 130
"""The exit code of a run that Ctrl-C stopped: 128 and the signal's number, as shells have it."""


class Run(Protocol):
    """A run of the demo, in this process or in several."""

    @property
    def manner(self) -> str:
        """How the files are read, for the first line of output."""
        ...

    @property
    def hint(self) -> str:
        """What to do after a stop, for the last line of output."""
        ...

    def work(self, show: "Show") -> bool:
        """Work until every job is final, or SIGINT or SIGTERM stops it.

        Args:
            show: Shows the progress.

        Returns:
            `True` if every job is final.
        """
        ...

    def hand_back(self) -> int:
        """Hand back every job that is held, after a stop.

        Returns:
            How many jobs are final.
        """
        ...

    def summary(self) -> "Summary":
        """Return the summary of the run.

        Returns:
            All files, accounted for.
        """
        ...


@click.command()
@click.argument(
    "directory",
    required=False,
    type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path),
)
@BACKEND
@click.option(
    "--concurrency",
    metavar="N",
    type=click.IntRange(1, 10_000),
    help="Files to read at a time, in each process [default: 10].",
)
@click.option("--kill", is_flag=True, help="Work in several processes, and kill one of them every second.")
@click.option("--workers", metavar="N", type=click.IntRange(1, 64), help="Processes of --kill [default: 3].")
@click.option(
    "--pace",
    metavar="MS",
    type=click.IntRange(0, 10_000),
    help="Milliseconds for which --kill holds each file after reading it [default: such that the work lasts for 10 s].",
)
@AS_JSON
def demo(
    *,
    directory: Path | None,
    backend: str | None,
    concurrency: int | None,
    kill: bool,
    workers: int | None,
    pace: int | None,
    as_json: bool,
) -> None:
    """Hash every file below a directory [default: Python's standard library], one job for each.

    A job reads its file and records SHA-256, size and number of lines; the summary is made from these stored
    results. __pycache__ and site-packages are left out.

    The jobs are kept in jobs.db in the working directory, or where the configuration or --backend says. They
    outlive this process: if a run was stopped or killed, the next one on the same directory continues it.
    Records are kept for a day.

    With --kill, several processes share the work, one of them is killed with SIGKILL every second and replaced, and
    the summary shows how many jobs were run again, how soon, that none is lost, and that the queue's ledger balances.
    Each such run starts over.

    Exit codes: 0 if every file is accounted for, those that could not be read included; 1 if not; 130 after Ctrl-C.
    """
    if not kill and (workers, pace) != (None, None):
        raise click.UsageError("--workers and --pace need --kill")
    place = directory or Path(sysconfig.get_paths()["stdlib"]).resolve()
    try:
        begun = (
            _killing(place, backend, concurrency, workers, pace)
            if kill
            else _plain(place, backend, concurrency)
        )
        summary = _summary(*begun, place, quiet=as_json)
    except KeyboardInterrupt:  # before or after the run listened to it
        _leave("stopped: run the same command again")
    _report(summary, as_json=as_json)


def _plain(place: Path, backend: str | None, concurrency: int | None) -> "tuple[Stanchion, Run, int]":
    from stanchion_demo.run import DemoRun
    from stanchion_demo.tasks import demo_app, tree_of

    tree = tree_of(place)
    app, task = demo_app(place, backend, concurrency)
    return app, DemoRun(app, task, place, tree), len(tree.files)


def _killing(
    place: Path, backend: str | None, concurrency: int | None, workers: int | None, pace: int | None
) -> "tuple[Stanchion, Run, int]":
    from stanchion_demo.kill import WORKERS, KillRun, kill_app
    from stanchion_demo.tasks import tree_of

    tree = tree_of(place)
    app = kill_app(backend, concurrency)
    held = None if pace is None else timedelta(milliseconds=pace)
    return app, KillRun(app, place, tree, workers=workers or WORKERS, pace=held), len(tree.files)


def _summary(app: "Stanchion", run: Run, files: int, place: Path, *, quiet: bool) -> "Summary":
    with app:
        if not quiet:
            begin = f"{number(files)} files of {place}, {run.manner}"
            console().print(f"{begin}, {redacted(app.config.backend)}", soft_wrap=True)
        if not _work(run, files, quiet=quiet):
            _stop(run, files)
        return run.summary()


def _work(run: Run, files: int, *, quiet: bool) -> bool:
    if quiet:
        return run.work(lambda _counts, _remark: None)
    from stanchion_demo.face import progress

    with progress(console(), files) as show:
        return run.work(show)


def _report(summary: "Summary", *, as_json: bool) -> None:
    if as_json:
        import msgspec

        click.echo(json_text(msgspec.to_builtins(summary)))
    else:
        from stanchion_demo.face import draw

        draw(console(), summary)
    sys.exit(0 if summary.whole else 1)


def _stop(run: Run, files: int) -> NoReturn:
    try:
        done = run.hand_back()
    except StanchionError as error:
        _leave(
            f"stopped; could not hand back the files at hand, they wait for the end of their leases: {error}"
        )
    _leave(f"stopped, {number(done)} of {number(files)} files are done: {run.hint}")


def _leave(message: str) -> NoReturn:
    click.echo(shown(message), err=True)
    sys.stdout.flush()
    os._exit(STOPPED)  # a thread that hangs in a read must not keep a process whose jobs are handed back
