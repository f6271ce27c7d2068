"""Stories of a process that forks while it uses a SQLite file, for a hand to live through; see `support.hands`."""

import ctypes
import os
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from itertools import count
from time import monotonic
from typing import Final

from stanchion import State
from stanchion.contract.requests import Get, Wait
from stanchion.errors import BackendError
from stanchion_conformance.invariants import listed
from stanchion_conformance.making import QUEUE, a_claim, an_item, inserted, keys_of
from stanchion_sqlite import SqliteBackend
from support.sqlite_deeds import backend_on
from support.waiting import eventually

LONG: Final = timedelta(seconds=60)
"""Longer than anybody waits who is woken."""


class Meeting:
    """Where a parent and its child wait for each other."""

    def __init__(self) -> None:
        self._ends = [os.pipe(), os.pipe()]
        self._is_child = False

    def fork(self) -> int:
        """Fork; what `os.fork` returns."""
        pid = os.fork()
        self._is_child = pid == 0
        return pid

    def meet(self) -> None:
        """Wait until the other is here too."""
        mine, theirs = self._ends[self._is_child], self._ends[not self._is_child]
        os.write(theirs[1], b".")
        os.read(mine[0], 1)


def both_go_on(path: str) -> dict[str, list[str]]:
    """Parent and child insert after a fork, and the child again after the parent has closed the file.

    What the parent saw, and what there is in the end.
    """
    meeting, backend = Meeting(), backend_on(path)
    inserted(backend, an_item("before"))
    child = meeting.fork()
    inserted(backend, an_item("child" if child == 0 else "parent"))
    meeting.meet()
    if child == 0:
        meeting.meet()
        _in_child(lambda: inserted(backend, an_item("child-later")))
    seen = _keys(backend)
    backend.close()
    meeting.meet()
    os.waitpid(child, 0)
    with closing(backend_on(path)) as again:
        return {"parent": seen, "left": _keys(again)}


def threads_at_work(path: str, forks: int) -> list[int]:
    """Fork again and again while threads write, read and wait; how the children, which do the same, ended."""
    backend, ending, numbers = backend_on(path), threading.Event(), count()

    def work() -> None:
        while not ending.is_set():
            _use(backend, f"{next(numbers)}")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    ends = []
    for number in range(forks):
        child = os.fork()
        if child == 0:
            _in_child(lambda number=number: _use(backend, f"child-{number}"))
        ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    ending.set()
    for thread in threads:
        thread.join()
    backend.close()
    return ends


def child_waits(path: str) -> float:
    """Fork while a thread waits, and let the child wait for what the parent inserts; how many seconds it did."""
    meeting, backend = Meeting(), backend_on(path)
    inserted(backend, an_item("before"))
    a_claim(backend)
    waiting = threading.Thread(target=backend.wait, args=(Wait([QUEUE], LONG),))
    waiting.start()
    eventually(lambda: backend._bell._looking)
    child = meeting.fork()
    if child == 0:
        a_claim(backend, claim_id="of the child")
        meeting.meet()
        _in_child(lambda: backend.wait(Wait([QUEUE], LONG)))
    meeting.meet()
    began = monotonic()
    inserted(backend, an_item("news"))
    os.waitpid(child, 0)
    backend.close()
    waiting.join()
    return monotonic() - began


def forked_unseen(path: str) -> str:
    """Fork as a library in C may, without Python's knowledge; what the child gets when it uses the backend."""
    backend, (mine, its) = backend_on(path), os.pipe()
    inserted(backend, an_item())
    child = ctypes.PyDLL(None).fork()
    if child == 0:
        try:
            inserted(backend, an_item("b"))
        except BackendError as error:
            os.write(its, str(error).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(its)
    with os.fdopen(mine, "rb") as said, closing(backend):
        return said.read().decode()


def _use(backend: SqliteBackend, name: str) -> None:
    inserted(backend, an_item(name))
    backend.get(Get([f"{QUEUE}:{name}"]))
    a_claim(backend, claim_id=f"of {name}", limit=2)
    backend.wait(Wait([QUEUE], timedelta(milliseconds=1)))


def _keys(backend: SqliteBackend) -> list[str]:
    return sorted(keys_of(listed(backend, QUEUE, State.QUEUED)))


def _in_child(act: Callable[[], object]) -> None:
    """Do this, and end."""
    status = 1
    try:
        act()
        status = 0
    finally:
        os._exit(status)
