"""Batches: what is too much for one call of a backend, split."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from stanchion.contract.backend import Limits
from stanchion.model.changes import Change
from stanchion.model.records import Item

_E = TypeVar("_E")


def item_size(item: Item) -> int:
    """Return how many bytes an item brings.

    Args:
        item: The item.

    Returns:
        Bytes.
    """
    return len(item.args)


def change_size(change: Change) -> int:
    """Return how many bytes a change brings.

    Args:
        change: The change.

    Returns:
        Bytes.
    """
    size = 0
    for note in change.move.notes.values():
        if type(note) is bytes:
            size += len(note)
    for entry in change.move.append.values():
        size += len(entry)
    return size


def batches(items: Iterable[_E], limits: Limits, size: Callable[[_E], int]) -> Iterable[list[_E]]:
    """Split what is too much for one call, by number and by bytes.

    Args:
        items: What to send.

        limits: How much one call may carry.

        size: Returns the bytes of one of them.

    Returns:
        Batches in the same order; one that is too large for any call goes alone.
    """
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
