"""A file as one namespace sees it: what all verbs have in common."""

from collections.abc import Callable, Iterable
from copy import copy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from sqlite3 import Cursor
from typing import Self, TypeVar

from stanchion.contract.backend import Clock, Limits
from stanchion.model.effects import whole
from stanchion_sqlite import forks
from stanchion_sqlite.database import Database
from stanchion_sqlite.news import Bell
from stanchion_sqlite.transaction import LIMITS, Transaction
from stanchion_sqlite.waking import Wakes

T = TypeVar("T")


class Store:
    """A file; safe to use from any thread, and after a fork.

    Args:
        path: The file; it is made when it is first needed.

        namespace: Whose queues.

        synchronous: `full`: what was answered survives a loss of power. `normal`: the last moments may be lost then.

        clock: For tests.
    """

    def __init__(
        self, path: Path, *, namespace: str, synchronous: str = "full", clock: Clock | None = None
    ) -> None:
        self._database = Database(path, synchronous)
        self._bell = Bell(self._database)
        self._wakes = Wakes(self._bell)
        self._namespace, self._clock = namespace, clock
        self._patience: float | None = None
        """For a copy, how many seconds a call may wait; else the file's own patience."""
        self._looked_at: dict[int, int] = {}
        """The quarantined row of each queue, by its number, that was looked at last."""
        forks.remember(self)

    def within(self, deadline: timedelta) -> Self:
        """See `stanchion.contract.capabilities.HasDeadlines`. It shares the connections; closing it closes nothing."""
        clone = copy(self)
        clone._patience = deadline.total_seconds()
        return clone

    def impatient(self) -> Self:
        """See `stanchion.contract.capabilities.MayWait`."""
        return self.within(timedelta(0))

    def before_fork(self) -> None:
        """See `stanchion_sqlite.forks`."""
        self._database.before_fork()

    def after_fork(self, *, in_child: bool) -> None:
        """See `stanchion_sqlite.forks`."""
        self._bell.after_fork(in_child=in_child)
        self._database.after_fork(in_child=in_child)

    @property
    def limits(self) -> Limits:
        return LIMITS

    def now(self) -> datetime:
        return whole(self._clock.now() if self._clock else datetime.now(UTC))

    def close(self) -> None:
        if self._patience is None:
            self._bell.close()
            self._database.close()

    def _read(self, look: Callable[[Cursor], T]) -> T:
        return self._database.read(look, self._patience)

    def _write(self, names: Iterable[str], act: Callable[[Transaction], T]) -> T:
        """Do something in a transaction that is about the queues of these names."""
        queues = dict.fromkeys(names)

        def whole_act(cursor: Cursor) -> tuple[T, bool]:
            transaction = Transaction(cursor, self._namespace, self.now(), queues)
            return act(transaction), transaction.finish()

        answer, is_awaited = self._database.write(whole_act, self._patience)
        if is_awaited:
            self._bell.ring()
        return answer
