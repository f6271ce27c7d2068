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
        """The base key of a queue, which all its other keys begin with; the hash tag keeps them in one slot."""
        return f"{self.namespace}:{{{queue}}}"

    def bases(self, queues: Iterable[str]) -> list[str]:
        """The base keys of several queues."""
        return [self.base(queue) for queue in queues]

    def wake(self, queue: str) -> str:
        """The list that waiting workers block on."""
        return f"{self.base(queue)}:wake"

    def job(self, queue: str, key: str = "") -> str:
        """The hash of a job; without a key, what all of the queue's begin with."""
        return f"{self.base(queue)}:j:{key}"

    def channel(self, queue: str, topic: str) -> str:
        """The channel on which a queue's jobs are heard of."""
        return f"{self.base(queue)}:{topic}"

    def queue_of(self, base: str) -> str:
        """The queue that a base key belongs to."""
        return base[len(self.namespace) + 2 : -1]


def grouped(ids: Sequence[str]) -> tuple[list[str], list[tuple[int, str]]]:
    """The queues that ids name, each once, and for each id its queue's number, from 1, and its key."""
    numbers: dict[str, int] = {}
    places = []
    for job_id in ids:
        queue, key = split_id(job_id)
        places.append((numbers.setdefault(queue, len(numbers) + 1), key))
    return list(numbers), places
