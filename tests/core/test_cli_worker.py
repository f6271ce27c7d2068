"""`stanchion worker`: which application it runs, with which settings, and what it refuses."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from stanchion import Stanchion, State
from support.stores import own_namespace

MODULE = """
from stanchion import Stanchion

app = Stanchion("memory://", concurrency=1)
other = "no application"

@app.task
def double(number: int) -> int:
    return 2 * number

@app.task(queue="rare")
def triple(number: int) -> int:
    return 3 * number
"""


NUMBER = 987_654_321
"""An argument that is found again wherever it is printed."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory with an application in it."""
    (tmp_path / "shop.py").write_text(MODULE)
    return tmp_path


@pytest.fixture
def store(redis_url: str) -> Iterator[list[str]]:
    """The options that name a namespace of our own on a server."""
    with redis.Redis.from_url(redis_url) as client, own_namespace(client) as namespace:
        yield ["--backend", redis_url, "--namespace", namespace]


def worker(project: Path, *args: str) -> "subprocess.CompletedProcess[str]":
    """The outcome of a worker that is started in the project's directory."""
    command = [str(Path(sys.executable).with_name("stanchion")), "worker", *args]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STANCHION_")}
    return subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def enqueued(store: list[str], *queues: str) -> tuple[Stanchion, list[str]]:
    """An application on the store, and the ids of a job in each of these queues."""
    app = Stanchion(store[1], namespace=store[3], plugins=())

    @app.task
    def double(number: int) -> int:
        raise AssertionError("it runs in the worker's process")

    return app, [double.using(queue=queue).enqueue(NUMBER).id for queue in queues]


def test_it_runs_the_jobs_of_an_application(project: Path, store: list[str]) -> None:
    """The store named by the options wins over the application's own, and a burst ends when all is done."""
    app, (job_id,) = enqueued(store, "default")
    found = worker(project, "--app", "shop:app", "--app-dir", ".", "--burst", "--concurrency", "3", *store)
    with app:
        job = app.job(job_id)

        assert found.returncode == 0, found.stderr
        assert (job.state, job.result()) == (State.COMPLETED, 2 * NUMBER)
        assert "serving default, rare, 3 jobs at a time" in found.stderr


def test_it_serves_only_the_queues_that_are_named(project: Path, store: list[str]) -> None:
    """Jobs of other queues stay where they are, whatever tasks the application has."""
    app, (other, named) = enqueued(store, "default", "rare")
    worker(project, "--app", "shop:app", "--app-dir", ".", "--burst", "--queues", "rare, more", *store)
    with app:
        assert (app.job(other).state, app.job(named).state) == (State.QUEUED, State.COMPLETED)


def test_arguments_and_results_are_not_logged(project: Path, store: list[str]) -> None:
    """Not even in the detailed log."""
    app, _ = enqueued(store, "default")
    app.close()
    found = worker(project, "--app", "shop:app", "--app-dir", ".", "--burst", "-v", *store)

    assert "serving default" in found.stderr
    assert str(NUMBER) not in found.stderr
    assert str(2 * NUMBER) not in found.stderr


def test_the_working_directory_is_not_looked_into(project: Path) -> None:
    """Code is imported from a directory only if that is named."""
    found = worker(project, "--app", "shop:app")

    assert found.returncode == 2
    assert "cannot find module 'shop' on the import path; --app-dir DIR adds a directory" in found.stderr


@pytest.mark.parametrize("where", ["shop", "shop:", ":app", "shop:nothing", "shop:other"])
def test_what_is_no_application_is_refused(project: Path, where: str) -> None:
    """By name, without a traceback."""
    found = worker(project, "--app", where, "--app-dir", ".")

    assert found.returncode == 2
    assert repr(where) in found.stderr
    assert "Traceback" not in found.stderr


def test_a_module_that_lacks_something_says_what(project: Path) -> None:
    """The error is the module's own, not one about its name."""
    (project / "shop.py").write_text("import surely_not_installed")
    found = worker(project, "--app", "shop:app", "--app-dir", ".")

    assert "ModuleNotFoundError: No module named 'surely_not_installed'" in found.stderr


def test_a_store_in_memory_is_refused(project: Path) -> None:
    """No other process could enqueue into it."""
    found = worker(project, "--app", "shop:app", "--app-dir", ".", "--burst")

    assert found.returncode == 1
    assert "cannot use MemoryBackend for stanchion worker: it exists in one process only" in found.stderr
