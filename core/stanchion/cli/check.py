"""`stanchion check`: what is damaged in a store."""

from collections.abc import Iterator

import click

from stanchion.cli.store import AS_JSON, opened, store_options
from stanchion.cli.terminal import json_text, say
from stanchion.contract.answers import Finding
from stanchion.contract.backend import Backend


@click.command()
@store_options
@AS_JSON
@click.argument("queues", nargs=-1, metavar="[QUEUE]...")
def check(backend: str | None, namespace: str | None, queues: tuple[str, ...], *, as_json: bool) -> None:
    """Look for damage in queues [default: all], such as records that cannot be read.

    Changes nothing. The status is 1 if something was found. A queue in use may show findings that are gone a moment
    later.
    """
    with opened(backend, namespace, "check") as app:
        store = app.engine.backend
        findings = [one for queue in queues or store.queues() for one in _walked(store, queue)]
    if as_json:
        named = [{"fault": one.fault, "where": one.where, "detail": one.detail} for one in findings]
        click.echo(json_text({"findings": named}))
    else:
        for one in findings:
            say(f"{one.where} is {one.fault}: {one.detail}")
    if findings:
        raise SystemExit(1)


def _walked(backend: Backend, queue: str) -> Iterator[Finding]:
    cursor: str | None = None
    while True:
        page = backend.check(queue, cursor)
        yield from page.findings
        cursor = page.cursor
        if cursor is None:
            return
