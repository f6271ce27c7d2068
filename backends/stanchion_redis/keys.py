"""The names of keys. They are built here and in `scripts/`, from the base key, and nowhere else."""

from collections.abc import Iterable, Sequence

from attrs import field, frozen

from stanchion.model.ids import split_id


@frozen
class Keys:
    """The keys of one namespace."""

    namespace: str = field()

    @property
    def registry(self) -> str:
        """The set of the names of all queues; it lies in a slot of its own."""
        return f"{self.namespace}:queues"

    def base(self, queue: str) -> str:
        """Return the base key of a queue, which all its other keys begin with.

        Args:
            queue: The queue's name.

        Returns:
            The key; its hash tag keeps all of them in one slot.
        """
        return f"{self.namespace}:{{{queue}}}"

    def bases(self, queues: Iterable[str]) -> list[str]:
        """Return the base keys of several queues.

        Args:
            queues: The queues' names.

        Returns:
            The keys, in that order.
        """
        return [self.base(queue) for queue in queues]

    def wake(self, queue: str) -> str:
        """Return the list that waiting workers block on.

        Args:
            queue: The queue's name.

        Returns:
            The key.
        """
        return f"{self.base(queue)}:wake"

    def jobs(self, queue: str) -> str:
        """Return a pattern of all keys of the queue's jobs and of their tags.

        Args:
            queue: The queue's name.

        Returns:
            A pattern as SCAN takes it.
        """
        return f"{_literal(self.base(queue))}:[abjt]:*"

    def channel(self, queue: str, topic: str) -> str:
        """Return the channel on which a queue's jobs are published.

        Args:
            queue: The queue's name.

            topic: What is published.

        Returns:
            The channel.
        """
        return f"{self.base(queue)}:{topic}"

    def queue_of(self, base: str) -> str:
        """Return the queue that a base key belongs to.

        Args:
            base: The base key.

        Returns:
            The queue's name.
        """
        return base[len(self.namespace) + 2 : -1]


def grouped(ids: Sequence[str]) -> tuple[list[str], list[tuple[int, str]]]:
    """Return the queues that ids name, and where each job lives.

    Args:
        ids: The ids.

    Returns:
        The queues, each once; and for each id its queue's number, from 1, and its key.
    """
    numbers: dict[str, int] = {}
    places = []
    for job_id in ids:
        queue, key = split_id(job_id)
        places.append((numbers.setdefault(queue, len(numbers) + 1), key))
    return list(numbers), places


def _literal(text: str) -> str:
    """Return a text as a pattern that matches just it."""
    return "".join(f"\\{char}" if char in r"*?[]\^-" else char for char in text)
