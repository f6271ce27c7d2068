"""`stanchion show`: everything that is known of one job."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import click
import msgspec

from stanchion.app.jobs import Job
from stanchion.cli.store import AS_JSON, opened, store_options
from stanchion.cli.terminal import json_text, say
from stanchion.codec.payloads import Unreadable, decode
from stanchion.codec.specs import decode_args, decode_policy
from stanchion.model.history import Failure, HistoryEntry
from stanchion.model.records import Record
from stanchion.model.states import FINAL, State

_PAYLOADS: Final = ("arguments", "result", "saved")
"""What a job carries for its handler; it may be confidential, so each is shown on request only."""

_DUE: Final[Mapping[State, str]] = {
    State.BLOCKED: "looks again",
    State.SCHEDULED: "starts",
    State.RETRYING: "starts",
    State.RUNNING: "lease ends",
    **dict.fromkeys(FINAL, "deleted"),
}


@click.command()
@click.argument("job_id")
@store_options
@click.option("--arguments", is_flag=True, help="Show the arguments [default: only their size].")
@click.option("--result", is_flag=True, help="Show the result [default: only its size].")
@click.option("--saved", is_flag=True, help="Show what the handler saved [default: only its size].")
@click.option("-v", "--verbose", is_flag=True, help="Show the tracebacks of errors.")
@AS_JSON
def show(
    job_id: str, backend: str | None, namespace: str | None, *, verbose: bool, as_json: bool, **payloads: bool
) -> None:
    """Show a job: its state, times, progress, errors, history and log.

    Control characters in stored text are escaped.
    """
    with opened(backend, namespace, "show") as app:
        found = described(app.job(job_id), [name for name in _PAYLOADS if payloads[name]], verbose=verbose)
    if as_json:
        click.echo(json_text(found))
    else:
        _draw(found)


def described(job: Job[Any], wanted: list[str], *, verbose: bool) -> dict[str, Any]:
    """Return a job as JSON's types.

    Args:
        job: The job, as read.

        wanted: Which of its payloads to include; of the others only the sizes.

        verbose: Include the tracebacks of errors.

    Returns:
        What is known of the job, by name.
    """
    record = job.record
    assert record is not None, "it was read, not just enqueued"
    return {
        "job": job.id,
        "task": job.task,
        "state": job.state.value,
        "attempts": job.attempts,
        "attempts_allowed": _or_none(lambda: decode_policy(record.policy).retries + 1),
        "runs": record.run,
        **{counter: record.count(counter) for counter in ("lost", "released", "snoozed")},
        "priority": job.priority,
        "tags": list(job.tags),
        "worker": record.worker,
        **_times(record),
        "cancel_requested": None if record.cancel is None else record.cancel.reason,
        "progress": _or_none(lambda: msgspec.to_builtins(job.progress)),
        "payloads": {name: _payload(record, name, wanted=name in wanted) for name in _PAYLOADS},
        "errors": [_error(at, one, verbose=verbose) for at, one in _entries(record, "errors", Failure)],
        "history": [_history(at, one) for at, one in _entries(record, "history", HistoryEntry)],
        "log": job.log,
    }


def _times(record: Record) -> dict[str, str | None]:
    names = ("created_at", "started_at", "ended_at", "due_at")
    return {name: _at(getattr(record, name)) for name in names}


def _at(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat(sep=" ", timespec="milliseconds")


def _text(stored: bytes | None) -> str | None:
    return None if stored is None else stored.decode("utf-8", "replace")


def _or_none(read: Any) -> Any:
    try:
        return read()
    except Unreadable:
        return None


def _payload(record: Record, name: str, *, wanted: bool) -> dict[str, Any] | None:
    """Return a payload's size, and the payload if it is wanted and can be read; `None` if it does not exist."""
    stored = _arguments(record) if name == "arguments" else record.notes.get(name)
    if stored is None:
        return None
    return {"bytes": len(stored), **({"value": _or_none(lambda: decode(stored))} if wanted else {})}


def _arguments(record: Record) -> bytes | None:
    return _or_none(lambda: bytes(decode_args(record.args)))  # type: ignore[no-any-return]  # bytes, or `None`


def _entries(record: Record, name: str, kind: type[Any]) -> Iterator[tuple[str | None, Any]]:
    for entry in record.lists.get(name, ()):
        if (one := _or_none(lambda data=entry.data: decode(data, kind))) is not None:
            yield _at(entry.at), one


def _error(at: str | None, failure: Failure, *, verbose: bool) -> dict[str, Any]:
    trace = {"traceback": failure.traceback} if verbose else {}
    return {"at": at, "run": failure.run, "type": failure.type, "message": failure.message, **trace}


def _history(at: str | None, one: HistoryEntry) -> dict[str, Any]:
    return {"at": at, "run": one.run, "event": one.event, "to": one.to, "reason": one.reason}


def _draw(found: Mapping[str, Any]) -> None:
    for name, value in _facts(found):
        say(str(value), label=f"{name:<12}")
    for title in ("errors", "history", "log"):
        if found[title]:
            click.echo(f"\n{click.style(title, bold=True)}")
            for entry in found[title]:
                for line in _ENTRY[title](entry):
                    say(line, label="  ")


def _facts(found: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield from ((name, found[name]) for name in ("job", "task", "state"))
    yield "attempts", f"{found['attempts']} of {found['attempts_allowed'] or 'an unreadable number'}"
    counters = [f"{found[name]} {name}" for name in ("lost", "released", "snoozed") if found[name]]
    yield "runs", f"{found['runs']}{' (' if counters else ''}{', '.join(counters)}{')' if counters else ''}"
    yield "priority", found["priority"]
    if found["tags"]:
        yield "tags", " ".join(found["tags"])
    if found["worker"]:
        yield "worker", found["worker"]
    for name in ("created", "started", "ended"):
        if found[f"{name}_at"]:
            yield name, found[f"{name}_at"]
    if found["due_at"]:
        yield _DUE.get(State(found["state"]), "due"), found["due_at"]
    if found["cancel_requested"] is not None:
        yield "cancel", f"requested {found['cancel_requested']}".rstrip()
    if found["progress"]:
        yield "progress", f"{found['progress']['done']:.0%} {found['progress'].get('message', '')}".rstrip()
    for name, payload in found["payloads"].items():
        if payload is not None:
            yield name, _payload_text(name, payload)


def _payload_text(name: str, payload: Mapping[str, Any]) -> str:
    if "value" in payload:
        return msgspec.json.encode(payload["value"]).decode()
    return f"{payload['bytes']} bytes, shown with --{name}"


def _error_lines(one: Mapping[str, Any]) -> list[str]:
    head = f"{one['at']}  run {one['run']}  {one['type']}: {one['message']}".rstrip(": ")
    return [head, *(f"  {line}" for line in one.get("traceback", "").splitlines())]


def _history_lines(one: Mapping[str, Any]) -> list[str]:
    return [f"{one['at']}  run {one['run']}  {one['event']} → {one['to']}  {one['reason']}".rstrip()]


_ENTRY: Final[Mapping[str, Any]] = {
    "errors": _error_lines,
    "history": _history_lines,
    "log": lambda line: [line],
}
