"""Batches: what is too much for one call of a backend, split."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from stanchion.backend import Limits
from stanchion.changes import Change
from stanchion.jobs import Item

_E = TypeVar("_E")


def item_size(item: Item) -> int:
    """How many bytes an item brings."""
    return len(item.spec)


def change_size(change: Change) -> int:
    """How many bytes a change brings."""
    notes, append = change.move.notes.values(), change.move.append.values()
    return sum(len(value) for value in notes if isinstance(value, bytes)) + sum(map(len, append))


def batches(items: Iterable[_E], limits: Limits, size: Callable[[_E], int]) -> Iterable[list[_E]]:
    """Split what is too much for one call: too many, or too many bytes. One is never too much."""
    batch: list[_E] = []
    total = 0
    for item in items:
        total += size(item)
        if batch and (len(batch) == limits.batch or total > limits.bytes):
            yield batch
            batch, total = [], size(item)
        batch.append(item)
    if batch:
        yield batch
