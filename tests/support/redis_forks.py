"""Stories of a process that forks while it uses a Redis backend, for a hand to live through; see `support.hands`."""

import os
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta

from stanchion.contract.requests import Wait
from stanchion.model.changes import Topic
from stanchion.model.states import State
from stanchion_conformance.making import QUEUE, change, taken
from stanchion_redis import RedisBackend
from stanchion_redis.connections import CONNECTIONS
from support.sqlite_forks import Meeting
from support.waiting import eventually

Told = dict[str, object]


def a_call(url: str, namespace: str) -> Told:
    """Fork after a call: which connections parent and child use, by the server's numbers."""
    return _both(url, namespace, lambda backend: backend._lane.send("CLIENT", "ID"))


def a_wait(url: str, namespace: str) -> Told:
    """Fork after a wait: which connections parent and child wait on."""
    return _both(url, namespace, lambda backend: backend._waiting.send("CLIENT", "ID"))


def a_watch(url: str, namespace: str) -> Told:
    """Fork with an open watch: what parent and child hear on it of the same end, the child first."""
    meeting, backend = Meeting(), RedisBackend(url, namespace=namespace)
    job = taken(backend)
    watch = backend.watch([QUEUE], Topic.ENDED)

    def heard() -> list[str]:
        return sorted(eventually(lambda: watch.next(timedelta(seconds=1))))

    mine, its = os.pipe()
    if meeting.fork() == 0:
        watch.next(timedelta(0))  # connects anew
        meeting.meet()
        _in_child(its, heard)
    meeting.meet()
    change(backend, job, State.COMPLETED)
    told = os.read(mine, 1000).decode()
    found = {"child": told, "parent": repr(heard())}
    watch.close()
    backend.close()
    os.wait()
    return found


def a_crowd(url: str, namespace: str) -> Told:
    """Fork while there are as many watches as there may be: whether the child can open one."""
    with closing(RedisBackend(url, namespace=namespace)) as backend:
        turns = [backend._watching.turns().take(0) for _ in range(CONNECTIONS)]
        mine, its = os.pipe()
        if os.fork() == 0:
            _in_child(its, lambda: backend.watch([QUEUE], Topic.ENDED).next(timedelta(0)))
        told = os.read(mine, 1000).decode()
        os.wait()
        return {"child": told, "turns of the parent": len(turns)}


def _both(url: str, namespace: str, act: Callable[[RedisBackend], object]) -> Told:
    """Do something before a fork, then in the child, then again in the parent."""
    with closing(RedisBackend(url, namespace=namespace)) as backend:
        backend.wait(Wait([QUEUE], timedelta(0)))
        before, (mine, its) = act(backend), os.pipe()
        if os.fork() == 0:
            _in_child(its, lambda: act(backend))
        told = os.read(mine, 1000).decode()
        os.wait()
        return {"before": repr(before), "child": told, "parent": repr(act(backend))}


def _in_child(told: int, act: Callable[[], object]) -> None:
    """Tell what this answers, and end."""
    try:
        os.write(told, repr(act()).encode())
    except Exception as error:  # noqa: BLE001  # the parent shall see it
        os.write(told, repr(error).encode())
    finally:
        os._exit(0)
