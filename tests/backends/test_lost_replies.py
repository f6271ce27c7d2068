"""Replies that are lost after the server has executed a call: it is repeated, and the answer is right."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stanchion import Job, State
from stanchion.model.queues import QueueSettings
from stanchion.worker import Worker
from support.processes import Scene, a_scene
from support.proxy import Proxy, a_proxy

COMPLETE = "complete"

ACTS: dict[str, Callable[[Scene, Job], object]] = {
    "enqueue": lambda scene, job: scene.tasks.steady.enqueue().is_new,
    "enqueue with a key": lambda scene, job: scene.tasks.steady.using(key="mine").enqueue().id,
    "cancel": lambda scene, job: job.cancel("enough").state,
    "retry": lambda scene, job: scene.app.job("default:done").retry(force=True).state,
    "update": lambda scene, job: job.update(priority=7).priority,
    "delete": lambda scene, job: job.delete(),
    "result": lambda scene, job: scene.app.job("default:done").result(timeout=5),
    "pause": lambda scene, job: scene.app.queue("default").pause() in (True, False) and scene.app.queues(),
}

ANSWERS = {
    "enqueue": True,
    "enqueue with a key": "default:mine",
    "cancel": State.CANCELLED,
    "retry": State.QUEUED,
    "update": 7,
    "delete": None,
    "result": 1,
    "pause": {"default": QueueSettings(paused=True)},  # by the answer that arrives, it may be paused already
}

CALLS = [
    ("enqueue", 1),
    ("enqueue with a key", 1),
    ("cancel", 1),
    ("retry", 1),
    ("retry", 2),
    ("update", 1),
    ("delete", 1),
    ("result", 1),
    ("result", 2),
    ("pause", 1),
]
"""What is done, and which of the script calls it makes loses its reply."""


@pytest.fixture
def proxy(redis_url: str) -> Iterator[Proxy]:
    """A proxy in front of the server."""
    with a_proxy(redis_url) as proxy:
        yield proxy


@pytest.fixture
def scene(tmp_path: Path, proxy: Proxy) -> Iterator[Scene]:
    """A namespace of its own behind the proxy, with one job that is completed and one that waits."""
    with a_scene(tmp_path, proxy.url, concurrency=5) as scene:
        scene.tasks.steady.using(key="done").enqueue()
        _drain(scene)
        yield scene


@pytest.mark.parametrize(("act", "lost"), CALLS)
def test_a_call_whose_reply_is_lost_is_repeated(proxy: Proxy, scene: Scene, act: str, lost: int) -> None:
    """The caller gets the answer of a call that went well, and nothing is doubled."""
    job = scene.tasks.steady.using(key="waiting").enqueue()
    proxy.drop_reply(lost)
    answer = ACTS[act](scene, job)

    assert proxy.dropped == 1
    assert answer == ANSWERS[act]
    jobs = sum(scene.app.queue("default").count().values())
    assert jobs == 2 + {"enqueue": 1, "enqueue with a key": 1, "delete": -1}.get(act, 0)
    histories = [scene.app.job("default:done").history, [] if act == "delete" else job.refresh().history]
    for history in histories:
        events = [one.event for one in history]
        assert len(events) == len(set(events))


@pytest.mark.parametrize("lost", range(1, 7))
def test_a_worker_s_call_whose_reply_is_lost_is_repeated(proxy: Proxy, scene: Scene, lost: int) -> None:
    """Sweep, claim or settlement: each job starts once and completes once."""
    jobs = scene.app.enqueue_many(scene.tasks.steady.draft() for _ in range(12))
    proxy.drop_reply(lost)
    _drain(scene)

    assert proxy.dropped == 1
    assert [job.refresh().state for job in jobs] == [State.COMPLETED] * 12
    assert set(scene.starts().values()) == {1}
    assert {tuple(one.event for one in job.history) for job in jobs} == {(COMPLETE,)}


def _drain(scene: Scene) -> None:
    """Let a worker in this process run what there is."""

    async def story() -> None:
        await asyncio.wait_for(Worker(scene.app, burst=True).main(), 20)
        await scene.app.engine.release_async_backend()

    asyncio.run(story())
