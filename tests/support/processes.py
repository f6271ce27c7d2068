"""Worker processes, as `stanchion worker` starts them, and the journal that their handlers write."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest
from attrs import frozen

from stanchion import Stanchion
from support.waiting import eventually

HERE: Final = Path(__file__).parent


@frozen
class Line:
    """One line of the journal."""

    job_id: str
    run: int
    pid: int
    word: str
    at: float
    """By `time.monotonic`."""


class Process:
    """One worker process; its standard error is kept in a file."""

    def __init__(self, popen: "subprocess.Popen[bytes]", log: Path) -> None:
        self._popen, self._log = popen, log

    @property
    def pid(self) -> int:
        """Its number."""
        return self._popen.pid

    @property
    def log(self) -> str:
        """What it said so far."""
        return self._log.read_text()

    @property
    def output(self) -> str:
        """What its handlers printed so far."""
        return self._log.with_suffix(".out").read_text()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._popen.send_signal(number)

    def ended(self, within: float = 20) -> int:
        """Wait for its end; its exit status."""
        return self._popen.wait(within)

    def kill(self) -> None:
        """End it, whatever it does, and wait until it is gone."""
        self._popen.kill()
        self._popen.wait()


class Scene:
    """An application in a namespace of its own, the journal of its handlers, and its worker processes."""

    def __init__(self, directory: Path, url: str, settings: dict[str, str]) -> None:
        self._directory, self.url = directory, url
        self.journal = directory / "journal"
        self._settings = {
            "STANCHION_BACKEND": url,
            "STANCHION_NAMESPACE": f"t-{directory.name}",
            "JOURNAL": str(self.journal),
            **{f"STANCHION_{name.upper()}": value for name, value in settings.items()},
        }
        self._processes: list[Process] = []
        self.tasks = self._load()
        """The module `support.tasks_app` as this process sees it, to enqueue with."""

    @property
    def app(self) -> Stanchion:
        """The application."""
        app: Stanchion = self.tasks.app
        return app

    def _load(self) -> ModuleType:
        module = ModuleType("tasks_app")
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self._settings.items():
                patch.setenv(name, value)
            exec(compile((HERE / "tasks_app.py").read_text(), "tasks_app.py", "exec"), module.__dict__)  # noqa: S102
        return module

    def worker(self, *options: str, url: str | None = None) -> Process:
        """Start a worker process."""
        command = [str(Path(sys.executable).with_name("stanchion")), "worker", *options]
        return self._start([*command, "--app", "tasks_app:app", "--app-dir", str(HERE)], url)

    def program(self, path: Path) -> Process:
        """Start a program of a test's own, which can import the application."""
        return self._start([sys.executable, str(path)], None)

    def _start(self, command: list[str], url: str | None) -> Process:
        log = self._directory / f"worker-{len(self._processes)}.log"
        output = log.with_suffix(".out")
        environment = {
            **os.environ,
            **self._settings,
            "STANCHION_BACKEND": url or self.url,
            "PYTHONPATH": str(HERE),
            "PYTHONUNBUFFERED": "",  # else there is no output that could be lost
        }
        with log.open("wb") as file, output.open("wb") as out:
            popen = subprocess.Popen(command, env=environment, stderr=file, stdout=out)
        self._processes.append(Process(popen, log))
        return self._processes[-1]

    @contextmanager
    def locked_file(self, path: Path) -> Iterator[None]:
        """Hold a database locked, as a program does that keeps a transaction open."""
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield

    def lines(self) -> list[Line]:
        """The journal so far."""
        parts = [line.split() for line in self.journal.read_text().splitlines()]
        return [Line(job, int(run), int(pid), word, float(at)) for job, run, pid, word, at in parts]

    def line(self, wanted: Callable[[Line], bool], within: float = 20) -> Line:
        """The first line that is as wanted, once there is one."""
        return eventually(lambda: next(filter(wanted, self.lines()), None), within=within)

    def starts(self) -> Counter[str]:
        """How often each job was started."""
        return Counter(line.job_id for line in self.lines() if line.word == "start")

    def close(self) -> None:
        """Kill what still runs."""
        for process in self._processes:
            process.kill()
        self.app.close()


@contextmanager
def a_scene(directory: Path, url: str, **settings: Any) -> Iterator[Scene]:
    """A scene with these settings, such as `lease=2`, whose processes are gone at the end."""
    scene = Scene(directory, url, {name: str(value) for name, value in settings.items()})
    try:
        yield scene
    finally:
        scene.close()
