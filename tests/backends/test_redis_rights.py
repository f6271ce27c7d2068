"""The rights that the documentation says suffice, do."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import redis

from stanchion import Stanchion
from stanchion.codec.payloads import policy_of
from stanchion.contract.backend import Topic
from stanchion.engine.engine import Report
from stanchion.errors import BackendError
from stanchion.model.decisions import Beaten, Failed
from stanchion.model.history import Failure
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

    with app:
        engine, backend = app.engine, app.engine.backend
        job = work.using(unique="once", unique_until="start").enqueue(1)
        work.using(delay=3600).enqueue(2)
        assert backend.wait(["work"], timedelta(seconds=1))
        claimed = engine.run(engine.claim(["work"], 10, "w", timedelta(seconds=30)))
        (record,) = claimed.records
        policy = policy_of(record.spec)
        engine.run(engine.report([Report(record, Beaten(lease=timedelta(seconds=30)), policy)]))
        engine.run(engine.report([Report(record, Failed(failure=Failure("E")), policy)]))
        job.cancel()
        job.retry()
        watch = backend.watch(["work"], Topic.ENDED)  # type: ignore[attr-defined]  # it watches jobs
        job.delete()
        assert watch.next(timedelta(seconds=5)) == {job.id}
        watch.close()
        engine.run(engine.sweep(["work"]))
        cursor: str | None = None
        while (page := backend.check("work", cursor)).cursor is not None:
            cursor = page.cursor
            assert page.findings == []
        app.queue("work").pause()
        app.queue("work").resume()

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
