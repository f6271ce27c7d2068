"""What type checkers must make of the public names. It is never run: mypy and pyright read it.

Lines that end in `type: ignore` are wrong on purpose; mypy reports an ignore that silences nothing.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any, assert_type

from stanchion import (
    Draft,
    Job,
    Retry,
    RunningJob,
    Stanchion,
    State,
    Task,
    current_job,
    hookimpl,
    hookspec,
)
from stanchion.context import Raised, Returned
from stanchion.contract.answers import Counts
from stanchion.contract.backend import AsyncBackend, Backend
from stanchion.contract.capabilities import HasAsync, HasDeadlines, MayWait, WatchesJobs
from stanchion.engine.async_adapter import Inline
from stanchion.plugins.hookspecs import Hooks, JobDraft
from stanchion.plugins.manager import Plugins
from stanchion_memory import MemoryBackend
from stanchion_redis import RedisBackend
from stanchion_sqlite import SqliteBackend

app = Stanchion("memory://")


@app.task(queue="mail", retries=5, timeout=30, tags={"kind:welcome"})
async def welcome(address: str, *, locale: str = "en") -> int:
    """An async handler: its result is what it returns, not a coroutine."""
    return len(address + locale)


@app.task
def add(one: int, other: int = 1) -> int:
    """A sync handler, registered without options."""
    return one + other


@app.task(name="report")
def make_report(day: timedelta) -> dict[str, list[int]]:
    """A sync handler, registered with options."""
    return {str(day): []}


@app.task
async def sometimes(address: str) -> int | Retry:
    """An outcome among what it returns."""
    return Retry(after=5) if address else 1


def results_have_the_handler_s_type() -> None:
    """For async and sync handlers alike."""
    assert_type(welcome.enqueue("ada@example.org"), Job[int])
    assert_type(welcome.enqueue("ada@example.org", locale="it").result(timeout=10), int)
    assert_type(add.enqueue(1), Job[int])
    assert_type(make_report.enqueue(timedelta(days=1)).result(), dict[str, list[int]])
    assert_type(sometimes.enqueue("ada").result(), int | Retry)


def handles_keep_it_when_a_job_is_changed() -> None:
    """Whatever is changed."""
    assert_type(add.enqueue(1).cancel("not wanted"), Job[int])
    assert_type(add.enqueue(1).update(priority=5, tags={"a"}), Job[int])
    assert_type(add.enqueue(1).is_new, bool)
    add.enqueue(1).update(tags=5)  # type: ignore[arg-type]


async def so_have_those_of_the_async_versions() -> None:
    """They return the same things, awaited."""
    assert_type(await welcome.aenqueue("ada@example.org"), Job[int])
    assert_type(await (await add.aenqueue(1)).aresult(), int)
    assert_type(await app.aenqueue_many([add.draft(1)]), list[Job[int]])
    assert_type(await app.ajob("mail:1"), Job[Any])
    async for job in app.ajobs("mail", State.QUEUED):
        assert_type(job, Job[Any])


def signatures_are_kept() -> None:
    """By `enqueue`, by `draft`, and by the task with other options."""
    welcome.enqueue("ada@example.org", locale="it")
    welcome.enqueue()  # type: ignore[call-arg]
    welcome.enqueue(5)  # type: ignore[arg-type]
    welcome.enqueue("ada@example.org", "it")  # type: ignore[call-arg]
    welcome.enqueue("ada@example.org", colour="red")  # type: ignore[call-arg]
    add.enqueue(1, other="two")  # type: ignore[arg-type]
    add.using(delay=60).enqueue("one")  # type: ignore[arg-type]
    add.draft("one")  # type: ignore[arg-type]


async def by_the_async_versions_too() -> None:
    """`aenqueue` takes what `enqueue` takes."""
    await welcome.aenqueue("ada@example.org", locale="it")
    await welcome.aenqueue(5)  # type: ignore[arg-type]


def using_and_drafts_keep_the_result() -> None:
    """However far the job is from being enqueued."""
    assert_type(add.using(priority=5).enqueue(1), Job[int])
    assert_type(add.draft(1), Draft[int])
    assert_type(add.using(tags=lambda **_: {"a"}).draft(1), Draft[int])
    assert_type(app.enqueue_many(add.draft(number) for number in range(3)), list[Job[int]])


def jobs_stay_what_they_are() -> None:
    """Through whatever is asked of them."""
    job = add.enqueue(1)
    assert_type(job.refresh(), Job[int])
    assert_type(job.cancel("not wanted"), Job[int])
    assert_type(job.retry(force=True), Job[int])
    assert_type(job.update(priority=1), Job[int])
    assert_type(job.state, State)
    assert_type(app.job("mail:1"), Job[Any])
    assert_type(app.queue("mail").count(), Counts)
    assert_type(current_job(), RunningJob)


def a_task_can_be_passed_on(task: Task[[int, int], int]) -> Job[int]:
    """With its signature in its type."""
    return task.enqueue(1, 2)


def backends_satisfy_the_contract(memory: MemoryBackend, redis: RedisBackend, sqlite: SqliteBackend) -> None:
    """And their async backends the async one; the capabilities are found as well."""
    backends: list[Backend] = [memory, redis, sqlite]
    async_backends: list[AsyncBackend] = [Inline(memory), redis.to_async()]
    watching: list[WatchesJobs] = [memory, redis]
    remote: list[HasAsync] = [redis]
    patient: list[HasDeadlines] = [redis, sqlite]
    waiting: list[MayWait] = [sqlite]
    assert backends, (async_backends, watching, remote, patient, waiting)


class AlertSpecs:
    """Hooks of a plugin's own."""

    @hookspec
    def alert(self, text: str) -> None:
        """Somebody should look."""


class Plugin:
    """A plugin with the hooks that decide, and hooks of its own."""

    @hookimpl
    def before_enqueue(self, draft: Draft[Any]) -> Draft[Any] | None:
        """Change a draft, which stays one of the same task."""
        assert_type(draft.arguments, Mapping[str, Any])
        return draft.using(priority=5).with_arguments(locale="it")

    @hookimpl
    @contextmanager
    def around_job(self, job: RunningJob) -> Iterator[None]:
        """Look at the outcome."""
        yield
        match job.outcome:
            case Returned(Retry(after=after)):
                assert_type(after, timedelta)
            case Raised(error):
                assert_type(error, BaseException)

    @hookimpl
    def add_hookspecs(self, plugins: Hooks) -> None:
        """Specify hooks."""
        plugins.add_hookspecs(AlertSpecs)


class AsyncPlugin:
    """A plugin with async middleware."""

    @hookimpl
    @asynccontextmanager
    async def around_job(self, job: RunningJob) -> AsyncIterator[None]:
        """Go around async handlers."""
        yield


def drafts_keep_their_type(draft: Draft[int], plugins: Plugins) -> None:
    """Whatever is changed; drafts and plugins are what hooks are specified to get."""
    assert_type(draft.using(priority=5), Draft[int])
    assert_type(draft.with_arguments(one=2), Draft[int])
    what_hooks_get: list[JobDraft | Hooks] = [draft, plugins]
    assert what_hooks_get
    Stanchion(plugins={"stats": {"tasks": ["add"]}})
    Stanchion(plugins=["stats", Plugin(), AsyncPlugin])
    Stanchion(plugins=5)  # type: ignore[arg-type]
