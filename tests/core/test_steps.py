"""Operations: one generator, driven by sync and async callers alike."""

import asyncio

import pytest

from stanchion.engine.operations import ONCE, Call, Pause, adrive, drive
from stanchion.errors import BackendError, Busy, Unavailable

NO_PAUSES = (0.0, 0.0, None)


class Store:
    """Answers each verb from a list; what is an error is raised."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.called = []

    def ask(self, *args, **kwargs):
        self.called.append((args, kwargs))
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer


class AsyncStore(Store):
    """The same for a loop."""

    async def ask(self, *args, **kwargs):
        await asyncio.sleep(0)
        return super().ask(*args, **kwargs)


def drive_async(steps, store, pauses=NO_PAUSES):
    return asyncio.run(adrive(steps, store, pauses))


def drive_sync(steps, store, pauses=NO_PAUSES):
    return drive(steps, store, pauses)


BOTH = pytest.mark.parametrize(
    ("run", "a_store"), [(drive_sync, Store), (drive_async, AsyncStore)], ids=["sync", "async"]
)


def twice():
    first = yield Call("ask", (1,))
    second = yield Call("ask", (2,))
    return [first, second]


def with_an_end():
    """Calls again when it is over, whatever happened."""
    try:
        return (yield Call("ask", ("work",)))
    finally:
        yield Call("ask", ("clean up",))


@BOTH
def test_an_operation_is_sent_the_answers_to_its_calls(run, a_store):
    """And its end is the answer."""
    store = a_store("a", "b")

    assert run(twice(), store) == ["a", "b"]
    assert store.called == [((1,), {}), ((2,), {})]


@BOTH
def test_a_call_may_be_of_another_object(run, a_store):
    """Such as a watch."""
    store, other = a_store(), a_store("b")

    def steps():
        return (yield Call("ask", of=other))

    assert run(steps(), store) == "b"
    assert (len(store.called), len(other.called)) == (0, 1)


@BOTH
def test_an_operation_may_pause(run, a_store):
    """It is resumed with none."""

    def steps():
        return (yield Pause(0.0))

    assert run(steps(), a_store()) is None


@BOTH
def test_a_call_whose_outcome_is_unknown_is_repeated(run, a_store):
    """As often as there are pauses; the operation does not notice."""
    store = a_store(Unavailable("no answer"), Unavailable("no answer"), "a", "b")

    assert run(twice(), store) == ["a", "b"]
    assert len(store.called) == 4


@BOTH
@pytest.mark.parametrize(("pauses", "calls"), [(NO_PAUSES, 3), (ONCE, 1)])
def test_patience_ends(run, a_store, pauses, calls):
    """The last error is the caller's."""
    store = a_store(*(Unavailable(f"no answer, {number}") for number in range(calls)))

    with pytest.raises(Unavailable, match=f"no answer, {calls - 1}"):
        run(twice(), store, pauses)
    assert len(store.called) == calls


@BOTH
@pytest.mark.parametrize(
    "error", [BackendError("broken"), Busy("in use"), ValueError("odd"), KeyboardInterrupt()]
)
def test_an_error_that_says_what_happened_is_not_repeated(run, a_store, error):
    """It goes through the operation to its caller."""
    store = a_store(error)

    with pytest.raises(type(error)):
        run(twice(), store)
    assert len(store.called) == 1


@BOTH
def test_an_operation_cleans_up_after_an_error(run, a_store):
    """Its last calls are made, and the error is raised all the same."""
    store = a_store(BackendError("broken"), "clean")

    with pytest.raises(BackendError, match="broken"):
        run(with_an_end(), store)
    assert [args for args, _ in store.called] == [("work",), ("clean up",)]


@BOTH
def test_an_error_while_cleaning_up_has_the_first_one_behind_it(run, a_store):
    """As in any `finally`."""
    store = a_store(BackendError("broken"), BackendError("worse"))

    with pytest.raises(BackendError, match="worse") as raised:
        run(with_an_end(), store)
    assert str(raised.value.__context__) == "broken"


@BOTH
def test_an_operation_may_go_on_after_an_error(run, a_store):
    """If it catches it."""

    def steps():
        try:
            yield Call("ask")
        except BackendError:
            return (yield Call("ask"))

    assert run(steps(), a_store(BackendError("broken"), "second")) == "second"


def test_a_cancelled_caller_still_cleans_up():
    """The operation hears of the cancellation, and its last call is awaited."""

    class Slow(AsyncStore):
        async def ask(self, *args, **kwargs):
            self.called.append(args)
            if args == ("work",):
                begun.set()
                await asyncio.Event().wait()

    async def main():
        running = asyncio.create_task(adrive(with_an_end(), store))
        await begun.wait()
        running.cancel()
        await asyncio.wait([running])
        return running.cancelled()

    begun, store = asyncio.Event(), Slow()

    assert asyncio.run(main())
    assert store.called == [("work",), ("clean up",)]
