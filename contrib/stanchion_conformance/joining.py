"""Claims about inserting inside a transaction of the caller's own."""

from collections.abc import Iterator
from typing import Any

import pytest

from stanchion.contract.answers import Inserted
from stanchion.contract.backend import Backend
from stanchion.contract.capabilities import JoinsTransactions
from stanchion.contract.requests import Get, Insert
from stanchion.engine.engine import Engine
from stanchion.errors import InvalidArgument, Unsupported
from stanchion.model.records import Item
from stanchion.plugins.manager import Plugins
from stanchion_conformance.ground import Ground, lacks
from stanchion_conformance.making import QUEUE, a_claim, an_item, created, inserted, items, keys_of, there
from stanchion_conformance.waiting import Waiter, quiet


class Joining(Ground):
    """A job inserted inside a transaction appears if and only if that commits."""

    @pytest.fixture
    def connection(self, backend: Backend) -> Iterator[Any]:
        """A connection of the caller's, whose transactions begin with their first statement that writes."""
        if not isinstance(backend, JoinsTransactions):
            pytest.skip(lacks(backend, JoinsTransactions))
        connection = self.connect(backend)
        if connection is None:
            pytest.skip(
                "`connect` gives none: it is to give a connection of the caller's to the same database"
            )
        yield connection
        connection.close()

    def test_joined_jobs_appear_with_the_commit(self, backend: Backend, connection: Any) -> None:
        """Not before, and then all of them, in order."""
        answers = joined(backend, connection, *items("ab"))
        before = backend.get(Get([f"{QUEUE}:a", f"{QUEUE}:b"]))
        connection.commit()

        assert answers == [created(backend)] * 2
        assert before == [None, None]
        assert keys_of(a_claim(backend).records) == ["a", "b"]

    def test_joined_jobs_vanish_with_the_rollback(self, backend: Backend, connection: Any) -> None:
        """They never were; their ids and unique keys are free, and so is the queue's name."""
        joined(backend, connection, an_item("a", unique="digest", scope="end"))
        connection.rollback()

        assert dict(backend.queues()) == {}
        assert inserted(backend, an_item("b", unique="digest", scope="end")) == [created(backend)]

    def test_a_joined_insert_is_answered_with_the_job_that_is_there(
        self, backend: Backend, connection: Any
    ) -> None:
        """By id and by unique key, as any insert is."""
        inserted(backend, an_item("a"), an_item("b", unique="digest", scope="end"))
        answers = joined(backend, connection, an_item("a"), an_item("c", unique="digest", scope="end"))
        connection.commit()

        assert answers == [there(backend, "a"), there(backend, "b")]

    def test_a_joined_insert_sees_its_own_transaction(self, backend: Backend, connection: Any) -> None:
        """Enqueuing twice before the commit makes one job."""
        joined(backend, connection, an_item("a"))
        (again,) = joined(backend, connection, an_item("a"))
        connection.commit()

        assert again == there(backend)

    def test_joined_jobs_go_behind_those_that_were_there(self, backend: Backend, connection: Any) -> None:
        """And those that come after the commit behind them."""
        inserted(backend, an_item("a"))
        joined(backend, connection, an_item("b"))
        connection.commit()
        inserted(backend, an_item("c"))

        assert keys_of(a_claim(backend).records) == ["a", "b", "c"]

    def test_the_commit_wakes_who_waits(self, backend: Backend, connection: Any) -> None:
        """Though no verb was called by then."""
        inserted(backend, an_item("a"))
        quiet(backend)
        with Waiter(backend) as waiter:
            joined(backend, connection, an_item("b"))
            connection.commit()

        assert waiter.answer is True

    def test_what_is_no_connection_to_the_store_is_refused(self, backend: Backend) -> None:
        """Before anything is done."""
        if not isinstance(backend, JoinsTransactions):
            pytest.skip(lacks(backend, JoinsTransactions))
        with pytest.raises(InvalidArgument):
            backend.insert_joined(Insert([an_item()]), object())

        assert dict(backend.queues()) == {}

    def test_without_the_capability_joining_is_refused_by_name(self, backend: Backend) -> None:
        """Name what lacks what, and insert nothing."""
        if isinstance(backend, JoinsTransactions):
            pytest.skip("it has the capability JoinsTransactions")
        engine = Engine(backend, Plugins())
        with pytest.raises(
            Unsupported, match=f"{type(backend).__name__} does not support joining transactions"
        ):
            engine.call(engine.insert([an_item()], object()))

        assert dict(backend.queues()) == {}


def joined(backend: Any, connection: Any, *made: Item) -> list[Inserted]:
    """Insert jobs inside the caller's transaction.

    Returns:
        An answer for each job.
    """
    return list(backend.insert_joined(Insert(made), connection))
