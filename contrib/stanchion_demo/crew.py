"""The worker processes of `stanchion demo --kill`: started, killed, replaced, and gone at the end."""

import subprocess
import sys
from collections.abc import Container
from contextlib import suppress
from select import select
from typing import Final, Self

import msgspec

from stanchion.errors import StanchionError
from stanchion_demo.worker import Orders

_COMMAND: Final = (sys.executable, "-P", "-m", "stanchion_demo.worker")
"""`-P`: modules in the working directory are not imported, as with the command itself."""

PATIENCE: Final = 10.0
"""Seconds in which a worker that was asked to stop must end: its grace, and the time to hand back its jobs."""


class Member:
    """One worker process. Signals of a terminal do not reach it; it ends when its input does.

    Args:
        orders: What it is to do.
    """

    def __init__(self, orders: Orders) -> None:
        self._process = subprocess.Popen(
            _COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, process_group=0
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        self._name = ""
        with suppress(BrokenPipeError):  # it has ended; its status says why
            self._input.write(msgspec.json.encode(orders) + b"\n")

    @property
    def name(self) -> str:
        """Its name as a worker; empty until it has started."""
        if not self._name and select([self._output], [], [], 0)[0]:
            self._name = self._output.readline().decode().strip()
        return self._name

    @property
    def status(self) -> int | None:
        """Its exit status, the negative number of the signal that ended it, or `None` while it runs."""
        return self._process.poll()

    def stop(self) -> None:
        """Ask it to stop; the second time, without grace."""
        self._process.terminate()

    def kill(self) -> None:
        """End it with SIGKILL, and wait until it has ended."""
        self._process.kill()
        self._process.wait()
        self.close()

    def end(self) -> None:
        """Wait until it has ended, and kill it if it does not end."""
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.close()

    def close(self) -> None:
        """Close its pipes, once it has ended."""
        self._input.close()
        self._output.close()


class Crew:
    """A number of worker processes; they run while it is entered.

    Args:
        size: How many.

        orders: What each is to do.
    """

    def __init__(self, size: int, orders: Orders) -> None:
        self.size, self.orders = size, orders
        self.members: list[Member] = []
        """Those that run, or ran when last looked at; the longest-serving first."""

    def __enter__(self) -> Self:
        self.fill()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        for member in self.members:
            member.end()
        self.members.clear()

    def fill(self) -> None:
        """Replace those that have ended, whoever killed them.

        Raises:
            StanchionError: One ended by an error of its own, which its replacement would have as well.
        """
        for member in [one for one in self.members if one.status is not None]:
            self.members.remove(member)
            member.close()
            if (member.status or 0) > 0:
                raise StanchionError(
                    f"a worker process ended by itself with exit status {member.status}; its error is above"
                )
        self.members += [Member(self.orders) for _ in range(self.size - len(self.members))]

    def longest_serving(self, names: Container[str | None]) -> Member | None:
        """Return the longest-serving worker among some names.

        Args:
            names: The names of workers.

        Returns:
            The worker; `None` if none of them runs.
        """
        return next((member for member in self.members if member.name and member.name in names), None)

    def kill(self, member: Member) -> None:
        """Kill one; `fill` replaces it.

        Args:
            member: Which one.
        """
        self.members.remove(member)
        member.kill()

    def stop(self) -> None:
        """Ask all to stop; the second time, without grace."""
        for member in self.members:
            member.stop()
