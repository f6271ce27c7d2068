"""Factories: items, claims, changes and jobs in any state, with only what a test cares about spelled out."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from itertools import count
from typing import Any, Final

from stanchion.codec.payloads import encode_policy, encode_spec
from stanchion.contract.answers import Claimed, Inserted
from stanchion.contract.backend import Backend
from stanchion.model.changes import Applied, Change, Move, Refused
from stanchion.model.policies import Policy
from stanchion.model.records import Item, Record
from stanchion.model.states import FIRST, Event, State

QUEUE: Final = "mail"
"""The queue of jobs whose queue does not matter."""

LEASE: Final = timedelta(seconds=30)
"""The lease of claims whose lease does not matter."""

WAIT: Final = timedelta(minutes=5)
"""The clock of waiting jobs whose clock does not matter."""

POLICY: Final = Policy()
"""The policy of jobs whose policy does not matter."""

_numbers: Final = count(1)


def spec_of(policy: Policy = POLICY) -> bytes:
    """The spec of a job without arguments."""
    return encode_spec(b"{}", encode_policy(policy))


def an_item(key: str = "a", *, queue: str = QUEUE, state: State = State.QUEUED, **given: Any) -> Item:
    """A job to insert."""
    if state is not State.QUEUED:
        given.setdefault("clock", WAIT)
    return Item(**{"id": f"{queue}:{key}", "task": "greet", "state": state, "spec": spec_of(), **given})


def items(keys: Iterable[str], **given: Any) -> list[Item]:
    """Jobs to insert that differ in their keys."""
    return [an_item(key, **given) for key in keys]


def inserted(backend: Backend, *made: Item) -> list[Inserted]:
    """Insert jobs, in batches if they are many."""
    size = backend.limits.batch
    return [one for at in range(0, len(made), size) for one in backend.insert(made[at : at + size])]


def a_claim(backend: Backend, *queues: str, limit: int | None = None, **given: Any) -> Claimed:
    """Claim as many as one call may, or up to the limit."""
    request: dict[str, Any] = {
        "claim_id": f"claim-{next(_numbers)}",
        "worker": "worker",
        "lease": LEASE,
        **given,
    }
    return backend.claim(
        queues or (QUEUE,), limit=backend.limits.batch if limit is None else limit, **request
    )


def keys_of(records: Iterable[Record | None]) -> list[str]:
    """The keys of jobs, for comparing."""
    return [record.id.partition(":")[2] for record in records if record is not None]


def a_change(
    found: Record,
    to: State | None,
    *,
    event: Event = Event.UPDATE,
    guards: Mapping[str, Any] | None = None,
    **move: Any,
) -> Change:
    """A raw change of a job found; every other argument is a field of the move."""
    named = {"state": found.state, **(guards or {})}
    return Change(job_id=found.id, event=event, move=Move(to=to, **move), **named)


def change(backend: Backend, found: Record, to: State | None, **given: Any) -> Applied | Refused:
    """Make one raw change."""
    (answer,) = backend.apply([a_change(found, to, **given)])
    return answer


def applied_all(backend: Backend, changes: Iterable[Change]) -> list[Applied | Refused]:
    """Make changes, in batches if they are many."""
    made, size = list(changes), backend.limits.batch
    return [one for at in range(0, len(made), size) for one in backend.apply(made[at : at + size])]


def the(backend: Backend, key: str = "a", queue: str = QUEUE) -> Record:
    """A job that must be there."""
    (found,) = backend.get([f"{queue}:{key}"])
    assert found is not None, f"{queue}:{key} is absent"
    return found


def taken(
    backend: Backend, key: str = "a", *, queue: str = QUEUE, lease: timedelta = LEASE, **given: Any
) -> Record:
    """A new job, claimed."""
    inserted(backend, an_item(key, queue=queue, **given))
    claimed = a_claim(backend, queue, limit=1, lease=lease)
    assert keys_of(claimed.records) == [key]
    return claimed.records[0]


def in_states(backend: Backend, states: Mapping[str, State], queue: str = QUEUE) -> dict[str, Record]:
    """New jobs by key, each put into its state by claims and raw changes; the queue must have no queued jobs."""
    started = [key for key, state in states.items() if state not in FIRST]
    inserted(backend, *items(started, queue=queue))
    for _ in range(0, len(started), backend.limits.batch):
        claimed = a_claim(backend, queue)
        applied_all(
            backend,
            (
                a_change(one, states[key], guards={"claim": one.claim}, clock=WAIT)
                for one in claimed.records
                if (key := one.id.partition(":")[2]) and states[key] is not State.RUNNING
            ),
        )
    inserted(
        backend, *(an_item(key, queue=queue, state=state) for key, state in states.items() if state in FIRST)
    )
    found = {key: the(backend, key, queue) for key in states}
    assert {key: one.state for key, one in found.items()} == dict(states)
    return found
