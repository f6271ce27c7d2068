"""Executors: how a handler is called, and what its end means."""

import contextvars
from asyncio import CancelledError, get_running_loop
from concurrent.futures import Executor
from contextlib import ExitStack
from functools import partial
from typing import Any, TypeVar

from msgspec.structs import replace

from stanchion.decisions import Cancelled, Completed, Ended, Failed, Snoozed, TaskUnknown, hand_back
from stanchion.errors import PayloadError
from stanchion.outcomes import Cancel, Fail, Retry, Snooze
from stanchion.payloads import Failure, decode_spec, encode, failure_of
from stanchion.plugins import Plugins
from stanchion.running import RunningJob, current
from stanchion.tasks import Definition
from stanchion.worker.runs import Run, Stop, monotonic

_E = TypeVar("_E", bound=Ended)


async def perform(
    run: Run, definition: Definition | None, plugins: Plugins, threads: Executor
) -> Ended | None:
    """Call the handler of a run; what happened to it, or none if there is nothing left to say."""
    run.definition = definition
    if definition is None:
        return TaskUnknown()
    try:
        raw, run.policy = decode_spec(run.record.spec)
        args, kwargs = definition.signature.decode(raw)
    except Exception as error:  # noqa: BLE001 - the types in a signature may raise anything
        run.error = error
        return Failed(failure=failure_of(error, run.record.run), for_good=True)
    run.job = RunningJob(run.record, run.policy)  # first: whoever sets `stop` tells the job, if there is one
    if run.stop is not None:
        return _never_started(run)
    run.started_at, run.started = monotonic(), True
    try:
        if definition.is_async:
            result = await _call_async(run.job, definition, plugins, args, kwargs)
        else:
            call = partial(_call_sync, run.job, definition, plugins, args, kwargs)
            result, raised = await get_running_loop().run_in_executor(
                threads, contextvars.copy_context().run, call
            )
            if raised is not None:
                return _raised(run, run.job, raised)
        return _outcome(run, run.job, result)
    except CancelledError as error:
        return _stopped(run, run.job, error)
    except BaseException as error:  # noqa: BLE001 - whatever a handler raises fails its attempt, and only that
        return _raised(run, run.job, error)
    finally:
        run.ended_at = monotonic()


async def _call_async(
    job: RunningJob, definition: Definition, plugins: Plugins, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    current.set(job)  # the run's own asyncio task, so its own context
    managers = plugins.around(job)
    if not managers:
        return await definition.handler(*args, **kwargs)
    with ExitStack() as stack:
        for manager in managers:
            stack.enter_context(manager)
        return await definition.handler(*args, **kwargs)


def _call_sync(
    job: RunningJob, definition: Definition, plugins: Plugins, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, BaseException | None]:
    """What the handler returned, or raised: a future cannot carry every exception, such as StopIteration."""
    current.set(job)
    try:
        with ExitStack() as stack:
            for manager in plugins.around(job):
                stack.enter_context(manager)
            return definition.handler(*args, **kwargs), None
    except BaseException as error:  # noqa: BLE001 - see above
        return None, error
    return None, None  # middleware swallowed what the handler raised


def _never_started(run: Run) -> Ended | None:
    """For a run that was told to stop before its handler was entered."""
    if run.stop is Stop.LEASE:
        return None  # the job is not ours any more
    return hand_back(run.policy, started=False, notes={}, append={})


def _outcome(run: Run, job: RunningJob, result: Any) -> Ended:
    number = run.record.run
    match result:
        case Retry():
            failure = Failure("Retry", _text(result.reason), run=number)
            return _with_notes(job, Failed(failure=failure, wait=result.after))
        case Fail():
            return _with_notes(job, _failed_for_good(result.reason, number))
        case Snooze():
            return _with_notes(job, Snoozed(until=result.until))
        case Cancel():
            return _with_notes(job, Cancelled(reason=_text(result.reason)))
    try:
        return _with_notes(job, Completed(result=encode(result, f"the result of task {run.record.task}")))
    except PayloadError as error:
        return _raised(run, job, error)


def _failed_for_good(reason: str, number: int) -> Failed:
    return Failed(failure=Failure("Fail", _text(reason), run=number), for_good=True)


def _text(reason: object) -> str:
    """A handler's reason, whatever it gave, as text that can be stored."""
    return str(reason).encode("utf-8", "backslashreplace").decode()


def _raised(run: Run, job: RunningJob, error: BaseException) -> Ended:
    run.error = error
    if run.stop is Stop.CANCEL:
        return _with_notes(job, Cancelled())
    if run.stop is Stop.SHUTDOWN:
        return _interrupted(run, job)  # raising is how a thread's handler stops half-way
    return _with_notes(job, Failed(failure=failure_of(error, run.record.run)))


def _stopped(run: Run, job: RunningJob, error: CancelledError) -> Ended | None:
    match run.stop:
        case Stop.CANCEL | None:
            return _raised(run, job, error)
        case Stop.SHUTDOWN:
            return _interrupted(run, job)
        case Stop.TIMEOUT | Stop.LEASE:
            return None  # the keeper has recorded the one; the other is not ours to record any more


def _interrupted(run: Run, job: RunningJob) -> Ended:
    notes, append = job.take()
    return hand_back(run.policy, started=True, notes=notes, append=append)


def _with_notes(job: RunningJob, signal: _E) -> _E:
    notes, append = job.take()
    return replace(signal, notes=notes, append=append) if notes or append else signal
