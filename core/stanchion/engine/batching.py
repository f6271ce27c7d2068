"""Batches: what is too much for one call of a backend, split."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from stanchion.contract.backend import Limits
from stanchion.model.changes import Change
from stanchion.model.records import Item

_E = TypeVar("_E")


def item_size(item: Item) -> int:
    """Return how many bytes an item brings."""
    return len(item.spec)


def change_size(change: Change) -> int:
    """Return how many bytes a change brings."""
    size = 0
    for note in change.move.notes.values():
        if type(note) is bytes:
            size += len(note)
    for entry in change.move.append.values():
        size += len(entry)
    return size


def batches(items: Iterable[_E], limits: Limits, size: Callable[[_E], int]) -> Iterable[list[_E]]:
    """Split what is too much for one call: too many, or too many bytes. One is never too much."""
    batch: list[_E] = []
    total, most, room = 0, limits.batch, limits.bytes
    for item in items:
        one = size(item)
        total += one
        if batch and (len(batch) == most or total > room):
            yield batch
            batch, total = [], one
        batch.append(item)
    if batch:
        yield batch
