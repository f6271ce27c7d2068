"""Enqueuing inside a transaction of the caller's own, on the database that his tables are in too."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from stanchion import Job, Stanchion, State
from stanchion.app.drafts import Draft
from stanchion.contract.requests import Insert
from stanchion.errors import BackendError, InvalidArgument, Unavailable, Unsupported
from stanchion_conformance.invariants import broken
from stanchion_conformance.making import an_item
from stanchion_testing.kit import Kit
from support.hands import hands
from support.sqlite_files import asked, tables_of
from support.waiting import aeventually
from support.workers import Witness, drain, working

ENQUEUING = ["sync", "async"]


class Shop:
    """A program that keeps orders and jobs in one file, and a connection of its own to it."""

    def __init__(self, path: Path, way: str = "sync") -> None:
        self.path, self._way = path, way
        self.witness = Witness()
        self.app = Stanchion(f"sqlite:///{path}?synchronous=normal", plugins=[self.witness])
        self.invoice = self.app.task(self._invoice, name="invoice")
        self.invoiced: list[int] = []
        asked(path, "CREATE TABLE orders (number INTEGER)")

    def _invoice(self, number: int) -> None:
        self.invoiced.append(number)

    def connect(self, **options: Any) -> sqlite3.Connection:
        """A connection of the program's own."""
        return sqlite3.connect(self.path, **options)

    def order(self, connection: sqlite3.Connection, *numbers: int) -> list[Job[Any]]:
        """Take orders, and enqueue an invoice for each."""
        connection.executemany("INSERT INTO orders VALUES (?)", [(number,) for number in numbers])
        return self.enqueue(connection, *map(self.invoice.draft, numbers))

    def enqueue(self, connection: object, *drafts: Draft[Any]) -> list[Job[Any]]:
        """Enqueue inside the transaction of a connection."""
        if self._way == "async":
            return asyncio.run(self.app.aenqueue_many(drafts, connection=connection))
        return self.app.enqueue_many(drafts, connection=connection)

    @property
    def orders(self) -> list[int]:
        """What was committed."""
        return [number for (number,) in asked(self.path, "SELECT number FROM orders")]

    @property
    def jobs(self) -> int:
        """How many invoices are to be sent, as everybody sees it."""
        return self.app.queue("default").count()[State.QUEUED]


@pytest.fixture(params=ENQUEUING)
def shop(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Shop]:
    """A shop."""
    shop = Shop(tmp_path / "shop.db", request.param)
    assert shop.jobs == 0  # there are the tables now
    yield shop
    shop.app.close()


@pytest.fixture
def connection(shop: Shop) -> Iterator[sqlite3.Connection]:
    """A connection whose transactions begin with the first statement that writes."""
    with closing(shop.connect()) as connection:
        yield connection


def test_an_order_and_its_job_are_committed_together(shop: Shop, connection: sqlite3.Connection) -> None:
    """Before that nobody sees either, and no hook is notified of the job."""
    (job,) = shop.order(connection, 1)
    before = shop.orders, shop.jobs
    connection.commit()

    assert before == ([], 0)
    assert (shop.orders, shop.jobs) == ([1], 1)
    assert shop.witness.saw == []
    assert job.is_new
    drain(shop.app)
    assert shop.invoiced == [1]


def test_what_is_rolled_back_leaves_neither(shop: Shop, connection: sqlite3.Connection) -> None:
    """No job without its order."""
    shop.order(connection, 1)
    connection.rollback()

    assert (shop.orders, shop.jobs) == ([], 0)


def test_many_jobs_are_one_transaction(shop: Shop, connection: sqlite3.Connection) -> None:
    """However many batches they are."""
    jobs = shop.order(connection, *range(250))
    before = shop.jobs
    connection.commit()

    assert before == 0
    assert len({job.id for job in jobs}) == len(shop.orders) == shop.jobs == 250
    assert broken(shop.app.engine.backend) == []


def test_a_worker_starts_the_job_after_the_commit(shop: Shop) -> None:
    """It waits already, and is not woken by this process: it notices the commit itself."""

    async def story() -> None:
        async with working(shop.app):
            with closing(shop.connect()) as connection:
                jobs = [shop.invoice.draft(1)]
                connection.execute("INSERT INTO orders VALUES (1)")
                (job,) = await shop.app.aenqueue_many(jobs, connection=connection)
                assert shop.invoiced == []
                connection.commit()
                await aeventually(lambda: shop.invoiced == [1])
                assert (await job.arefresh()).state in (State.RUNNING, State.COMPLETED)

    asyncio.run(story())


@pytest.mark.parametrize(
    "options",
    [{}, {"isolation_level": "IMMEDIATE"}, {"isolation_level": "EXCLUSIVE"}, {"isolation_level": None}],
    ids=str,
)
def test_the_caller_may_begin_in_his_own_way(shop: Shop, options: dict[str, Any]) -> None:
    """Also with BEGIN, if his connection does not do so by itself."""
    with closing(shop.connect(**options)) as connection:
        connection.execute("BEGIN")
        shop.order(connection, 1)
        assert shop.jobs == 0
        connection.execute("COMMIT")

        assert (shop.orders, shop.jobs) == ([1], 1)


def test_a_transaction_is_begun_if_none_is_open(shop: Shop, connection: sqlite3.Connection) -> None:
    """As for any statement that writes; the caller commits it."""
    shop.enqueue(connection, shop.invoice.draft(1))

    assert connection.in_transaction
    assert shop.jobs == 0
    connection.commit()
    assert shop.jobs == 1


def test_a_connection_that_commits_by_itself_is_refused(shop: Shop) -> None:
    """There is no transaction of its that the job could be a part of."""
    with (
        closing(shop.connect(isolation_level=None)) as connection,
        pytest.raises(InvalidArgument, match="commits each statement by itself; BEGIN"),
    ):
        shop.enqueue(connection, shop.invoice.draft(1))

    assert shop.jobs == 0


@pytest.mark.parametrize("where", [":memory:", "", "other.db"])
def test_a_connection_to_another_database_is_refused(shop: Shop, tmp_path: Path, where: str) -> None:
    """The error names where the jobs are; nothing was begun."""
    place = tmp_path / where if where == "other.db" else where
    with closing(sqlite3.connect(place)) as connection:
        with pytest.raises(InvalidArgument, match=f"the jobs are in {shop.path}"):
            shop.enqueue(connection, shop.invoice.draft(1))

        assert not connection.in_transaction


def test_what_is_no_connection_is_refused(shop: Shop) -> None:
    """By its name."""
    with pytest.raises(InvalidArgument, match="with 'shop.db': pass a sqlite3.Connection"):
        shop.enqueue("shop.db", shop.invoice.draft(1))


def test_a_closed_connection_is_refused(shop: Shop, connection: sqlite3.Connection) -> None:
    """With an error of ours."""
    connection.close()
    with pytest.raises(BackendError, match="closed database"):
        shop.enqueue(connection, shop.invoice.draft(1))


def test_a_file_by_another_name_is_the_same(shop: Shop, tmp_path: Path) -> None:
    """A link to it, or a way around."""
    link = tmp_path / "link.db"
    link.symlink_to(shop.path)
    with closing(sqlite3.connect(link)) as connection:
        shop.order(connection, 1)
        connection.commit()

    assert (shop.orders, shop.jobs) == ([1], 1)


@pytest.mark.parametrize(
    "own",
    [
        {"row_factory": sqlite3.Row},
        {
            "row_factory": lambda cursor, row: {
                name[0]: value for name, value in zip(cursor.description, row, strict=True)
            }
        },
        {"row_factory": lambda cursor, row: 7},
        {"text_factory": bytes},
    ],
    ids=["rows", "mappings", "numbers", "bytes"],
)
def test_the_caller_s_rows_may_look_as_he_likes(
    shop: Shop, connection: sqlite3.Connection, own: dict[str, Any]
) -> None:
    """His connection is as it was afterwards."""
    for name, value in own.items():
        setattr(connection, name, value)
    (job,) = shop.enqueue(connection, shop.invoice.using(key="one").draft(1))
    (again,) = shop.enqueue(connection, shop.invoice.using(key="one").draft(1))
    connection.commit()

    assert (job.is_new, again.is_new, again.id) == (True, False, job.id)
    assert {name: getattr(connection, name) for name in own} == own
    assert shop.jobs == 1


def test_a_failure_leaves_the_transaction_as_it_was(shop: Shop, connection: sqlite3.Connection) -> None:
    """What the caller did before stays, and he may go on."""
    connection.execute("INSERT INTO orders VALUES (1)")
    before = list(connection.iterdump())
    with pytest.raises(BackendError):
        shop.app.engine.backend.insert_joined(
            Insert([an_item("a"), an_item("b", priority=object())]), connection
        )
    after = list(connection.iterdump())
    shop.order(connection, 2)
    connection.commit()

    assert after == before
    assert shop.orders == [1, 2]
    assert shop.jobs == 1


def test_a_failure_leaves_no_transaction_where_there_was_none(
    shop: Shop, connection: sqlite3.Connection
) -> None:
    """Else nobody could write until the caller thinks of it."""
    shop.enqueue(connection, shop.invoice.draft(1))
    connection.commit()
    before = tables_of(shop.path)
    with pytest.raises(BackendError):
        shop.app.engine.backend.insert_joined(
            Insert([an_item("a"), an_item("b", priority=object())]), connection
        )

    assert not connection.in_transaction
    assert tables_of(shop.path) == before


def test_the_first_job_of_all_may_be_enqueued_so(tmp_path: Path) -> None:
    """The tables are made inside the transaction, and are gone if it is rolled back."""
    shop = Shop(tmp_path / "shop.db")
    with closing(shop.connect()) as connection, closing(shop.app):
        connection.execute("INSERT INTO orders VALUES (1)")
        shop.enqueue(connection, shop.invoice.draft(1))
        connection.rollback()
        assert tables_of(shop.path) == {"orders": []}
        shop.order(connection, 2)
        connection.commit()

        assert (shop.orders, shop.jobs) == ([2], 1)


def test_a_transaction_that_begins_with_a_job_waits_for_its_turn(tmp_path: Path) -> None:
    """Beside a busy process it never fails, though it was begun without a word about writing."""
    shop = Shop(tmp_path / "shop.db")
    shop.app.queue("default").pause()
    with closing(shop.connect(isolation_level=None)) as connection, hands(1) as (busy,):
        busy.do("sqlite_race:ready")
        busy.begin("sqlite_race:race", shop.path, "busy", 2)
        for number in range(100):
            connection.execute("BEGIN")
            shop.enqueue(connection, shop.invoice.draft(number))
            connection.execute("COMMIT")
        busy.answer()

    assert shop.jobs == 100
    shop.app.close()


def test_a_transaction_that_has_read_is_advised_to_begin_otherwise(
    shop: Shop, connection: sqlite3.Connection
) -> None:
    """If others wrote meanwhile: then SQLite lets it write no more, and waiting would not help."""
    connection.execute("BEGIN")
    connection.execute("SELECT * FROM orders").fetchall()
    shop.app.queue("default").pause()
    with pytest.raises(BackendError, match="use BEGIN IMMEDIATE") as caught:
        shop.enqueue(connection, shop.invoice.draft(1))

    assert not isinstance(caught.value, Unavailable)


def test_the_kit_takes_a_connection(shop: Shop, connection: sqlite3.Connection) -> None:
    """In tests of the application there is nothing to wait for: the job is there at once."""
    with Kit(shop.app) as kit:
        connection.execute("INSERT INTO orders VALUES (1)")
        shop.enqueue(connection, shop.invoice.draft(1))
        kit.drain()

    assert shop.invoiced == [1]


def test_a_backend_without_transactions_says_so(connection: sqlite3.Connection) -> None:
    """Nothing is enqueued beside the transaction instead."""
    with Stanchion("memory://") as app:

        @app.task
        def nothing() -> None: ...

        with pytest.raises(Unsupported, match="MemoryBackend does not support joining transactions"):
            app.enqueue_many([nothing.draft()], connection=connection)

        assert app.queues() == {}
