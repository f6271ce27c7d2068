"""The demo on a file and on a real server: stopped, killed, and gone on with."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from stanchion import Stanchion, State
from stanchion.model.records import Record
from support.stores import own_namespace
from support.waiting import eventually

SMALL = 20
"""Files before the large one, and as many after it."""

LARGE = 4 << 30
"""Bytes of a file that takes seconds to read, and no room on the disk."""


@pytest.fixture
def namespace(redis_url: str) -> Iterator[str]:
    """A namespace of this test's own on the server."""
    with redis.Redis.from_url(redis_url) as client, own_namespace(client) as namespace:
        yield namespace


@pytest.fixture(params=["file", "server"])
def app(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stanchion]:
    """An application that looks at the store in which this test's demos run."""
    monkeypatch.delenv("STANCHION_BACKEND", raising=False)
    monkeypatch.chdir(request.getfixturevalue("tmp_path_factory").mktemp("working"))
    if request.param == "server":
        monkeypatch.setenv("STANCHION_BACKEND", request.getfixturevalue("redis_url"))
        monkeypatch.setenv("STANCHION_NAMESPACE", request.getfixturevalue("namespace"))
    with Stanchion(plugins=()) as app:
        yield app


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Small files, then a large one, then small ones: read one at a time, in this order."""
    for number in range(SMALL):
        (tmp_path / f"a{number:02}").write_text("small\n")
        (tmp_path / f"z{number:02}").write_text("small\n")
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", LARGE)
    return tmp_path


def demo(tree: Path, *args: str) -> "subprocess.Popen[str]":
    """A demo that runs in a process of its own."""
    command = [
        str(Path(sys.executable).with_name("stanchion")),
        "demo",
        str(tree),
        "--concurrency",
        "1",
        *args,
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def counts(app: Stanchion) -> dict[State, int]:
    """How many of the demo's jobs are in each state; none before it began."""
    return {state: count for queue in app.queues() for state, count in app.queue(queue).count().items()}


def is_reading_the_large_file(app: Stanchion) -> bool:
    """Whether the first small files are done, and the next one is being read."""
    found = counts(app)
    return bool(found) and found[State.COMPLETED] == SMALL and found[State.RUNNING] == 1


def go_on(tree: Path) -> dict[str, object]:
    """Run the demo again, to its end, the large file being no longer large; its summary."""
    os.truncate(tree / "large", 6)
    with demo(tree, "--json") as second:
        output, _ = second.communicate(timeout=60)
        assert second.returncode == 0
        found: dict[str, object] = json.loads(output)
        return found


def records(app: Stanchion) -> list[Record]:
    """All jobs of the demo, the one that was started most often first."""
    (queue,) = app.queues()
    found = [job.record for job in app.jobs(queue, State.COMPLETED) if job.record is not None]
    return sorted(found, key=lambda record: record.run, reverse=True)


def test_a_killed_run_is_completed_by_the_next(app: Stanchion, tree: Path) -> None:
    """Nothing is lost, and nothing is read twice but the file that was being read when it was killed."""
    with demo(tree) as first:
        eventually(lambda: is_reading_the_large_file(app))
        first.kill()
    found = go_on(tree)
    interrupted, *others = records(app)

    assert (found["files"], found["completed"], found["missing"]) == (2 * SMALL + 1, 2 * SMALL + 1, [])
    assert found["earlier"] == SMALL
    assert (interrupted.run, interrupted.count("lost")) == (2, 1)
    assert {record.run for record in others} == {1}


def test_a_run_that_is_stopped_hands_back_its_file(app: Stanchion, tree: Path) -> None:
    """Ctrl-C ends it with a line that says how to go on; the next run does, and no attempt was used up."""
    with demo(tree) as first:
        eventually(lambda: is_reading_the_large_file(app))
        first.send_signal(signal.SIGINT)
        _, said = first.communicate(timeout=60)
    waiting = counts(app)
    found = go_on(tree)
    interrupted, *others = records(app)

    assert first.returncode == 130
    assert f"stopped, {SMALL} of {2 * SMALL + 1} files are done: run the same command again" in said
    assert waiting[State.RUNNING] == 0
    assert (found["completed"], found["missing"]) == (2 * SMALL + 1, [])
    assert (interrupted.run, interrupted.count("attempts"), interrupted.count("lost")) == (2, 1, 0)
    assert {record.run for record in others} == {1}


def test_a_second_ctrl_c_does_not_wait(app: Stanchion, tree: Path) -> None:
    """The file is handed back at once."""
    with demo(tree) as first:
        eventually(lambda: is_reading_the_large_file(app))
        first.send_signal(signal.SIGINT)
        first.send_signal(signal.SIGTERM)
        first.communicate(timeout=60)

    assert first.returncode == 130
    assert counts(app)[State.RUNNING] == 0


def test_a_run_on_what_is_done_does_nothing_twice(app: Stanchion, tree: Path) -> None:
    """The second summary is made from the results of the first run."""
    first, second = go_on(tree), go_on(tree)

    assert (first["earlier"], second["earlier"]) == (0, 2 * SMALL + 1)
    assert (first["bytes"], first["lines"]) == (second["bytes"], second["lines"])
    assert second["tasks"] == {}
    assert {record.run for record in records(app)} == {1}


def test_in_memory_it_says_that_nothing_stays(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run in memory that is stopped tells what would have kept its results."""
    monkeypatch.setenv("STANCHION_BACKEND", "memory://")
    with demo(tree) as only:
        eventually(lambda: only.stdout.readline().endswith(" of 41 files\n"))
        only.send_signal(signal.SIGINT)
        _, said = only.communicate(timeout=60)

    assert only.returncode == 130
    assert "with --backend sqlite:///jobs.db the next run continues from here" in said
