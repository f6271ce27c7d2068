"""The demo on a file of its own: what it reads, what it leaves out, and what it says about it."""

import json
import os
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from stanchion import Stanchion, State
from stanchion.cli.commands import stanchion
from stanchion.codec.payloads import decode
from stanchion_demo.report import FileFailure
from stanchion_demo.run import DemoRun
from stanchion_demo.tasks import CHUNK, FileFacts, demo_app, draft, path_of, tree_of
from support.workers import step


@pytest.fixture(autouse=True)
def working_directory(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo keeps its jobs in a fresh directory, whatever the machine is set to."""
    monkeypatch.delenv("STANCHION_BACKEND", raising=False)
    monkeypatch.delenv("STANCHION_NAMESPACE", raising=False)
    directory = tmp_path_factory.mktemp("working")
    monkeypatch.chdir(directory)
    return directory


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Three files of four lines and 18 bytes together, and what is left out."""
    (tmp_path / "pkg" / "__pycache__").mkdir(parents=True)
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    (tmp_path / "pkg" / "b.txt").write_text("three\nfour")
    (tmp_path / "pkg" / "empty").touch()
    (tmp_path / "pkg" / "__pycache__" / "b.pyc").write_text("left out")
    (tmp_path / "site-packages" / "c.py").write_text("left out")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


def demo(*args: object) -> Result:
    """The outcome of the demo, run inside this process."""
    return CliRunner().invoke(stanchion, ["demo", *map(str, args)], catch_exceptions=False)


def a_run(tree: Path) -> tuple[Stanchion, DemoRun]:
    """A run that has looked for its files and not begun to work."""
    app, task = demo_app(tree, None, 2)
    return app, DemoRun(app, task, tree, tree_of(tree))


def facts_of(path: Path) -> FileFacts:
    """What a job finds out about a file."""
    app, task = demo_app(path.parent, None, 1)
    with app:
        (job,) = app.enqueue_many([draft(task, path.parent, path)])
        step(app, queues=[job.queue])
        record = job.refresh().record
        assert record is not None
        facts: FileFacts = decode(record.notes["result"], FileFacts)
        return facts


def test_every_file_is_read(tree: Path) -> None:
    """Caches, installed packages and what is no file are left out."""
    result = demo(tree, "--json")
    found = json.loads(result.output)

    assert result.exit_code == 0
    assert (found["files"], found["completed"], found["bytes"], found["lines"]) == (3, 3, 18, 4)
    assert (found["failures"], found["missing"], found["earlier"]) == ([], [], 0)


@pytest.mark.parametrize("content", [b"", b"\n", b"no end", b"end\n", b"x\n" * CHUNK + b"over"])
def test_what_is_recorded_of_a_file(tmp_path: Path, content: bytes) -> None:
    """Digest, size and number of lines, also across chunks."""
    path = tmp_path / "file"
    path.write_bytes(content)

    assert facts_of(path) == FileFacts(sha256(content).hexdigest(), len(content), len(content.splitlines()))


def test_a_name_of_any_bytes_is_read(tmp_path: Path) -> None:
    """Names that are no text are carried as URIs."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9 %41#?.txt"))
    path.write_text("bon")

    assert path_of(path.as_uri()) == path
    assert facts_of(path).size == 3


def test_a_file_that_cannot_be_read_is_accounted_for(tree: Path) -> None:
    """It is a failure with its cause, tried once, and no reason to end badly."""
    (tree / "dangling").symlink_to("nowhere")
    result = demo(tree, "--json")
    found = json.loads(result.output)

    assert result.exit_code == 0
    assert (found["files"], found["completed"]) == (4, 3)
    assert found["failures"] == [
        {"path": "dangling", "cause": "FileNotFoundError: No such file or directory"}
    ]
    assert (found["tasks"]["measure"]["failed"], found["tasks"]["measure"]["retrying"]) == (1, 0)


def test_a_file_that_became_a_directory_is_accounted_for(tree: Path) -> None:
    """What changed between looking and reading is a failure like another."""
    app, run = a_run(tree)
    (tree / "a.txt").unlink()
    (tree / "a.txt").mkdir()
    with app:
        run.work(lambda _counts, _remark: None)

        assert run.summary().failures == [
            FileFailure(path="a.txt", cause="IsADirectoryError: Is a directory")
        ]


def test_a_file_without_a_job_is_not_accounted_for(tree: Path) -> None:
    """If somebody deletes the record of a file, the summary misses it, and says so."""
    app, run = a_run(tree)
    with app:
        run.work(lambda _counts, _remark: None)
        next(app.jobs(next(iter(app.queues())), State.COMPLETED)).delete()
        summary = run.summary()

        assert len(summary.missing) == 1
        assert not summary.whole


def test_an_empty_directory_is_soon_done(tmp_path: Path) -> None:
    """Nothing to do is no error."""
    result = demo(tmp_path)

    assert result.exit_code == 0
    assert "0 files of" in result.output


def test_two_directories_have_two_queues(tmp_path: Path) -> None:
    """And one directory always has the same."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    queues = [demo_app(tmp_path / name, None, 1)[1].definition.options.queue for name in ("a", "b", "a")]

    assert queues[0] == queues[2] != queues[1]


def test_without_a_terminal_it_prints_plain_lines(tree: Path) -> None:
    """Names, numbers and no control codes, whatever files are called."""
    (tree / "evil\x1b[2J\u202e.txt").write_text("hello\n")
    (tree / "dangling").symlink_to("nowhere")
    output = demo(tree).output

    assert f"5 files of {tree}, 10 at a time, sqlite:///jobs.db\n" in output
    assert "5 of 5 files\n" in output
    assert [line.split() for line in output.splitlines() if line.startswith("files")] == [
        ["files", "5", "4", "read"]
    ]
    assert r"evil\x1b[2J\u202e.txt" in output
    assert "FileNotFoundError: No such file or directory" in output
    assert all(character.isprintable() or character == "\n" for character in output)


def test_the_slowest_files_are_named(tree: Path) -> None:
    """Each file's time is taken by middleware and stored with its job."""
    found = json.loads(demo(tree, "--json").output)["slowest"]

    assert {one["path"] for one in found} == {"a.txt", "pkg/b.txt", "pkg/empty"}
    assert all(one["seconds"] > 0 for one in found)
    assert [one["seconds"] for one in found] == sorted((one["seconds"] for one in found), reverse=True)


def test_jobs_are_kept_in_the_working_directory(tree: Path, working_directory: Path) -> None:
    """So the same command again does nothing twice."""
    first, second = (json.loads(demo(tree, "--json").output) for _ in range(2))

    assert (first["earlier"], second["earlier"]) == (0, 3)
    assert second["tasks"] == {}
    assert [path.name for path in working_directory.iterdir()] == ["jobs.db"]


def test_in_memory_nothing_is_kept(tree: Path, working_directory: Path) -> None:
    """Whoever asks for memory gets memory."""
    found = [json.loads(demo(tree, "--json", "--backend", "memory://").output) for _ in range(2)]

    assert [one["earlier"] for one in found] == [0, 0]
    assert list(working_directory.iterdir()) == []


def test_the_standard_library_is_the_default(monkeypatch: pytest.MonkeyPatch, tree: Path) -> None:
    """Without a directory it reads what every Python has."""
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"stdlib": str(tree)})

    assert f"3 files of {tree.resolve()}" in demo().output


def test_a_directory_that_cannot_be_listed_is_not_accounted_for(tree: Path) -> None:
    """Its files are not known, so not all is well."""
    gone = tree / "gone"
    app, task = demo_app(tree, None, 2)
    with app:
        run = DemoRun(app, task, tree, tree_of(gone))
        run.work(lambda _counts, _remark: None)
        summary = run.summary()

        assert summary.unlisted == [str(gone)]
        assert not summary.whole
