"""How runners call handlers: in groups, each run once, and no run held up by another."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import pytest

from stanchion import hookimpl
from stanchion.app.tasks import Definition
from stanchion.context import StopReason
from stanchion.engine.threads import Threads
from stanchion.model.decisions import Completed, Ended, Failed, Released
from stanchion.model.states import State
from stanchion.plugins.manager import Plugins
from stanchion.worker import runner
from stanchion.worker.runner import HANDLERS, InThreads, OnLoop, Runners
from stanchion.worker.runs import Act, Lease, Phase, Run
from support.factories import a_record
from support.waiting import aeventually, eventually

WAIT = 20
"""Seconds after which a handler ends that no test has let go on."""


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Holds up handlers until the test is over at the latest."""
    gate = threading.Event()
    yield gate
    gate.set()


def a_run(handler: Callable[[], Any], key: str = "a") -> Run:
    """A run of a handler, as a worker gives it to a runner."""
    run = Run(a_record(State.RUNNING, id=f"mail:{key}"), Lease(0, 30), 0)
    run.assign(Definition.of(handler, "handler", {}))
    return run


def quick() -> None: ...


class Scene:
    """A runner of threads on the running loop, and what it says of its runs."""

    def __init__(
        self, most: int = 8, *, plugins: Sequence[object] = (), threads: Threads | None = None
    ) -> None:
        self.threads = threads or Threads(HANDLERS, most)
        self.left: list[tuple[Run, Ended | None]] = []
        self.runner = InThreads(
            self.threads, Plugins(plugins), lambda run, outcome: self.left.append((run, outcome))
        )
        self.wakes = 0
        self.all_added = threading.Event()
        loop = asyncio.get_running_loop()
        wake = loop.call_soon_threadsafe

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.wakes += 1
            return wake(*args, **kwargs)

        loop.call_soon_threadsafe = counted  # type: ignore[method-assign]

    @property
    def keys(self) -> list[str]:
        """The keys of the runs that have left, in this order."""
        return [run.record.id.partition(":")[2] for run, _ in self.left]

    @property
    def outcomes(self) -> list[Ended | None]:
        """What is said of them."""
        return [outcome for _, outcome in self.left]

    async def start(self, *handlers: Callable[[], Any], until: int | None = None) -> list[Run]:
        """Start runs of these handlers, and wait until some have left; defaults to all."""
        runs = [a_run(handler, f"{number}") for number, handler in enumerate(handlers)]
        self.runner.start(runs)
        self.all_added.set()
        await aeventually(lambda: len(self.left) >= (len(runs) if until is None else until))
        return runs


def on_a_loop(story: Callable[[], Any]) -> Any:
    return asyncio.run(asyncio.wait_for(story(), 60))


# Groups.


def test_the_loop_is_woken_once_for_a_group() -> None:
    """By the thread that leaves no run of it waiting."""

    async def story() -> tuple[list[str], int]:
        scene = Scene(most=1)
        await scene.start(scene.all_added.wait, *[quick] * 49)
        return scene.keys, scene.wakes

    assert on_a_loop(story) == ([f"{number}" for number in range(50)], 1)


def test_a_group_for_each_claim() -> None:
    """Later groups wake the loop again, each run once, and in the order of the claims."""

    async def story() -> tuple[int, int]:
        scene = Scene(most=1)
        for _ in range(3):
            scene.left.clear()
            scene.all_added.clear()
            await scene.start(scene.all_added.wait, *[quick] * 3)
        return len(scene.left), scene.wakes

    assert on_a_loop(story) == (4, 3)


def test_no_outcome_waits_for_a_slow_handler_behind_it(gate: threading.Event) -> None:
    """Though the thread that called the quick ones calls the slow one too."""

    async def story() -> list[str]:
        scene = Scene(most=8)
        await scene.start(*[quick] * 7, lambda: gate.wait(WAIT), until=7)
        early = scene.keys
        gate.set()
        await aeventually(lambda: len(scene.left) == 8)
        return early

    assert sorted(on_a_loop(story)) == [f"{number}" for number in range(7)]


@pytest.mark.parametrize("place", [0, 3, 7])
def test_a_slow_handler_holds_up_none_of_its_group(gate: threading.Event, place: int) -> None:
    """Wherever it stands among them: threads take runs one at a time."""

    async def story() -> list[str]:
        scene = Scene(most=8)
        handlers: list[Callable[[], Any]] = [quick] * 7
        handlers.insert(place, lambda: gate.wait(WAIT))
        await scene.start(*handlers, until=7)
        return scene.keys

    assert f"{place}" not in on_a_loop(story)


def test_every_slot_can_hold_a_slow_handler(gate: threading.Event) -> None:
    """All of them are entered, and run side by side."""
    together = threading.Barrier(8, timeout=WAIT)

    async def story() -> list[Ended | None]:
        scene = Scene(most=8)
        await scene.start(*[together.wait] * 8)
        return scene.outcomes

    assert {type(outcome) for outcome in on_a_loop(story)} == {Completed}


def test_runs_of_single_claims_wait_for_no_slow_handler(gate: threading.Event) -> None:
    """A thread may take the next claim's run before the loop knows what came of the last one."""

    async def story() -> list[str]:
        scene = Scene(most=2)
        first, second = a_run(quick, "first"), a_run(lambda: gate.wait(WAIT), "second")
        scene.runner.start([first])
        scene.runner.start([second])
        await aeventually(lambda: scene.left)
        return scene.keys

    assert on_a_loop(story) == ["first"]


def test_where_threads_are_short_no_outcome_waits(
    gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One thread calls all: it wakes the loop after each handler, since others may wait behind a slow one."""

    async def story() -> list[str]:
        scene = Scene(threads=Threads(HANDLERS, 8, ready=1))
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", _refused)
            await scene.start(quick, lambda: gate.wait(WAIT), quick, until=1)
        early = scene.keys
        gate.set()
        await aeventually(lambda: len(scene.left) == 3)
        return early

    assert on_a_loop(story) == ["0"]


def _refused(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_without_a_single_thread_each_run_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No handler is called, and no run is lost."""

    async def story() -> list[Ended | None]:
        scene = Scene()
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", _refused)
            await scene.start(quick, quick)
        return scene.outcomes

    outcomes = on_a_loop(story)

    assert [type(outcome) for outcome in outcomes] == [Failed, Failed]
    assert outcomes[0].failure.message == "can't start new thread"


# Ends of every kind.


class Own(BaseException):
    """What native extensions raise."""


@pytest.mark.parametrize(
    "odd",
    [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), StopIteration(), asyncio.CancelledError(), Own()],
)
def test_whatever_a_handler_raises_fails_its_run_only(odd: BaseException) -> None:
    """The thread calls the next one."""

    def leave() -> None:
        raise odd

    async def story() -> list[Ended | None]:
        scene = Scene(most=1)
        await scene.start(leave, quick, leave, quick)
        return scene.outcomes

    outcomes = on_a_loop(story)

    assert [type(outcome) for outcome in outcomes] == [Failed, Completed, Failed, Completed]
    assert outcomes[0].failure.type == type(odd).__name__


@pytest.mark.parametrize("error", [RuntimeError("ours"), Own()], ids=repr)
def test_a_run_that_cannot_be_called_is_not_lost(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    """It has failed, the log says that the error is the worker's, and the thread calls the next one."""
    real, errors = runner.in_thread, [error]

    def broken(*args: Any) -> Ended | None:
        if errors:
            raise errors.pop()
        return real(*args)

    async def story() -> Scene:
        scene = Scene(most=1)
        await scene.start(quick, quick)
        return scene

    monkeypatch.setattr(runner, "in_thread", broken)
    scene = on_a_loop(story)

    assert [type(outcome) for outcome in scene.outcomes] == [Failed, Completed]
    assert "mail:0 welcome could not be run by its worker" in caplog.text


def test_an_interrupt_from_outside_ends_the_run_it_hits(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that comes between two lines of ours, while the handler counts as running."""

    def interrupted(run: Run, *_: Any) -> Ended | None:
        run.move(Act.ENTER)
        raise KeyboardInterrupt

    async def story() -> Scene:
        scene = Scene(most=1)
        await scene.start(quick)
        return scene

    monkeypatch.setattr(runner, "in_thread", interrupted)
    ((run, outcome),) = on_a_loop(story).left

    assert (run.phase, run.is_own, type(outcome)) == (Phase.DECIDED, True, Failed)


def test_a_run_that_was_decided_while_it_waited_is_not_called() -> None:
    """Nothing is said of it; the runs behind it are called."""
    called: list[str] = []

    async def story() -> list[Ended | None]:
        scene = Scene(most=1)
        runs = [
            a_run(lambda: called.append("first"), "first"),
            a_run(lambda: called.append("second"), "second"),
        ]
        runs[0].move(Act.DECIDE)
        scene.runner.start(runs)
        await aeventually(lambda: len(scene.left) == 2)
        return scene.outcomes

    outcomes = on_a_loop(story)

    assert (called, outcomes[0], type(outcomes[1])) == (["second"], None, Completed)


def test_a_run_that_was_asked_to_stop_while_it_waited_is_handed_back() -> None:
    """Its handler is not called."""
    called: list[bool] = []

    async def story() -> list[Ended | None]:
        scene = Scene(most=1)
        run = a_run(lambda: called.append(True))
        run.ask_to_stop(StopReason.CANCEL)
        scene.runner.start([run])
        await aeventually(lambda: scene.left)
        return scene.outcomes

    assert on_a_loop(story) == [Released()]
    assert not called


def test_a_handler_that_was_overruled_says_nothing_of_its_own(gate: threading.Event) -> None:
    """It is left behind until it returns; then its slot is free, and what it returned is no outcome."""
    entered = threading.Event()

    def slow() -> str:
        entered.set()
        gate.wait(WAIT)
        return "too late"

    async def story() -> tuple[list[Any], list[Any]]:
        scene = Scene(most=2)
        run = a_run(slow, "slow")
        scene.runner.start([run])
        await aeventually(entered.is_set)
        run.move(Act.OVERRULE)
        await scene.start(quick, quick, quick)
        before = scene.keys
        gate.set()
        await aeventually(lambda: len(scene.left) == 4)
        return before, scene.left[-1:]

    before, [(run, outcome)] = on_a_loop(story)

    assert before == ["0", "1", "2"]
    assert (run.record.id, run.phase, outcome) == ("mail:slow", Phase.DECIDED, None)


def test_an_outcome_that_comes_after_the_loop_was_closed_harms_nobody(gate: threading.Event) -> None:
    """The worker has ended without it; its thread ends."""
    entered = threading.Event()

    async def story() -> Threads:
        scene = Scene(most=1)
        scene.runner.start([a_run(lambda: entered.set() or gate.wait(WAIT))])
        await aeventually(entered.is_set)
        return scene.threads

    threads = on_a_loop(story)
    threads.shutdown()
    gate.set()

    assert eventually(lambda: threads._load._acts == 0)


def test_threads_that_were_left_behind_are_replaced(gate: threading.Event) -> None:
    """Whose handlers did not return when their worker ended: the next one has threads of its own."""
    entered = threading.Event()
    left: list[Run] = []

    async def story() -> None:
        runners = Runners(1, Plugins(), lambda run, _: left.append(run))
        slow, next_one = a_run(lambda: entered.set() or gate.wait(WAIT), "slow"), a_run(quick, "next")
        _start(runners, slow)
        await aeventually(entered.is_set)
        runners.close()
        runners.begin()
        _start(runners, next_one)
        await aeventually(lambda: left)

    on_a_loop(story)

    assert [run.record.id for run in left] == ["mail:next"]


def _start(runners: Runners, run: Run) -> None:
    assert run.definition is not None
    runners.of(run.definition).start([run])


# What a handler finds around it.


def test_a_handler_has_a_copy_of_the_context_that_its_worker_has() -> None:
    """What it sets there is seen by no other handler, and not by the worker."""
    variable: ContextVar[str] = ContextVar("variable")
    seen: list[str] = []

    def look_and_set() -> None:
        seen.append(variable.get())
        variable.set("the handler's")

    async def story() -> str:
        variable.set("the worker's")
        scene = Scene(most=1)
        await scene.start(look_and_set, look_and_set)
        return variable.get()

    assert on_a_loop(story) == "the worker's"
    assert seen == ["the worker's"] * 2


def test_middleware_may_swallow_what_a_handler_raises() -> None:
    """The run then ends as if it had returned nothing."""

    class Swallowing:
        @hookimpl
        def around_job(self) -> object:
            return self

        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> bool:
            return True

    def broken() -> None:
        raise ValueError

    from contextlib import AbstractContextManager

    AbstractContextManager.register(Swallowing)

    async def story() -> list[Ended | None]:
        scene = Scene(most=1, plugins=[Swallowing()])
        await scene.start(broken)
        return scene.outcomes

    assert on_a_loop(story) == [Completed(result=b"null")]


# The loop.


def test_a_task_that_was_cancelled_before_it_began_hands_its_run_back() -> None:
    """Its handler was not entered."""
    left: list[Ended | None] = []

    async def handler() -> None: ...

    async def story() -> None:
        run = a_run(handler)
        OnLoop(Plugins(), lambda _, outcome: left.append(outcome)).start([run])
        assert run.interrupt is not None
        run.interrupt()
        await aeventually(lambda: left)

    on_a_loop(story)

    assert left == [Released()]


def test_only_a_handler_on_the_loop_can_be_interrupted(gate: threading.Event) -> None:
    """One in a thread can only be asked to stop."""

    async def story() -> Run:
        scene = Scene(most=1)
        (run,) = await scene.start(quick)
        return run

    assert on_a_loop(story).interrupt is None
