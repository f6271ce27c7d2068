"""A server that a test kills, and starts again on the same port with the same files."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from support.servers import answers, binary, free_port
from support.waiting import eventually

LASTING: Final = ("--appendonly", "yes", "--save", "")
"""Settings of a server that keeps what it acknowledged when it is killed."""


class KillableServer:
    """One server."""

    def __init__(self, directory: Path) -> None:
        self._port = free_port()
        self._directory = directory
        self.url = f"redis://127.0.0.1:{self._port}"
        """Where it is, also after it was started again."""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = ["--bind", "127.0.0.1", "--port", str(self._port), "--dir", str(self._directory), *LASTING]
        with (self._directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen([binary(), *settings], stdout=log, stderr=log)
        eventually(lambda: answers(self.url))

    def kill(self) -> None:
        """End it as a power cut would, but for what the system has in hand."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def a_killable_server(directory: Path) -> Iterator[KillableServer]:
    """A server that answers, and is gone at the end."""
    directory.mkdir()
    server = KillableServer(directory)
    server.start()
    try:
        yield server
    finally:
        server.kill()
