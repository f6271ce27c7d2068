"""Factories: items, claims, changes and jobs in any state, with only what a test cares about spelled out."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from itertools import count
from typing import Any, Final

from msgspec.structs import replace

from stanchion.codec.specs import encode_args, encode_policy
from stanchion.contract.answers import Claimed, Counts, Inserted
from stanchion.contract.backend import Backend
from stanchion.contract.requests import Apply, Claim, Configure, Count, Get, Insert
from stanchion.model.changes import Applied, Change, Move, Refused
from stanchion.model.policies import Policy
from stanchion.model.records import Head, Item, Record, head_of
from stanchion.model.states import FIRST, MOVES, ROWS, Event, State

QUEUE: Final = "mail"
"""The queue of jobs whose queue does not matter."""

LEASE: Final = timedelta(seconds=30)
"""The lease of claims whose lease does not matter."""

WAIT: Final = timedelta(minutes=5)
"""The deadline of waiting jobs whose deadline does not matter."""

POLICY: Final = Policy()
"""The policy of jobs whose policy does not matter."""

ARGS: Final = encode_args(b"{}")
"""The arguments of jobs whose arguments do not matter."""

_numbers: Final = count(1)


def an_item(key: str = "a", *, queue: str = QUEUE, state: State = State.QUEUED, **given: Any) -> Item:
    """Return a job to insert.

    Args:
        key: Its key.

        queue: Its queue.

        state: The state it is created in.

        given: Other fields of it.

    Returns:
        The item; one that is created running has a claim of its own.
    """
    usual: dict[str, Any] = {"id": f"{queue}:{key}", "task": "greet", "state": state, "args": ARGS}
    if state is State.RUNNING:
        usual |= {"due": LEASE, "claim": f"claim-{next(_numbers)}", "worker": "worker"}
    elif state is not State.QUEUED:
        usual["due"] = WAIT
    if isinstance(given.get("policy"), Policy):
        given["policy"] = encode_policy(given["policy"])
    return Item(**{**usual, **given})


def items(keys: Iterable[str], **given: Any) -> list[Item]:
    """Return jobs to insert that differ in their keys.

    Returns:
        An item for each key.
    """
    return [an_item(key, **given) for key in keys]


def inserted(backend: Backend, *made: Item) -> list[Inserted]:
    """Insert jobs, in batches if they are many.

    Returns:
        An answer for each job.
    """
    size = backend.limits.batch
    return [one for at in range(0, len(made), size) for one in backend.insert(Insert(made[at : at + size]))]


def a_claim(backend: Backend, *queues: str, limit: int | None = None, **given: Any) -> Claimed:
    """Claim as many jobs as one call may, or up to the limit.

    Returns:
        The answer of the backend.
    """
    usual: dict[str, Any] = {
        "queues": queues or (QUEUE,),
        "limit": backend.limits.batch if limit is None else limit,
        "claim_id": f"claim-{next(_numbers)}",
        "worker": "worker",
        "lease": LEASE,
    }
    return backend.claim(Claim(**{**usual, **given}))


def keys_of(heads: Iterable[Head | None]) -> list[str]:
    """Return the keys of jobs, for comparing.

    Returns:
        The keys, in the order of the heads; without those that are `None`.
    """
    return [key_of(head) for head in heads if head is not None]


def key_of(head: Head) -> str:
    """Return the key of a job.

    Returns:
        What stands behind the colon of its id.
    """
    return head.id.partition(":")[2]


def a_change(
    found: Head,
    to: State | None,
    *,
    event: Event | None = None,
    guards: Mapping[str, Any] | None = None,
    **move: Any,
) -> Change:
    """Return a raw change of a job found.

    Args:
        found: The job.

        to: Where it goes.

        event: What happened to it; defaults to one that can lead there.

        guards: Other guards than the state that it was found in.

        move: The fields of the move.

    Returns:
        The change.
    """
    named = {"state": found.state, **(guards or {})}
    event = event or event_to(named["state"], to)
    is_row = (named["state"], event, to) in ROWS
    assert is_row or to is named["state"], f"{named['state']}, {event} -> {to} is no row of the table"
    return Change(job_id=found.id, event=event, move=Move(to=to, **move), **named)


def bare(record: Record) -> Record:
    """Return a job without its lists, which the answer to a claim may leave out.

    Returns:
        A copy.
    """
    return replace(record, lists={})


def event_to(state: State, to: State | None) -> Event:
    """Return an event that can lead from one state to another.

    Returns:
        The event; one that is not counted if no event leads there.
    """
    return next((event for event, targets in MOVES[state].items() if to in targets), Event.UPDATE)


def change(backend: Backend, found: Head, to: State | None, **given: Any) -> Applied | Refused:
    """Make one raw change.

    Returns:
        The answer of the backend.
    """
    (answer,) = backend.apply(Apply([a_change(found, to, **given)]))
    return answer


def applied_all(backend: Backend, changes: Iterable[Change]) -> list[Applied | Refused]:
    """Make changes, in batches if they are many.

    Returns:
        An answer for each change.
    """
    made, size = list(changes), backend.limits.batch
    return [one for at in range(0, len(made), size) for one in backend.apply(Apply(made[at : at + size]))]


def the(backend: Backend, key: str = "a", queue: str = QUEUE) -> Record:
    """Return a job that must be there.

    Returns:
        Its record.
    """
    (found,) = backend.get(Get([f"{queue}:{key}"]))
    assert found is not None, f"{queue}:{key} is absent"
    return found


def created(backend: Backend) -> Inserted:
    """Return the answer to an item whose job was made at this instant.

    Returns:
        The answer, without a head.
    """
    return Inserted(True, None, backend.now())


def there(backend: Backend, key: str = "a", queue: str = QUEUE) -> Inserted:
    """Return the answer to an item for which there was this job already.

    Returns:
        The answer, with the head of that job.
    """
    return Inserted(False, head_of(the(backend, key, queue)), backend.now())


def counts_of(backend: Backend, queue: str = QUEUE, **given: Any) -> Counts:
    """Return how many jobs of a queue are in each state.

    Returns:
        The counts by state.
    """
    return backend.count(Count([queue], **given))[queue]


def pause(backend: Backend, queue: str = QUEUE, *, paused: bool = True) -> None:
    """Pause a queue, or resume it."""
    backend.configure(Configure(queue=queue, set={"paused": paused}))


def taken(
    backend: Backend, key: str = "a", *, queue: str = QUEUE, lease: timedelta = LEASE, **given: Any
) -> Record:
    """Insert a job, and claim it.

    Returns:
        Its record.
    """
    inserted(backend, an_item(key, queue=queue, **given))
    claimed = a_claim(backend, queue, limit=1, lease=lease)
    assert keys_of(claimed.records) == [key]
    return claimed.records[0]


def in_states(
    backend: Backend, states: Mapping[str, State], queue: str = QUEUE, **given: Any
) -> dict[str, Record]:
    """Return new jobs by key, each brought into its state by claims and raw changes.

    Args:
        backend: Where they are made.

        states: The state of each, by its key.

        queue: Their queue, which must have no queued jobs.

        given: Other fields of the items.

    Returns:
        The jobs as they can be read.
    """
    started = [key for key, state in states.items() if state is State.RUNNING or state not in FIRST]
    inserted(backend, *items(started, queue=queue, **given))
    for _ in range(0, len(started), backend.limits.batch):
        claimed = a_claim(backend, queue).records
        ended = (one for one in claimed if states[key_of(one)] is not State.RUNNING)
        ends = (a_change(one, states[key_of(one)], guards={"claim": one.claim}, due=WAIT) for one in ended)
        applied_all(backend, ends)
    waiting = {key: state for key, state in states.items() if key not in started}
    inserted(backend, *(an_item(key, queue=queue, state=state, **given) for key, state in waiting.items()))
    found = {key: the(backend, key, queue) for key in states}
    assert {key: one.state for key, one in found.items()} == dict(states)
    return found
