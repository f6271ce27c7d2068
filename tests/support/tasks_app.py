"""The application that worker processes run in tests.

Its settings come from the environment. Handlers append lines to a journal, a file outside of any queue, so that
what ran can be told without asking the queue.
"""

import asyncio
import multiprocessing
import os
import threading
from contextlib import suppress
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Final

from stanchion import Fixed, Stanchion, current_job

JOURNAL: Final = os.environ["JOURNAL"]
_journal: Final = os.open(JOURNAL, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

app = Stanchion()


def note(word: str) -> None:
    """Append a line: id, run, process, word, and when by the clock that all processes of this machine share."""
    job = current_job()
    os.write(_journal, f"{job.id} {job.run} {os.getpid()} {word} {monotonic():.3f}\n".encode())


def gate(name: str) -> Path:
    """A file whose existence lets handlers pass."""
    return Path(f"{JOURNAL}.{name}")


@app.task
async def tally() -> None:
    """Does nothing but be counted."""
    note("start")


@app.task(backoff=Fixed(0))
async def steady() -> int:
    """Takes a moment."""
    note("start")
    await asyncio.sleep(0.01)  # the work
    note("end")
    return current_job().run


@app.task
async def endless_at_first() -> int:
    """Its first run does not end by itself."""
    note("start")
    if current_job().run == 1:
        await asyncio.Event().wait()
    note("end")
    return current_job().run


@app.task
async def gated() -> int:
    """Its first run ends once the gate is open, the others at once."""
    note("start")
    while current_job().run == 1 and not gate("open").exists():  # noqa: ASYNC110 - another process opens it
        await asyncio.sleep(0.02)
    note("end")
    return current_job().run


@app.task
def deaf() -> None:
    """A thread that never returns."""
    note("start")
    threading.Event().wait()


@app.task
async def stubborn() -> None:
    """Runs on the loop, and swallows every cancellation."""
    note("start")
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


@app.task(timeout=1, retries=0)
async def blocking() -> None:
    """Blocks the loop for good, on something that a signal does not end."""
    note("start")
    threading.Event().wait()


@app.task(retries=0)
def forking() -> str:
    """Forks a process, as multiprocessing does, and ends it by SIGTERM."""
    note("start")
    child = multiprocessing.get_context("fork").Process(target=Event().wait)
    child.start()
    child.terminate()
    child.join(10)
    ended = "killed" if child.is_alive() else "terminated"
    child.kill()
    child.join()
    return ended


@app.task
def say(number: int) -> None:
    """Prints, into a buffer."""
    print("line", number)  # noqa: T201
