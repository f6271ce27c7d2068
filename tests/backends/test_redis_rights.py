"""The rights that the documentation says suffice, do."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import redis

from stanchion import Stanchion
from stanchion.codec.specs import policy_of
from stanchion.contract.requests import Check, List, ReadLedger, Wait
from stanchion.engine.engine import Report
from stanchion.errors import BackendError
from stanchion.model.changes import Topic
from stanchion.model.history import Failure
from stanchion.model.selection import Span, Where
from stanchion.model.signals import Beaten, Failed
from stanchion.model.states import State
from support.servers import own_server

PAGE = Path(__file__).parents[2] / "docs" / "redis.md"


@pytest.fixture(scope="module")
def limited_url() -> Iterator[str]:
    """A server whose user `stanchion` has just the rights that the documentation lists."""
    documented = re.search(r"^user stanchion on >… (.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert documented is not None
    with own_server() as url, redis.Redis.from_url(url) as admin:
        admin.execute_command("ACL", "SETUSER", "stanchion", "on", ">secret", *documented[1].split())
        yield url.replace("redis://", "redis://stanchion:secret@")


def test_the_documented_rights_suffice_for_every_verb(limited_url: str) -> None:
    """A job's life and everything that can be asked needs no other command."""
    app = Stanchion(limited_url)

    @app.task(queue="work")
    def work(number: int) -> int:
        return number

    @app.task(queue="work")
    def large(text: str) -> None: ...

    with app:
        engine, backend = app.engine, app.engine.backend
        job = work.using(unique="once", unique_until="start", tags=["a tag"]).enqueue(1)
        work.using(delay=3600).enqueue(2)
        large.enqueue("x" * 1000).delete()
        assert backend.wait(Wait(["work"], timedelta(seconds=1)))
        claimed = engine.call(engine.claim(["work"], 10, "w", timedelta(seconds=30)))
        (record,) = claimed.records
        policy = policy_of(record.policy)
        engine.call(engine.report([Report(record, Beaten(lease=timedelta(seconds=30)), policy)]))
        engine.call(engine.report([Report(record, Failed(failure=Failure("E")), policy)]))
        job.cancel()
        job.retry()
        watch = backend.watch(["work"], Topic.ENDED)  # type: ignore[attr-defined]  # it watches jobs
        job.delete()
        assert watch.next(timedelta(seconds=5)) == {job.id}
        watch.close()
        engine.call(engine.sweep(["work"]))
        cursor: str | None = None
        while (part := backend.check(Check("work", cursor))).cursor is not None:
            cursor = part.cursor
            assert part.findings == []
        app.queue("work").pause()
        app.queue("work").resume()

        books = backend.ledger(ReadLedger(queue="work", since=record.created_at))
        where = Where(task="work", created=Span(since=record.created_at))
        page = backend.list(List(queue="work", state=State.SCHEDULED, where=where, newest=True))

        assert books.totals["-.enqueue.queued"].jobs == 2
        assert len(page.heads) == 1
        assert app.queue("work").count()[State.SCHEDULED] == 1
        assert list(app.queues()) == ["work"]
        for waiting in app.jobs("work", State.SCHEDULED):
            waiting.delete()
        app.queue("work").forget()


def test_the_documented_rights_end_at_the_namespace(limited_url: str) -> None:
    """Another namespace is refused, and the password is not in the error."""
    with Stanchion(limited_url, namespace="other") as app, pytest.raises(BackendError) as refused:
        app.queue("work").pause()

    assert "secret" not in str(refused.value)
