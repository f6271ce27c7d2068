"""Other processes that do what a test tells them, in themselves or in forks."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from threading import Timer
from typing import Any, Final

ROOT: Final = Path(__file__).parent.parent
"""Where `support` is imported from."""

PATIENCE: Final = 60.0
"""Seconds until a deed counts as never done; long, because a busy machine is not a failure."""


class Hand:
    """A process that does one deed after another: functions of modules of `support`, as `module:function`.

    Arguments and answers are JSON. It has one thread, but for those that a deed starts.
    """

    def __init__(self) -> None:
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "support.hands"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            start_new_session=True,
        )

    def begin(self, deed: str, *args: Any) -> None:
        """Let it begin; ask for `answer` later."""
        assert self._popen.stdin is not None
        self._popen.stdin.write(json.dumps([deed, *args], default=str) + "\n")

    def answer(self, *, within: float = PATIENCE) -> Any:
        """What the deed that was begun returned, once it is done.

        Raises:
            AssertionError: It raised, and the message is its traceback; or it was not done within that many seconds.
        """
        assert self._popen.stdout is not None
        alarm = Timer(within, self._kill)
        alarm.start()
        line = self._popen.stdout.readline()
        alarm.cancel()
        done, answer = json.loads(line or '[false, "it was killed: it was not done in time, or died"]')
        assert done, answer
        return answer

    def do(self, deed: str, *args: Any) -> Any:
        """Let it do something; what that returned."""
        self.begin(deed, *args)
        return self.answer()

    def fork(self, deed: str, *args: Any) -> "Fork":
        """Let a fork of it do something; it ends with the deed."""
        return Fork(self, self.do("hands:fork", deed, *args))

    def close(self) -> None:
        """End it and its forks."""
        self._kill()
        self._popen.communicate()

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)


class Fork:
    """A child of a hand."""

    def __init__(self, hand: Hand, pid: int) -> None:
        self._hand, self.pid = hand, pid

    def kill(self) -> int:
        """End it, whatever it does; how it ended, as `ended` says."""
        os.kill(self.pid, signal.SIGKILL)
        return self.ended()

    def ended(self) -> int:
        """Wait for its end: 0 if its deed was done, minus the signal that killed it."""
        status: int = self._hand.do("hands:reap", self.pid)
        return status


@contextmanager
def hands(number: int) -> Iterator[list[Hand]]:
    """Processes, which are gone at the end."""
    started = [Hand() for _ in range(number)]
    try:
        yield started
    finally:
        for hand in started:
            hand.close()


def fork(deed: str, *args: Any) -> int:
    """In a hand: begin a deed in a child; its number."""
    function = _named(deed)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            function(*args)
            status = 0
        finally:
            os._exit(status)
    return pid


def reap(pid: int) -> int:
    """In a hand: wait for the end of a child; its exit status."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _named(deed: str) -> Any:
    module, _, function = deed.partition(":")
    return getattr(import_module(f"support.{module}"), function)


def _main() -> None:
    """What the process does: it reads a line for each deed, and writes one for each answer."""
    import traceback

    for line in sys.stdin:
        deed, *args = json.loads(line)
        try:
            answer = [True, _named(deed)(*args)]
        except Exception:  # noqa: BLE001  # it is told to the test
            answer = [False, traceback.format_exc()]
        print(json.dumps(answer), flush=True)  # noqa: T201


if __name__ == "__main__":
    _main()
