"""`stanchion info`: the queues, and how many jobs are in each state."""

from collections.abc import Mapping
from typing import Any, Final

import click

from stanchion.cli.store import AS_JSON, opened, store_options
from stanchion.cli.terminal import console, json_text, number, say, table
from stanchion.contract.answers import Counts
from stanchion.contract.capabilities import Quarantines
from stanchion.contract.opening import redacted
from stanchion.contract.requests import Count
from stanchion.engine.engine import Engine
from stanchion.engine.operations import Call, Steps
from stanchion.model.states import State

_ALWAYS: Final = (State.QUEUED, State.RUNNING, State.COMPLETED, State.FAILED)
"""The states whose columns are shown although no job is in them."""

_QUARANTINED: Final = "quarantined"
"""Records that cannot be read; see `stanchion check`."""


@click.command()
@store_options
@AS_JSON
def info(backend: str | None, namespace: str | None, *, as_json: bool) -> None:
    """Show the queues, and how many of their jobs are in each state.

    States that no job is in are left out, but for the most common ones; --json has all of them. Records that cannot be
    read are counted as quarantined, where there are any; `check` names them.
    """
    with opened(backend, namespace, "info") as app:
        rows = app.engine.call(_rows(app.engine))
        if as_json:
            click.echo(json_text({"queues": rows}))
        elif rows:
            _draw(rows)
        else:
            say(f"no queues in {redacted(app.config.backend)}, namespace {app.config.namespace}")


def _rows(engine: Engine) -> Steps[list[dict[str, Any]]]:
    settings = yield from engine.queues()
    counts: Mapping[str, Counts] = yield Call("count", (Count(list(settings)),))
    quarantined: Mapping[str, int] = {}
    if isinstance(engine.backend, Quarantines):
        quarantined = yield Call("quarantined", (list(settings),))
    return [
        {
            "queue": name,
            "paused": settings[name].paused,
            "jobs": {state.value: counts[name][state] for state in State},
            **({"quarantined": quarantined[name]} if quarantined.get(name) else {}),
        }
        for name in settings
    ]


def _draw(rows: list[dict[str, Any]]) -> None:
    states = [state for state in State if state in _ALWAYS or any(row["jobs"][state] for row in rows)]
    extra = [_QUARANTINED] if any(_QUARANTINED in row for row in rows) else []
    drawn = table("queue", "", *states, *extra, texts=2)
    for row in rows:
        numbers = [number(row["jobs"][state]) for state in states]
        numbers += [number(row.get(name, 0)) for name in extra]
        drawn.add_row(row["queue"], "paused" if row["paused"] else "", *numbers)
    console().print(drawn)
