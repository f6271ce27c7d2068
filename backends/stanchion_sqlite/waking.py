"""Which wakes of queues this process has acted on."""

from collections.abc import Iterable, Sequence

from stanchion_sqlite.news import Bell
from stanchion_sqlite.queues import QueueRow
from stanchion_sqlite.rows import Row


class Wakes:
    """What the waits of one backend have in common.

    Args:
        bell: Rings for those who wait in this process.
    """

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self._acted_on: dict[int, int] = {}
        """How often queues had been woken when this process last claimed from them, or woke a waiter."""
        self._moved: set[str] = set()
        """Queues for which an injected clock was moved."""

    def clock_moved(self, queues: Iterable[str]) -> None:
        """Wake who waits for these queues: jobs may be due."""
        self._moved.update(queues)
        self._bell.ring()

    def came(self, queues: Sequence[str], rows: Iterable[Row]) -> bool:
        """Return whether queues were woken since this process last acted on them; the caller acts now.

        Args:
            queues: The names of the queues.

            rows: Their numbers, and how often they were woken.

        Returns:
            `True` if one was.
        """
        moved = self._moved.intersection(queues)
        self._moved -= moved
        woken = [(queue, wakes) for queue, wakes in rows if wakes and wakes != self._acted_on.get(queue)]
        self._acted_on.update(woken)
        return bool(moved or woken)

    def act_on(self, queues: Iterable[QueueRow]) -> None:
        """Note that this process claimed from queues."""
        self._acted_on.update((queue.id, queue.wakes) for queue in queues)

    def pass_on(self, queues: Iterable[QueueRow]) -> None:
        """Wake whoever waits next in this process: there is more to claim."""
        for queue in queues:
            self._acted_on.pop(queue.id, None)
            self._bell.ring()
