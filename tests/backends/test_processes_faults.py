"""Faults of the server and of the network between: workers resume, and nothing acknowledged is lost or done twice."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import pytest
import redis

from stanchion import Job, State
from support.killable import a_killable_server
from support.processes import Scene, a_scene
from support.proxy import a_proxy
from support.waiting import eventually

RESUMED = 5.0
"""Seconds within which a worker works again once its server can be reached again."""

LEASE = 2.0
COMPLETE = "complete"


@pytest.fixture
def scene(tmp_path: Path, redis_url: str) -> Iterator[Scene]:
    """A namespace of its own on the server."""
    with a_scene(tmp_path, redis_url, lease=30, concurrency=5) as scene:
        yield scene


def test_scripts_may_vanish_at_any_time(scene: Scene) -> None:
    """While the server forgets all scripts every few milliseconds, callers and workers notice nothing."""
    with _every(0.003, redis.Redis.from_url(scene.url).script_flush):
        scene.worker()
        jobs = [scene.tasks.steady.enqueue() for _ in range(300)]
        _all_complete(scene, jobs)

    assert set(scene.starts().values()) == {1}


def test_the_server_is_killed_and_started_again(tmp_path: Path) -> None:
    """With an append-only file every job whose enqueue returned completes, each once, and the worker resumes."""
    with (
        a_killable_server(tmp_path / "server") as server,
        a_scene(tmp_path, server.url, lease=LEASE, sweep=0.5, concurrency=5) as scene,
    ):
        jobs = scene.app.enqueue_many(scene.tasks.steady.draft() for _ in range(1500))
        scene.worker()
        eventually(lambda: len(scene.starts()) > 100)
        server.kill()
        quiet = len(scene.starts())
        server.start()
        back = monotonic()
        first = scene.line(lambda line: line.word == "start" and line.at > back)
        jobs.append(scene.tasks.steady.enqueue())

        assert quiet < len(jobs)
        assert first.at - back <= RESUMED
        _all_complete(scene, jobs)


def test_connections_are_cut(scene: Scene) -> None:
    """A worker whose connections are closed again and again goes on; no job starts twice."""
    jobs = scene.app.enqueue_many(scene.tasks.steady.draft() for _ in range(600))
    with a_proxy(scene.url) as proxy:
        scene.worker(url=proxy.url)
        for number in (1, 2, 3):
            eventually(lambda number=number: len(scene.starts()) > 100 * number)
            proxy.cut()
            cut = monotonic()
            resumed = scene.line(lambda line, cut=cut: line.word == "start" and line.at > cut)
            assert resumed.at - cut <= RESUMED
        _all_complete(scene, jobs)

    assert set(scene.starts().values()) == {1}


def test_an_idle_worker_s_connections_are_cut(scene: Scene) -> None:
    """A worker that waits for jobs hears of the next one all the same."""
    with a_proxy(scene.url) as proxy:
        worker = scene.worker(url=proxy.url)
        eventually(lambda: "serving" in worker.log)
        scene.tasks.steady.enqueue().result(timeout=20)
        proxy.cut()
        asked = monotonic()
        job = scene.tasks.steady.enqueue()
        started = scene.line(lambda line: line.job_id == job.id)

        assert started.at - asked <= RESUMED


def test_the_network_falls_silent(scene: Scene) -> None:
    """Connections that stay open but carry nothing are given up, and work goes on over new ones."""
    jobs = scene.app.enqueue_many(scene.tasks.steady.draft() for _ in range(400))
    with a_proxy(scene.url) as proxy:
        scene.worker(url=proxy.url)
        eventually(lambda: len(scene.starts()) > 100)
        proxy.fall_silent()
        eventually(lambda: not _grows(scene))
        proxy.speak_again()
        spoke = monotonic()
        scene.line(lambda line: line.word == "start" and line.at > spoke)

        _all_complete(scene, jobs)


def _all_complete(scene: Scene, jobs: list[Job]) -> None:
    """Wait until these jobs have completed, each once."""
    queue = scene.app.queue("default")
    eventually(lambda: queue.count()[State.COMPLETED] == len(jobs), within=30)
    for job in jobs:
        assert [one.event for one in job.refresh().history].count(COMPLETE) == 1


def _grows(scene: Scene) -> bool:
    """Whether the journal becomes longer within a quarter of a second."""
    length = len(scene.lines())
    end = monotonic() + 0.25
    eventually(lambda: monotonic() > end)
    return len(scene.lines()) > length


@contextmanager
def _every(seconds: float, act: Callable[[], object]) -> Iterator[None]:
    """Meanwhile, do this again and again."""
    ending = threading.Event()

    def repeat() -> None:
        while not ending.wait(seconds):
            act()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()
