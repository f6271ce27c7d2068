"""Calling: how one handler is called, on the loop or in a thread, and what its end means."""

from asyncio import CancelledError
from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import Any, TypeVar

from msgspec.structs import replace

from stanchion.codec.failures import failure_of
from stanchion.codec.specs import decode_args, decode_policy
from stanchion.context import RunningJob, StopReason, current
from stanchion.errors import PayloadError
from stanchion.model.decisions import hand_back
from stanchion.model.history import Failure
from stanchion.model.outcomes import Cancel, Fail, Retry, Snooze
from stanchion.model.signals import Cancelled, Completed, Ended, Failed, Snoozed
from stanchion.plugins import middleware
from stanchion.plugins.manager import Plugins
from stanchion.worker.runs import Act, Phase, Run

_E = TypeVar("_E", bound=Ended)

_Handler = Callable[[], Any]
"""A handler with its arguments."""


async def on_loop(run: Run, plugins: Plugins) -> Ended | None:
    """Call an async handler, in the asyncio task of its run, which has a context of its own.

    Args:
        run: Its run.

        plugins: The application's plugins, whose middleware goes around the handler.

    Returns:
        The run's outcome; `None` if it was decided without the handler.
    """
    try:
        handler = _opened(run)
        if not callable(handler):
            return handler
        return await _await(run, plugins, handler)
    except CancelledError as error:
        return _stopped(run, error) if _decides(run) else None
    except BaseException as error:  # noqa: BLE001 - whatever a handler raises fails its attempt, and only that
        return _raised(run, error) if _decides(run) else None


def in_thread(run: Run, plugins: Plugins, context: Context) -> Ended | None:
    """Call a sync handler in this thread.

    Args:
        run: Its run.

        plugins: The application's plugins, whose middleware goes around the handler.

        context: The context that the handler runs in; no other run has it.

    Returns:
        The run's outcome; `None` if it was decided without the handler.
    """
    try:
        handler = _opened(run)
        if not callable(handler):
            return handler
        return _call(run, plugins, handler, context)
    except BaseException as error:  # noqa: BLE001 - as above
        return _raised(run, error) if _decides(run) else None


def handed_back(run: Run) -> Ended:
    """Return the outcome of a run that its worker ends.

    Args:
        run: The run.

    Returns:
        The job is handed back, or lost if it must not start twice.
    """
    return hand_back(
        run.policy, started=run.started, **(run.written(last=True) or {"notes": {}, "append": {}})
    )


def _opened(run: Run) -> _Handler | Ended | None:
    """Read what a handler is called with.

    Returns:
        The handler with its arguments; or the run's outcome if it cannot be called; or `None` if another thread has
        decided the outcome.
    """
    if run.phase is not Phase.CLAIMED:
        return None
    definition = run.definition
    assert definition is not None, "a runner is chosen by it"
    try:
        raw, policy = decode_args(run.record.args), decode_policy(run.record.policy)
        args, kwargs = definition.signature.decode(raw)
    except Exception as error:  # noqa: BLE001 - the types in a signature may raise anything
        run.raised(error)
        return Failed(failure=failure_of(error, run.record.run), for_good=True)
    run.open(policy)
    return handed_back(run) if run.stop is not None else partial(definition.handler, *args, **kwargs)


async def _await(run: Run, plugins: Plugins, handler: _Handler) -> Ended | None:
    if run.job is None or run.move(Act.ENTER) is None:
        return None
    try:
        current.set(run.job)
        result = await middleware.acall(plugins, run.job, handler)
    finally:
        run.move(Act.LEAVE)
    return _outcome(run, result) if run.is_own else None


def _call(run: Run, plugins: Plugins, handler: _Handler, context: Context) -> Ended | None:
    if run.job is None or run.move(Act.ENTER) is None:
        return None
    try:
        result = context.run(_surrounded, run.job, plugins, handler)
    finally:
        run.move(Act.LEAVE)
    return _outcome(run, result) if run.is_own else None


def _surrounded(job: RunningJob, plugins: Plugins, handler: _Handler) -> Any:
    """Call a handler with middleware around it."""
    current.set(job)
    return middleware.call(plugins, job, handler)


def _decides(run: Run) -> bool:
    """Return whether the end of a handler is its run's outcome; else what it wrote goes with the outcome that is."""
    return run.is_own or not run.started


def _outcome(run: Run, result: Any) -> Ended:
    """Return the outcome of a handler that returned."""
    number = run.record.run
    match result:
        case Retry():
            return _with_notes(run, Failed(failure=_failure(result, number), wait=result.after))
        case Fail():
            return _with_notes(run, Failed(failure=_failure(result, number), for_good=True))
        case Snooze():
            return _with_notes(run, Snoozed(until=result.until))
        case Cancel():
            return _with_notes(run, Cancelled(reason=result.reason))
    assert run.definition is not None, "a handler was called"
    try:
        return _with_notes(run, Completed(result=run.definition.signature.encode_result(result)))
    except PayloadError as error:  # another run would do its work again, for the same result
        run.raised(error)
        return _with_notes(run, Failed(failure=failure_of(error, number), for_good=True))


def _failure(outcome: Retry | Fail, number: int) -> Failure:
    """Return why a handler failed that returned `Retry` or `Fail`: with the exception that it caught, if any."""
    if outcome.error is None:
        return Failure(type(outcome).__name__, outcome.reason, run=number)
    failure = failure_of(outcome.error, number)
    return replace(failure, message=outcome.reason) if outcome.reason else failure


def _raised(run: Run, error: BaseException) -> Ended:
    """Return the outcome of a handler that raised."""
    run.raised(error)
    if run.stop is StopReason.CANCEL:
        return _with_notes(run, Cancelled())
    if run.stop is StopReason.SHUTDOWN:
        return handed_back(run)  # raising is how a thread's handler stops half-way
    return _with_notes(run, Failed(failure=failure_of(error, run.record.run)))


def _stopped(run: Run, error: CancelledError) -> Ended | None:
    """Return the outcome of a handler that ended by its cancellation."""
    match run.stop:
        case StopReason.CANCEL | None:
            return _raised(run, error)
        case StopReason.SHUTDOWN:
            return handed_back(run)
        case StopReason.TIMEOUT | StopReason.LEASE:
            return None  # the keeper has recorded the one; the other is not ours to record any more


def _with_notes(run: Run, signal: _E) -> _E:
    """Return an outcome with what the handler wrote."""
    if run.job is None:
        return signal
    notes, append = run.job.unsent.take_all()
    return replace(signal, notes=notes, append=append) if notes or append else signal
