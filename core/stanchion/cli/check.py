"""`stanchion check`: what is damaged in a store."""

from collections.abc import Iterator

import click

from stanchion.cli.store import AS_JSON, opened, store_options
from stanchion.cli.terminal import json_text, number, say
from stanchion.contract.answers import Fault, Finding
from stanchion.contract.backend import Backend
from stanchion.contract.requests import Check, ReadLedger


@click.command()
@store_options
@AS_JSON
@click.argument("queues", nargs=-1, metavar="[QUEUE]...")
def check(backend: str | None, namespace: str | None, queues: tuple[str, ...], *, as_json: bool) -> None:
    """Look for damage in queues [default: all], such as records that cannot be read.

    For each queue and state, moves in minus moves out must be the jobs there: that nothing was lost is read from the
    queue's ledger. Changes nothing. The status is 1 if something was found. A queue in use may show findings that are
    gone a moment later; that its ledger is out of balance is not one of them.
    """
    with opened(backend, namespace, "check") as app:
        store = app.engine.backend
        names = queues or tuple(store.queues())
        findings = [one for queue in names for one in _walked(store, queue)]
        moves = {queue: _moves(store, queue) for queue in names}
    unbalanced = [one for one in findings if one.fault is Fault.UNBALANCED]
    if as_json:
        named = [{"fault": one.fault, "where": one.where, "detail": one.detail} for one in findings]
        click.echo(json_text({"findings": named, "moves": moves, "balanced": not unbalanced}))
    else:
        for one in findings:
            say(f"{one.where} is {one.fault}: {one.detail}")
        if moves and not unbalanced:
            total = number(sum(moves.values()))
            say(
                f"balanced: {total} moves; in every queue and state, moves in minus moves out are the jobs there"
            )
    if findings:
        raise SystemExit(1)


def _moves(backend: Backend, queue: str) -> int:
    return sum(tally.jobs for tally in backend.ledger(ReadLedger(queue=queue)).totals.values())


def _walked(backend: Backend, queue: str) -> Iterator[Finding]:
    cursor: str | None = None
    while True:
        page = backend.check(Check(queue, cursor))
        yield from page.findings
        cursor = page.cursor
        if cursor is None:
            return
