"""Tracebacks: what Python prints of an exception is kept, within bounds, whatever the exception does."""

import asyncio
import traceback

import pytest

from stanchion import Fail, Retry
from stanchion.codec.failures import LONGEST_TRACEBACK, failure_of
from stanchion.errors.tracebacks import printed
from stanchion.model.values import LONGEST_MESSAGE


def caught(call):
    """The exception that a call raises."""
    try:
        call()
    except BaseException as error:  # noqa: BLE001 - any may be asked for
        return error
    raise AssertionError("nothing was raised")


def everything(error):
    return error


def stored(error):
    return failure_of(error, 1).traceback


def fails():
    raise ValueError("no address")


def fails_by_another():
    try:
        fails()
    except ValueError as error:
        raise RuntimeError("not shipped") from error


def fails_while_handling():
    try:
        fails()
    except ValueError:
        raise RuntimeError("not shipped")  # noqa: B904 - what this is about


def fails_hiding_another():
    try:
        fails()
    except ValueError:
        raise RuntimeError("not shipped") from None


def fails_with_notes():
    error = ValueError("no address")
    error.add_note("order 7\nof yesterday")
    raise error


def fails_together():
    raise ExceptionGroup("two", [caught(fails_by_another), ExceptionGroup("one", [caught(fails_with_notes)])])


class Own(Exception):
    class Inner(Exception):  # noqa: D106 - as other classes of tests
        pass


def fails_by_own():
    raise Own.Inner("mine")


@pytest.mark.parametrize(
    "call",
    [
        fails,
        fails_by_another,
        fails_while_handling,
        fails_hiding_another,
        fails_with_notes,
        fails_together,
        fails_by_own,
    ],
)
def test_an_exception_is_kept_as_python_prints_it(call):
    """Causes, notes, members of groups, names of classes, line by line."""
    error = caught(call)

    assert stored(error) == "".join(traceback.format_exception(error))


def test_what_a_task_group_raises_is_kept():
    """The members say what failed; the group itself says only that something did."""

    async def ship():
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.to_thread(fails))

    assert "ValueError: no address" in stored(caught(lambda: asyncio.run(ship())))


# Bounds


def stack_of(names):
    """An exception raised at the end of calls through functions of these names."""
    space = {"then": fails}
    for name in reversed(names):
        exec(f"def {name}(then=then): then()\nthen = {name}", space)  # noqa: S102 - functions of given names
    return caught(space["then"])


def test_of_a_long_traceback_the_end_is_kept():
    """It says where the exception was raised."""
    text = stored(stack_of([f"call_{'x' * 150}_{number}" for number in range(900)]))

    assert len(text.encode()) <= LONGEST_TRACEBACK
    assert text.endswith('    raise ValueError("no address")\nValueError: no address\n')
    assert f"_{899}" in text
    assert "x_0\n" not in text
    assert text.startswith(("... (cut)\n  File", "Traceback (most recent"))


def chain_of(length):
    error = None
    for number in range(length):
        try:
            raise ValueError(f"link {number}") from error
        except ValueError as raised:
            error = raised
    return error


def test_of_a_long_chain_the_nearest_causes_are_kept():
    """The exception itself comes last, as ever."""
    text = stored(chain_of(5_000))

    assert text.endswith("ValueError: link 4999\n")
    assert "link 4990\n" in text
    assert "link 4900\n" not in text


def test_of_a_large_group_the_first_members_are_kept():
    """As many as Python prints, and how many more there are."""
    stacked = [stack_of([f"call_{'x' * 100}_{number}" for number in range(50)]) for _ in range(5)]
    members = [*stacked, *(OSError(f"member {number}") for number in range(5, 10_000))]
    text = stored(ExceptionGroup("many", members))

    assert len(text.encode()) <= LONGEST_TRACEBACK
    assert text.startswith("  | ExceptionGroup: many (10000 sub-exceptions)")
    assert "and 9985 more exceptions" in text
    assert "OSError: member 5\n" in text
    assert "OSError: member 14\n" in text
    assert "member 15" not in text


def test_a_text_is_cut_once_it_hides_where_it_was_raised():
    """The whole message stands beside the traceback."""
    failure = failure_of(caught(lambda: {}["x" * 100_000]), 1)

    assert len(failure.message) == LONGEST_MESSAGE
    assert "in <lambda>" in failure.traceback
    assert len(failure.traceback) < LONGEST_MESSAGE


@pytest.mark.parametrize("size", [20, 100, 1000])
def test_what_is_too_long_is_cut_at_a_line(size):
    """Of an exception the beginning is left out, of a group the end; the text says so."""
    one = printed(stack_of([f"call_{number}" for number in range(30)]), size, everything)
    group = printed(ExceptionGroup("many", [ValueError("€" * 50) for _ in range(20)]), size, everything)

    assert max(len(one.encode()), len(group.encode())) <= size
    assert one.startswith("... (cut)\n")
    assert group.endswith("... (cut)\n")


# Whatever an exception does


class Mute(Exception):
    def __str__(self):
        raise SystemExit(1)


class Nested(Exception):
    def __str__(self):
        return str(self)  # for ever


class Sly(str):
    __slots__ = ()

    def encode(self, *_):
        raise RuntimeError

    def __getitem__(self, _):
        raise RuntimeError


class Slyly(Exception):
    def __str__(self):
        return Sly("sly")


class Meta(type):
    def __getattribute__(cls, name):
        if name in ("__qualname__", "__module__", "__name__"):
            raise RuntimeError("nameless")
        return super().__getattribute__(name)


class Nameless(Exception, metaclass=Meta): ...


class Noting(Exception):
    @property
    def __notes__(self):
        raise KeyboardInterrupt


class Odd(Exception):
    __notes__ = (5, "fine", Sly("sly"))
    __cause__ = "no exception"
    __traceback__ = 5


class Untrue(Exception):
    __bool__ = None


class Forged(ExceptionGroup):
    @property
    def exceptions(self):
        return [self]


def circle():
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    return one


def circle_through_a_group():
    member = ValueError("member")
    group = ExceptionGroup("group", [member])
    member.__context__ = group
    return group


def deep_group():
    group = ExceptionGroup("inmost", [ValueError("1")])
    for _ in range(5_000):
        group = ExceptionGroup("around", [group])
    return group


def wide_tree():
    group = ExceptionGroup("inmost", [ValueError(str(number)) for number in range(100)])
    for _ in range(8):
        group = ExceptionGroup("around", [group] * 100)
    return group


def chained(error):
    """One that is hidden behind another."""
    outer = RuntimeError("outer")
    outer.__cause__ = error
    return outer


AWKWARD = [
    Mute(), Nested(), Slyly(), Nameless("x"), Noting("x"), Odd("x"), Untrue("x"), Forged("x", [ValueError("x")]),
    ValueError("a\ud800\0b"), circle(), circle_through_a_group(), deep_group(), wide_tree(), KeyboardInterrupt(),
    SyntaxError("x", ("f", "1", "x", "y")), UnicodeDecodeError("utf-8", b"x" * 10**6, 0, 1, "bad"),
]  # fmt: skip


@pytest.mark.parametrize("error", AWKWARD, ids=lambda error: object.__repr__(error).split()[0])
@pytest.mark.parametrize("around", [everything, chained], ids=["itself", "a cause"])
def test_a_failure_is_made_of_whatever_is_raised(around, error):
    """Within bounds, and fit to be stored."""
    failure = failure_of(around(error), 1)

    assert len(failure.traceback.encode()) <= LONGEST_TRACEBACK
    assert len(failure.message.encode()) <= LONGEST_MESSAGE
    assert "cannot be had" not in failure.traceback or "text cannot be had" in failure.traceback


# Outcomes


@pytest.mark.parametrize(
    "make", [lambda: Retry(5), lambda: Retry(5, "busy"), Fail], ids=["retry", "reason", "fail"]
)
def test_an_outcome_made_inside_an_except_keeps_the_exception(make):
    """For the job's errors; outside of one there is none."""
    try:
        fails()
    except ValueError as error:
        caught, inside = error, make()

    assert (inside.error, make().error) == (caught, None)


def test_outcomes_are_equal_whatever_led_to_them():
    """Tests compare them."""
    try:
        fails()
    except ValueError:
        inside = Retry(5, "busy")
    outside = Retry(5, "busy")

    assert (inside, hash(inside), repr(inside)) == (outside, hash(outside), repr(outside))
