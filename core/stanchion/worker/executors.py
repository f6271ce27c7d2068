"""Executors: how a handler is called, and what its end means."""

import contextvars
from asyncio import CancelledError, get_running_loop
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import ExitStack
from functools import partial
from typing import Any, TypeVar

from msgspec.structs import replace

from stanchion.app.tasks import Definition
from stanchion.codec.failures import failure_of
from stanchion.codec.payloads import decode_spec, policy_of
from stanchion.context import RunningJob, StopReason, current
from stanchion.errors import PayloadError
from stanchion.model.decisions import Cancelled, Completed, Ended, Failed, Snoozed, TaskUnknown, hand_back
from stanchion.model.history import Failure
from stanchion.model.outcomes import Cancel, Fail, Retry, Snooze
from stanchion.plugins.manager import Plugins
from stanchion.worker.runs import Act, Run

_E = TypeVar("_E", bound=Ended)


async def perform(
    run: Run, definition: Definition | None, plugins: Plugins, threads: Executor
) -> Ended | None:
    """Call the handler of a run.

    Returns:
        What happened to it; `None` if that is decided already.
    """
    run.definition = definition
    if definition is None:
        return TaskUnknown()
    try:
        raw, run.policy = decode_spec(run.record.spec)
        args, kwargs = definition.signature.decode(raw)
    except Exception as error:  # noqa: BLE001 - the types in a signature may raise anything
        run.error = error
        return Failed(failure=failure_of(error, run.record.run), for_good=True)
    run.job = RunningJob(run.record, run.policy)
    if run.stop is not None:
        return handed_back(run)
    call = partial(definition.handler, *args, **kwargs)
    try:
        if definition.is_async:
            return await _call_on_loop(run, run.job, plugins, call)
        return await _call_in_thread(run, run.job, plugins, call, threads)
    except CancelledError as error:
        return _stopped(run, run.job, error) if _decides(run) else None
    except BaseException as error:  # noqa: BLE001 - whatever a handler raises fails its attempt, and only that
        return _raised(run, run.job, error) if _decides(run) else None


def _decides(run: Run) -> bool:
    """Whether the end of a handler is its run's outcome; else what it wrote goes with the outcome that is."""
    return run.is_own or not run.started


def handed_back(run: Run) -> Ended:
    """Return what a worker says of a run that it ends: it is handed back, or lost if it must not start twice."""
    written = run.written(last=True)
    return hand_back(
        policy_of(run.record.spec),
        started=run.started,
        notes=written.get("notes", {}),
        append=written.get("append", {}),
    )


async def _call_on_loop(run: Run, job: RunningJob, plugins: Plugins, call: Callable[[], Any]) -> Ended | None:
    """Call an async handler, in the asyncio task of its run, which has a context of its own."""
    if run.move(Act.ENTER) is None:
        return None
    current.set(job)
    result: Any = None  # stays if middleware swallows what the handler raised
    try:
        managers = plugins.around(job)
        if managers:
            with ExitStack() as stack:
                for manager in managers:
                    stack.enter_context(manager)
                result = await call()
        else:
            result = await call()
    finally:
        run.move(Act.LEAVE)
    return _outcome(run, job, result) if run.is_own else None


async def _call_in_thread(
    run: Run, job: RunningJob, plugins: Plugins, call: Callable[[], Any], threads: Executor
) -> Ended | None:
    """Call a sync handler, once a thread is free."""
    there = partial(contextvars.copy_context().run, partial(_called, run, job, plugins, call))
    entered, result, raised = await get_running_loop().run_in_executor(threads, there)
    if not entered or not run.is_own:
        return None
    return _outcome(run, job, result) if raised is None else _raised(run, job, raised)


def _called(
    run: Run, job: RunningJob, plugins: Plugins, call: Callable[[], Any]
) -> tuple[bool, Any, BaseException | None]:
    """Call a sync handler here.

    Returns:
        Whether it was called, what it returned and what it raised: a future cannot carry every exception, such as
        StopIteration.
    """
    if run.stop is not None or run.move(Act.ENTER) is None:
        return False, None, None
    current.set(job)
    result: Any = None
    try:
        with ExitStack() as stack:
            for manager in plugins.around(job):
                stack.enter_context(manager)
            result = call()
    except BaseException as error:  # noqa: BLE001 - see above
        return True, None, error
    finally:
        run.move(Act.LEAVE)
    return True, result, None


def _outcome(run: Run, job: RunningJob, result: Any) -> Ended:
    match result:
        case Retry():
            failure = _failure(result, run.record.run)
            return _with_notes(job, Failed(failure=failure, wait=result.after))
        case Fail():
            return _with_notes(job, Failed(failure=_failure(result, run.record.run), for_good=True))
        case Snooze():
            return _with_notes(job, Snoozed(until=result.until))
        case Cancel():
            return _with_notes(job, Cancelled(reason=result.reason))
    assert run.definition is not None, "a handler was called"
    try:
        return _with_notes(job, Completed(result=run.definition.signature.encode_result(result)))
    except PayloadError as error:  # another run would do its work again, for the same result
        run.error = error
        return _with_notes(job, Failed(failure=failure_of(error, run.record.run), for_good=True))


def _failure(outcome: Retry | Fail, number: int) -> Failure:
    """Return why a handler says that it failed: with the exception that it caught, if there is one."""
    if outcome.error is None:
        return Failure(type(outcome).__name__, outcome.reason, run=number)
    failure = failure_of(outcome.error, number)
    return replace(failure, message=outcome.reason) if outcome.reason else failure


def _raised(run: Run, job: RunningJob, error: BaseException) -> Ended:
    run.error = error
    if run.stop is StopReason.CANCEL:
        return _with_notes(job, Cancelled())
    if run.stop is StopReason.SHUTDOWN:
        return handed_back(run)  # raising is how a thread's handler stops half-way
    return _with_notes(job, Failed(failure=failure_of(error, run.record.run)))


def _stopped(run: Run, job: RunningJob, error: CancelledError) -> Ended | None:
    match run.stop:
        case StopReason.CANCEL | None:
            return _raised(run, job, error)
        case StopReason.SHUTDOWN:
            return handed_back(run)
        case StopReason.TIMEOUT | StopReason.LEASE:
            return None  # the keeper has recorded the one; the other is not ours to record any more


def _with_notes(job: RunningJob, signal: _E) -> _E:
    notes, append = job.take_all()
    return replace(signal, notes=notes, append=append) if notes or append else signal
