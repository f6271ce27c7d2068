"""What type checkers must make of the kit for applications. It is never run: mypy and pyright read it.

Lines that end in `type: ignore` are wrong on purpose; mypy reports an ignore that silences nothing.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, assert_type

from stanchion import Stanchion
from stanchion_testing.clock import VirtualClock
from stanchion_testing.kit import Kit
from stanchion_testing.seen import SeenJob

app = Stanchion("memory://")


@app.task
async def welcome(address: str) -> int:
    """A task of the application under test."""
    return len(address)


def jobs_have_the_result_of_their_task(kit: Kit) -> None:
    """Where the task is known."""
    assert_type(kit.enqueued(welcome), list[SeenJob[int]])
    assert_type(kit.enqueued(), list[SeenJob[Any]])
    assert_type(kit.enqueued("welcome"), list[SeenJob[Any]])
    assert_type(kit.assert_enqueued(welcome).result(), int)
    assert_type(kit.assert_enqueued(welcome).args, Mapping[str, Any])
    assert_type(kit.drain(within=timedelta(hours=1)), list[SeenJob[Any]])
    assert_type(kit.run_one(raises=False), SeenJob[Any])


async def so_have_the_async_twins(kit: Kit) -> None:
    """Awaited."""
    assert_type(await kit.adrain(), list[SeenJob[Any]])
    assert_type(await kit.arun_one(), SeenJob[Any])


def filters_are_known(kit: Kit) -> None:
    """By name and type, and the same for all three."""
    kit.enqueued(welcome, args={"address": "ada"}, queue="mail", tags={"vip"}, delay=60, state="queued")
    kit.assert_enqueued(welcome, address="ada")  # type: ignore[call-overload]
    kit.refute_enqueued(welcome, priority="high")  # type: ignore[arg-type]
    kit.enqueued(5)  # type: ignore[call-overload]


def failures_are_exceptions(kit: Kit) -> None:
    """Made, or to be made."""
    kit.fail_call(welcome, 2, error=ValueError("no"), after=True)
    kit.fail_call(welcome, error=ValueError)
    kit.fail_call(welcome, error="no")  # type: ignore[arg-type]


def overriding_gives_the_same_application() -> None:
    """For a while."""
    with app.override("memory://", clock=VirtualClock(), concurrency=3) as same:
        assert_type(same, Stanchion)
    with Kit(app, clock=VirtualClock(), run_twice=True) as kit:
        assert_type(kit, Kit)
