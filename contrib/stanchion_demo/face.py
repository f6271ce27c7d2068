"""The output of the demo: a progress bar on a terminal, plain lines elsewhere, and the summary as tables."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from stanchion.cli.terminal import number, table
from stanchion.contract.answers import Counts
from stanchion.model.states import State
from stanchion_demo.kills import KillSummary
from stanchion_demo.report import Summary
from stanchion_demo.run import Show, ended

STEPS: Final = 4
"""How many lines show the progress where there is no terminal."""

CAUSES: Final = 10
"""How many causes of failure are named, the most frequent ones."""

_UNITS: Final = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


@contextmanager
def progress(drawn: Console, total: int) -> Iterator[Show]:
    """Show the progress of jobs while it is entered.

    Args:
        drawn: Where.

        total: How many jobs there are.
    """
    if not drawn.is_terminal or drawn.is_dumb_terminal:
        yield _Lines(drawn, total)
        return
    columns = (
        TextColumn("hashing"),
        BarColumn(bar_width=32, complete_style="green", finished_style="green"),
        TextColumn("{task.fields[done]} of {task.fields[total_text]} files"),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[detail]}"),
    )
    with Progress(*columns, console=drawn, transient=True) as bar:
        task = bar.add_task("", total=total, done=number(0), total_text=number(total), detail="")
        yield lambda counts, remark: bar.update(
            task, completed=ended(counts), done=number(ended(counts)), detail=_detail(counts, remark)
        )


class _Lines:
    """Prints a line for each quarter of the jobs that is done."""

    def __init__(self, drawn: Console, total: int) -> None:
        self._drawn, self._total, self._step = drawn, total, 0

    def __call__(self, counts: Counts, remark: str) -> None:
        done = ended(counts)
        step = STEPS * done // self._total if self._total else STEPS
        if step > self._step:
            self._step = step
            behind = f", {remark}" if remark else ""
            self._drawn.print(f"{number(done)} of {number(self._total)} files{behind}")


def _detail(counts: Counts, remark: str) -> str:
    shown = (State.QUEUED, State.RUNNING, State.RETRYING, State.FAILED)
    parts = [f"{number(counts[state])} {state}" for state in shown if counts[state]]
    return ", ".join([*parts, remark] if remark else parts)


def draw(drawn: Console, summary: Summary) -> None:
    """Print the summary.

    Args:
        drawn: Where.

        summary: What the run came to.
    """
    drawn.print()
    _draw_totals(drawn, summary)
    if isinstance(summary, KillSummary):
        _draw_kills(drawn, summary)
    _draw_slowest(drawn, summary)
    _draw_tasks(drawn, summary)
    _draw_failures(drawn, summary)


def _draw_totals(drawn: Console, summary: Summary) -> None:
    grid = _facts()
    fresh = summary.completed + len(summary.failures) - summary.earlier
    earlier = f", {number(summary.earlier)} of them by an earlier run" if summary.earlier else ""
    grid.add_row("files", number(summary.files), f"{number(summary.completed)} read{earlier}")
    grid.add_row("lines", number(summary.lines), "")
    grid.add_row("bytes", size(summary.bytes), "")
    speed = f"{number(round(fresh / summary.seconds))} files a second" if fresh else ""
    if isinstance(summary, KillSummary):
        speed = f"each file was held {span(summary.pace)} longer than reading it took, so that this lasts"
    grid.add_row("time", f"{summary.seconds:.1f} s", speed)
    drawn.print(grid)


def _draw_kills(drawn: Console, summary: KillSummary) -> None:
    drawn.print()
    grid = _facts()
    grid.add_row("enqueued", number(summary.enqueued), "")
    grid.add_row("completed", number(summary.completed), "")
    grid.add_row(
        "kills", number(summary.kills), f"{number(summary.held)} jobs were being run by the killed workers"
    )
    again = f"that is {number(summary.extra_starts)} starts beyond each job's first"
    grid.add_row("run more than once", number(summary.run_again), again)
    lost = "not accounted for" if summary.lost else "every file of the directory is accounted for"
    grid.add_row("lost", number(len(summary.lost)), lost, style="bold red" if summary.lost else None)
    books = "moves in minus moves out are the jobs there, in every state"
    grid.add_row(
        "ledger",
        number(summary.ledger.moves),
        f"moves, balanced: {books}" if summary.ledger.balanced else "moves, NOT balanced",
        style=None if summary.ledger.balanced else "bold red",
    )
    if one := summary.recovery:
        times = f"{span(one.least)} to {span(one.most)} from a kill to the next start of a job it hit"
        grid.add_row("recovery", span(one.median), f"median; {times}")
    drawn.print(grid)


def _facts() -> Table:
    """Return an empty table of single figures: what, how many, and a remark."""
    grid = table("", "", "")
    grid.show_header = False
    grid.columns[2].justify = "left"
    grid.columns[2].style = "dim"
    return grid


def _draw_slowest(drawn: Console, summary: Summary) -> None:
    if summary.slowest:
        drawn.print()
        grid = table("slowest files", "time", "size", "lines")
        for one in summary.slowest:
            grid.add_row(shortened(one.path), span(one.seconds), size(one.size), number(one.lines))
        drawn.print(grid)


def _draw_tasks(drawn: Console, summary: Summary) -> None:
    if summary.tasks:
        drawn.print()
        grid = table("task", "starts", "completed", "failed", "retrying", "lost", "mean", "longest")
        for name, one in summary.tasks.items():
            counts = (one.starts, one.completed, one.failed, one.retrying, one.lost)
            grid.add_row(name, *map(number, counts), *map(span, (one.mean, one.longest)))
        drawn.print(grid)


def _draw_failures(drawn: Console, summary: Summary) -> None:
    rows = [*summary.causes[:CAUSES]]
    rows += [("no job: deleted meanwhile", len(summary.missing), name) for name in summary.missing[:1]]
    rows += [("cannot be listed", len(summary.unlisted), name) for name in summary.unlisted[:1]]
    if rows:
        drawn.print()
        grid = table("not read", "files", "such as")
        grid.columns[2].justify = "left"
        for cause, count, example in rows:
            grid.add_row(cause, number(count), shortened(example), style="yellow")
        drawn.print(grid)


def size(value: float) -> str:
    """Return a number of bytes as text, in a fitting unit.

    Args:
        value: Bytes.

    Returns:
        Such as `1.2 MB`.
    """
    if value < 1000:
        return f"{value:.0f} B"
    unit = next((unit for unit in _UNITS if value < 1000 * _UNITS[unit]), "TB")
    return f"{value / _UNITS[unit]:.1f} {unit}"


def span(value: float | timedelta) -> str:
    """Return a duration as text, in a fitting unit.

    Args:
        value: Seconds or a timedelta.

    Returns:
        Such as `5.3 ms`.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"


def shortened(path: str, most: int = 48) -> str:
    """Return a path that fits into a column.

    Args:
        path: The path.

        most: How many characters it may have.

    Returns:
        The path, without its beginning if it is longer.
    """
    return path if len(path) <= most else f"…{path[1 - most :]}"
