"""The command line: what it prints, what it hides, and how it exits."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import pytest
import redis
from click.testing import CliRunner, Result

from stanchion import Job, Stanchion, StanchionError, State, current_job
from stanchion.cli.commands import stanchion
from stanchion.worker import Worker
from support.stores import own_namespace


def run(*args: str) -> Result:
    """The outcome of a command, run inside this process."""
    return CliRunner().invoke(stanchion, args, catch_exceptions=False)


def python(code: str) -> "subprocess.CompletedProcess[str]":
    """The outcome of a program, run in a process of its own."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.fixture
def app(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stanchion]:
    """An application in a namespace of its own, which the environment names for commands."""
    with redis.Redis.from_url(redis_url) as client, own_namespace(client) as namespace:
        monkeypatch.setenv("STANCHION_BACKEND", redis_url)
        monkeypatch.setenv("STANCHION_NAMESPACE", namespace)
        with Stanchion() as app:
            yield app


def a_job(app: Stanchion, *, text: str = "plain") -> Job[Any]:
    """A job that failed with this text, logged it and said how far it was."""

    @app.task(retries=0, tags={"kind:test"})
    async def speak(words: str) -> None:
        current_job().log(words)
        current_job().progress(0.5, words)
        current_job().save({"said": words})
        raise ValueError(words)

    job = speak.enqueue(text)
    Worker(app, burst=True).run()
    return job


def test_it_tells_its_version() -> None:
    """The version is that of the distribution."""
    result = run("--version")

    assert result.output.startswith("stanchion ")
    assert result.exit_code == 0


def test_help_names_every_command_and_loads_none_of_their_tools() -> None:
    """`--help` answers at once: what draws, and what runs workers, is imported by those who need it."""
    found = python(
        "import atexit, sys; from stanchion.cli import main\n"
        "sys.argv = ['stanchion', '--help']\n"
        "atexit.register(lambda: print(*sys.modules.keys() & {'rich', 'asyncio', 'redis'}))\n"
        "main()"
    )
    *text, tools = found.stdout.splitlines()

    assert [line.split()[0] for line in text[-6:]] == ["worker", "info", "stats", "show", "check", "demo"]
    assert tools == ""


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_its_extra_it_says_how_to_get_it(missing: str) -> None:
    """One line with the command to type, no traceback, exit code 2."""
    found = python(f"import sys; sys.modules[{missing!r}] = None; from stanchion.cli import main; main()")

    assert found.returncode == 2
    assert found.stderr == f"the command line needs {missing}: python -m pip install 'stanchion[cli]'\n"


@pytest.mark.parametrize("args", [["nonsense"], ["show"], ["worker"], ["demo", "/no/such/directory"]])
def test_wrong_usage_exits_2(args: list[str]) -> None:
    """A command, argument or option that does not exist or is missing."""
    assert run(*args).exit_code == 2


@pytest.mark.parametrize("args", [["info"], ["show", "mail:1"], ["check"]])
def test_a_store_that_nobody_else_sees_is_refused(args: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A store in memory is empty in every new process; showing that would mislead."""
    monkeypatch.setenv("STANCHION_BACKEND", "memory://")
    result = run(*args)

    assert result.exit_code == 1
    assert "it exists in one process only" in result.output


def test_info_shows_queues_and_counts(app: Stanchion) -> None:
    """One row for each queue; states that no job is in are left out."""
    a_job(app)
    app.queue("default").pause()
    header, row = run("info").output.splitlines()

    assert header.split() == ["queue", "queued", "running", "completed", "failed"]
    assert row.split() == ["default", "paused", "0", "0", "0", "1"]


def test_info_says_so_if_there_is_nothing(app: Stanchion) -> None:
    """An empty store is no error."""
    result = run("info")

    assert result.exit_code == 0
    assert result.output == f"no queues in {app.config.backend}, namespace {app.config.namespace}\n"


def test_info_as_json_has_every_state(app: Stanchion) -> None:
    """For machines nothing is left out."""
    a_job(app)
    (queue,) = json.loads(run("info", "--json").output)["queues"]

    assert (queue["queue"], queue["paused"], queue["jobs"]["failed"]) == ("default", False, 1)
    assert len(queue["jobs"]) == 9


def test_options_go_before_the_environment(app: Stanchion) -> None:
    """A namespace named by an option is the one that is looked at."""
    a_job(app)

    assert run("info", "--namespace", "nobody").output.startswith("no queues in ")


def test_an_unknown_job_exits_1(app: Stanchion) -> None:
    """With the library's own words."""
    result = run("show", "mail:1")

    assert result.exit_code == 1
    assert result.output == (
        "Error: job mail:1 does not exist: it was never enqueued, was deleted, or has expired\n"
    )


def test_show_tells_a_job_s_life(app: Stanchion) -> None:
    """State, attempts, progress, errors, history and log; times are there, payloads are not."""
    job = a_job(app, text="it broke")
    lines = run("show", job.id).output.splitlines()

    assert {"task        speak", "state       failed", "attempts    1 of 1", "runs        1"} <= set(lines)
    assert {"tags        kind:test", "progress    50% it broke", "log", "  it broke"} <= set(lines)
    assert any(line.endswith("run 1  ValueError: it broke") for line in lines)
    assert any(line.endswith("run 1  fail → failed") for line in lines)
    assert {"created", "started", "ended", "deleted"} <= {line.split(" ")[0] for line in lines}


def test_payloads_are_hidden_until_they_are_asked_for(app: Stanchion) -> None:
    """Arguments, results and saved data may be confidential; only their sizes are shown."""
    done = _shouted(app, "quiet words")

    assert "quiet words" not in run("show", done.id, "-v").output
    assert "QUIET WORDS" not in run("show", done.id, "-v").output
    assert 'arguments   {"words":"quiet words"}' in run("show", done.id, "--arguments").output
    assert 'result      "QUIET WORDS"' in run("show", done.id, "--result").output
    assert 'saved       "so far"' in run("show", done.id, "--saved").output


def _shouted(app: Stanchion, words: str) -> Job[Any]:
    @app.task
    async def shout(words: str) -> str:
        current_job().save("so far")
        return words.upper()

    job = shout.enqueue(words)
    Worker(app, burst=True).run()
    return job


def test_tracebacks_are_shown_on_request(app: Stanchion) -> None:
    """They are long."""
    job = a_job(app)

    assert "raise ValueError" not in run("show", job.id).output
    assert "raise ValueError" in run("show", job.id, "-v").output


def test_show_as_json(app: Stanchion) -> None:
    """The same for machines, in ASCII."""
    job = a_job(app, text="naïve \x1b[31m")
    result = run("show", job.id, "--json", "--arguments")
    found = json.loads(result.output)

    assert result.output.isascii()
    assert (found["job"], found["state"], found["attempts"]) == (job.id, "failed", 1)
    assert found["payloads"]["arguments"]["value"] == {"words": "naïve \x1b[31m"}
    assert "value" not in found["payloads"]["saved"]
    assert found["errors"][0]["message"] == "naïve \x1b[31m"


def test_what_is_stored_cannot_write_on_the_terminal(app: Stanchion) -> None:
    """Control characters, ANSI sequences and bidirectional marks are escaped wherever stored text is printed."""
    job = a_job(app, text="\x1b[2Jevil\u202etxt.exe\r\x07\x9b31m")
    output = run("show", job.id, "-v", "--arguments", "--saved").output

    assert r"\x1b[2Jevil\u202etxt.exe\r\x07\x9b31m" in output
    assert all(character.isprintable() or character == "\n" for character in output)


@pytest.mark.parametrize("args", [["info"], ["info", "--json"]])
def test_queues_cannot_write_on_the_terminal(
    app: Stanchion, args: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their names come from the store, which may have other writers."""
    name = "evil\x1b]0;owned\x07\r\nforged"

    def rows(*_: object) -> Iterator[None]:
        return [{"queue": name, "paused": False, "jobs": dict.fromkeys(State, 0)}]
        yield

    monkeypatch.setattr(import_module("stanchion.cli.info"), "_rows", rows)
    output = run(*args).output

    assert "evil" in output
    assert all(character.isprintable() or character == "\n" for character in output)


def test_a_refusal_cannot_write_on_the_terminal(app: Stanchion, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may quote what is stored."""

    def refuse(_: Stanchion, job_id: str) -> None:
        raise StanchionError(f"job {job_id} is damaged: \x1b[2J\r\nforged")

    monkeypatch.setattr(Stanchion, "job", refuse)
    result = run("show", "mail:1")

    assert result.exit_code == 1
    assert result.output == "Error: job mail:1 is damaged: \\x1b[2J\\r\\nforged\n"


@pytest.mark.parametrize("args", [["info"], ["show", "mail:1"], ["demo"]])
def test_a_password_is_never_printed(args: list[str], tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in what is printed at the start, nor in the error about a server that does not answer."""
    monkeypatch.chdir(tmp_path)
    tree = [str(tmp_path)] if args == ["demo"] else []
    result = run(*args, *tree, "--backend", "redis://user:s3c@ret@127.0.0.1:1")

    assert result.exit_code == 1
    assert "127.0.0.1:1 did not answer" in result.output
    assert "s3c" not in result.output
    assert "ret@" not in result.output


def stanchion_process(
    *args: str, stdout: int | IO[bytes] = subprocess.PIPE, **environment: str
) -> "subprocess.CompletedProcess[bytes]":
    """The outcome of the command as it is installed, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", "from stanchion.cli import main; main()", *args],
        stdout=stdout,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
        check=False,
    )


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252"])
def test_a_terminal_without_a_character_shows_its_code(app: Stanchion, encoding: str) -> None:
    """The arrow of the history, and whatever is stored."""
    job = a_job(app, text="世界 went → wrong")
    found = stanchion_process("show", job.id, PYTHONIOENCODING=encoding)

    assert (found.returncode, found.stderr) == (0, b"")
    assert b"fail" in found.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("args", [["--help"], ["--version"], ["info"], ["info", "--json"]], ids=" ".join)
def test_an_output_that_cannot_be_written_is_one_line(
    app: Stanchion, args: list[str], unbuffered: str
) -> None:
    """And exit code 1, so that a script does not go on with half an answer."""
    with Path("/dev/full").open("wb") as full:
        found = stanchion_process(*args, stdout=full, PYTHONUNBUFFERED=unbuffered)

    assert found.returncode == 1
    assert found.stderr == b"Error: cannot write the output: No space left on device\n"


def test_a_reader_that_has_left_is_no_error_to_speak_of(app: Stanchion) -> None:
    """As after `stanchion show … | head`: exit code 1, and nothing else."""
    reads, writes = os.pipe()
    os.close(reads)
    found = stanchion_process("info", "--json", stdout=writes)
    os.close(writes)

    assert (found.returncode, found.stderr) == (1, b"")


def test_an_output_that_is_closed_is_no_error(app: Stanchion) -> None:
    """As with `>&-`: nobody asked to be told anything."""
    found = python(
        "import os, sys; sys.argv = ['stanchion', 'info']\n"
        "sys.stdout = None\n"
        "from stanchion.cli import main; main()"
    )

    assert (found.returncode, found.stderr) == (0, "")


def test_a_scheme_without_a_backend_is_refused() -> None:
    """The message names those there are."""
    result = run("info", "--backend", "nosuch://host")

    assert result.exit_code == 1
    assert "unknown backend 'nosuch://host'; installed: memory://, " in result.output
