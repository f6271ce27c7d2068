"""`stanchion stats`: what happened in queues, by their ledgers."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, Final

import click

from stanchion.app.stats import Interval, QueueStats
from stanchion.cli.spans import Span
from stanchion.cli.store import AS_JSON, opened, store_options
from stanchion.cli.terminal import console, json_text, number, say, table
from stanchion.contract.opening import redacted
from stanchion.model.states import State

_SHOWN: Final = ("enqueued", "completed", "failed", "timed_out", "cancelled", "retrying", "lost")
"""The counts that have a column."""

_BARS: Final = "▁▂▃▄▅▆▇█"


@click.command()
@store_options
@AS_JSON
@click.option(
    "--since",
    type=Span(),
    default="24h",
    show_default=True,
    help="Look this far back, such as 15m, 24h or 7d; at most 90d.",
)
@click.option(
    "--step", type=Span(), help="Chart intervals of this length [default: 1/48 of the span or more]."
)
@click.argument("queues", nargs=-1, metavar="[QUEUE]...")
def stats(
    backend: str | None,
    namespace: str | None,
    queues: tuple[str, ...],
    since: timedelta,
    step: timedelta | None,
    *,
    as_json: bool,
) -> None:
    """Show what happened in queues [default: all], and how fast.

    Numbers come from the queues' ledgers, which count each change in the same step as it is made. `check`
    says whether ledgers and jobs agree.
    """
    with opened(backend, namespace, "stats") as app:
        found = [app.queue(name).stats(since, step=step) for name in queues or app.queues()]
        where = f"{redacted(app.config.backend)}, namespace {app.config.namespace}"
    if as_json:
        click.echo(json_text({"queues": [_as_json(one) for one in found]}))
    elif found:
        _draw(found)
    else:
        say(f"no queues in {where}")


def _as_json(one: QueueStats) -> dict[str, Any]:
    return {
        "queue": one.queue,
        "now": {state.value: one.now[state] for state in State},
        "latency": one.latency.total_seconds(),
        "total": _interval(one.total),
        "intervals": [_interval(part) for part in one.intervals],
    }


def _interval(part: Interval) -> dict[str, Any]:
    return {
        name: value.isoformat()
        if name in ("since", "until")
        else value.total_seconds()
        if isinstance(value, timedelta)
        else value
        for name in Interval.__struct_fields__
        for value in (getattr(part, name),)
    }


def _draw(found: Sequence[QueueStats]) -> None:
    columns = ("queue", *(name.replace("_", " ") for name in _SHOWN), "waited", "ran", "a second", "latency")
    drawn = table(*columns)
    for one in found:
        counts = [number(getattr(one.total, name)) for name in _SHOWN]
        times = [_seconds(one.total.waited), _seconds(one.total.ran)]
        rate = f"{one.total.rate('completed'):.3g}"
        drawn.add_row(one.queue, *counts, *times, rate, _seconds(one.latency))
    out = console()
    out.print(drawn)
    for one in found:
        out.print()
        for name in ("enqueued", "completed", "failed"):
            out.print(_chart(one, name))


def _chart(one: QueueStats, name: str) -> str:
    """Return one line: a bar for each interval, as high as its rate, and the highest rate."""
    rates = [part.rate(name) for part in one.intervals]
    highest = max(rates, default=0.0)
    return f"{one.queue} {name:<9} {_bars(rates, highest)} up to {highest:.3g}/s"


def _bars(rates: Iterable[float], highest: float) -> str:
    if not highest:
        return "".join(" " for _ in rates)
    return "".join(_BARS[min(7, int(8 * rate / highest))] if rate else " " for rate in rates)


def _seconds(span: timedelta | None) -> str:
    return "" if span is None else f"{span.total_seconds():.3g} s"
