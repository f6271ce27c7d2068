"""Payloads: what is stored comes back, and what JSON would lose is refused."""

import dataclasses
import math
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.codec.failures import LONGEST_TRACEBACK, failure_of
from stanchion.codec.payloads import DEEPEST, LARGEST, Unreadable, decode, encode
from stanchion.codec.specs import (
    UNREADABLE,
    decode_args,
    decode_policy,
    encode_args,
    encode_policy,
    name_call,
    policy_of,
)
from stanchion.errors import PayloadError
from stanchion.model.history import Failure, HistoryEntry, decode_list
from stanchion.model.policies import LONGEST, Exponential, Fixed, Policy
from stanchion.model.records import Entry
from stanchion.model.values import LONGEST_MESSAGE, text

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Colour(Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.5


@attrs.frozen
class Line:
    ends: tuple[Point, Point]
    colour: Colour


def nested(depth: int, inmost: object = None) -> object:
    """Lists in lists, the inmost holding one thing, or nothing."""
    value: object = [] if inmost is None else [inmost]
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (None, None),
        ({"a": [1, 2.5, "ü", True, None]}, Any),
        (Point(1), Point),
        (Line((Point(1), Point(2)), Colour.RED), Line),
        ([Line((Point(1), Point(2)), Colour.RED)], list[Line]),
        (datetime(2026, 1, 1, 12, 30, 0, 123456, tzinfo=UTC), datetime),
        (date(2026, 1, 1), date),
        (timedelta(hours=1, microseconds=1), timedelta),
        (UUID(int=7), UUID),
        (Decimal("1.10"), Decimal),
        (Colour.RED, Colour),
        (b"\x00\xff", bytes),
        ((1, "a"), tuple[int, str]),
        ({1, 2}, set[int]),
        ({1: "a"}, dict[int, str]),
        (2**64, int),
        (-(10**30), int),
    ],
)
def test_a_value_comes_back_by_its_hint(value, hint):
    """As it was, types included."""
    again = decode(encode(value, "it"), hint)

    assert again == value


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "around",
    [
        lambda bad: bad,
        lambda bad: [None, (1, {"a": bad})],
        lambda bad: {bad},
        lambda bad: {bad: 1},
        lambda bad: Point(1, bad),
        lambda bad: Line((Point(1), Point(2, bad)), Colour.RED),
    ],
    ids=["bare", "nested", "in a set", "as a key", "in a dataclass", "in attrs"],
)
def test_what_is_not_finite_is_refused_anywhere(around: Callable[[float], object], bad):
    """JSON has no such numbers, and msgspec would write null."""
    with pytest.raises(PayloadError, match="^the result.* is -?(NaN|Infinity), which JSON cannot represent$"):
        encode(around(bad), "the result")


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (math.nan, "the result is NaN"),
        ({"ratio": math.inf}, "the result: `ratio` is Infinity"),
        ([1, {"a": [math.nan]}], r"the result: `\[1\].a\[0\]` is NaN"),
        ({-math.inf: 1}, r"the result: `keys\(\)` is -Infinity"),
        ({"a": {math.nan: 1}}, r"the result: `a.keys\(\)` is NaN"),
    ],
)
def test_what_is_not_finite_is_named_with_its_place(value, place):
    """Where it is, and what it is."""
    with pytest.raises(PayloadError, match=f"^{place}, which JSON cannot represent$"):
        encode(value, "the result")


@pytest.mark.parametrize("value", [None, {"nan": None}, ["inf", "null"], {"a": {"-inf": 1.5}}])
def test_what_only_looks_like_it_is_kept(value):
    """The words themselves are no numbers."""
    again = decode(encode(value, "it"))

    assert again == value


@pytest.mark.parametrize("inmost", [None, 1])
def test_depth_has_a_limit(inmost):
    """64 levels are fine, whatever stands beside them; 65 are not."""
    assert encode([nested(DEEPEST - 1, inmost), [], {}], "it")
    with pytest.raises(PayloadError, match="^cannot store it: nested deeper than 64 levels"):
        encode(nested(DEEPEST + 1, inmost), "it")


def test_objects_count_as_levels():
    """Dataclasses and dictionaries nest as lists do."""
    value: Any = Point(1)
    for _ in range(DEEPEST - 1):
        value = {"in": value}

    assert encode(value, "it")
    with pytest.raises(PayloadError, match="nested deeper"):
        encode({"in": value}, "it")


def test_size_has_a_limit():
    """A mebibyte is fine, a byte more is not; the message tells both."""
    largest = "x" * (LARGEST - 2)

    assert len(encode(largest, "it")) == LARGEST
    with pytest.raises(
        PayloadError, match=rf"^cannot store it: {LARGEST + 1} bytes, the limit is {LARGEST}$"
    ):
        encode(largest + "x", "it")


def loop() -> list[object]:
    found: list[object] = []
    found.append({"again": found})
    return found


@pytest.mark.parametrize(
    "value",
    [
        object(),
        lambda: None,
        (one for one in ()),
        loop(),
        "\ud800",
        {"\ud800": 1},
        10**5000,
        nested(100_000),
        1j,
    ],
    ids=[
        "object",
        "function",
        "generator",
        "cycle",
        "surrogate",
        "surrogate key",
        "5000 digits",
        "abyss",
        "complex",
    ],
)
def test_what_has_no_json_is_refused(value):
    """Never with one of Python's or msgspec's own errors."""
    with pytest.raises(PayloadError, match="^cannot store the result as JSON: .+"):
        encode(value, "the result")


@pytest.mark.parametrize(
    ("payload", "hint"),
    [
        (b"", Any),
        (b"{", Any),
        (b"\xff", Any),
        (b"[" * 100_000, Any),
        (b"1e999", Any),
        (b"1" * 5000, int),
        (b'"a"', int),
        (b"true", int),
        (b'{"x":"a"}', Point),
        (b"1", int | Point | Line),
    ],
    ids=str,
)
def test_what_does_not_fit_is_unreadable(payload, hint):
    """Damaged, or of another type than the hint says, or a hint that nothing can be restored by."""
    with pytest.raises(Unreadable, match="^cannot read a stored value as "):
        decode(payload, hint)


# Arguments and policies as they are stored

DURATIONS = st.integers(0, LONGEST // timedelta(milliseconds=1)).map(lambda ms: timedelta(milliseconds=ms))
POLICIES = st.builds(
    Policy,
    retries=st.integers(0, 1000),
    max_lost=st.integers(0, 1000),
    backoff=st.builds(Fixed, DURATIONS) | st.builds(Exponential, DURATIONS, DURATIONS),
    timeout=DURATIONS,
    keep=st.none() | DURATIONS,
    keep_failed=st.none() | DURATIONS,
    unique=st.none() | st.text(min_size=1),
    unique_until=st.sampled_from(["start", "end"]),
)


@given(args=st.dictionaries(st.text(), st.integers()))
def test_arguments_come_back(args):
    """Whatever they are."""
    raw = decode_args(encode_args(msgspec.json.encode(args)))

    assert msgspec.json.decode(raw) == args


@given(policy=POLICIES, call=st.none() | st.just("0abc"))
def test_a_policy_comes_back(policy, call):
    """Whatever it is, and whether or not it names a call."""
    again = decode_policy(name_call(encode_policy(policy), call))

    assert again == policy


def test_a_policy_of_defaults_takes_no_room():
    """Memory matters: what has its default value is not stored."""
    assert encode_args(b'{"a":1}') == b'j1{"a":1}'
    assert encode_policy(Policy()) == b""
    assert encode_policy(Policy(retries=5)) == b'{"retries":5}'
    assert policy_of(b"") == Policy()


@pytest.mark.parametrize("stored", [b"", b"j", b"p1\x80", b'j2{"a":1}', b'{"a":1}'])
def test_arguments_of_another_version_are_unreadable(stored):
    """Their tag says so."""
    with pytest.raises(
        Unreadable, match=r"^cannot read its arguments: they are tagged b'.*', this version reads b'j1'"
    ):
        decode_args(stored)


@pytest.mark.parametrize(
    "stored",
    [
        b"p1\x80",
        b"{",
        b"5",
        b'{"retries":-1}',
        b'{"timeout_ms":-1}',
        b'{"keep_ms":9999999999999}',
        b'{"timeout_ms":99999999999999999999}',
        b'{"backoff":{"kind":"other"}}',
        b'{"unique_until":"never"}',
        b'{"backoff":' + b"[" * 100_000,
    ],
    ids=lambda stored: repr(stored[:40]),
)
def test_a_damaged_policy_is_unreadable(stored):
    """Whoever needs it nevertheless gets one that ends the job."""
    with pytest.raises(Unreadable, match="cannot read its policy"):
        decode_policy(stored)

    assert policy_of(stored) is UNREADABLE
    assert UNREADABLE.at_most_once


@given(st.binary(max_size=64))
def test_no_bytes_stop_a_sweep(stored):
    """Any at all give a policy."""
    policies = [policy_of(stored), policy_of(b'{"retries":' + stored), policy_of(b"{}\n" + stored)]

    assert all(isinstance(policy, Policy) for policy in policies)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["kind", "wait_ms", "x"]), inner)
    ),
    max_leaves=4,
)
NAMES = [
    "retries",
    "max_lost",
    "backoff",
    "timeout_ms",
    "keep_ms",
    "keep_failed_ms",
    "unique",
    "unique_until",
]


@given(policy=JSON | st.dictionaries(st.sampled_from(NAMES), JSON | st.just({"kind": "fixed", "wait_ms": 5})))
def test_no_policy_stops_a_sweep(policy):
    """Whatever stands where a policy is expected."""
    found = policy_of(msgspec.json.encode(policy))

    assert isinstance(found, Policy)


def test_a_policy_of_a_later_version_is_read_as_far_as_known():
    """Fields that are not known yet are passed over."""
    policy = policy_of(b'{"retries":5,"colour":"red"}\n0abc')

    assert policy == Policy(retries=5)


# Failures


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except type(error) as caught:
        return caught


def deep(levels: int) -> None:
    if levels:
        deep(levels - 1)
    raise ValueError("at the bottom")


def test_a_failure_tells_what_was_raised_and_where():
    """Its class, its text and its traceback, and the run it ended."""
    failure = failure_of(raised(ValueError("no such user")), 3)

    assert (failure.type, failure.message, failure.run) == ("ValueError", "no such user", 3)
    assert "in raised" in failure.traceback


def test_an_error_without_a_text_is_a_failure_all_the_same():
    """A handler's exception may do anything when asked for its text."""
    failure = failure_of(raised(Mute()), 1)

    assert failure.message == "<its text cannot be had: RuntimeError>"


def test_failures_are_bounded():
    """However long the text, however deep the stack."""
    long = failure_of(raised(ValueError("x" * 100_000)), 1)
    try:
        deep(900)
    except ValueError as error:
        stacked = failure_of(error, 1)

    assert len(long.message) == LONGEST_MESSAGE
    assert len(stacked.traceback) <= LONGEST_TRACEBACK
    assert stacked.traceback.endswith("ValueError: at the bottom\n")


@pytest.mark.parametrize(
    "long", ["x" * 100_000, "€" * 100_000, "\ud800" * 100_000], ids=["ascii", "wide", "broken"]
)
def test_bounds_are_bytes(long):
    """However many of them a character takes; none is cut in half."""
    failure = failure_of(raised(ValueError(long)), 1)

    assert LONGEST_MESSAGE - 3 <= len(failure.message.encode()) <= LONGEST_MESSAGE
    assert "\ufffd" not in failure.message


@pytest.mark.parametrize("given", ["€" * 5_000, "\ud800" * 5_000, "x" * 5_000])
def test_a_text_of_a_caller_is_bounded_in_bytes(given):
    """Reasons, messages of progress and lines of the log."""
    assert len(text(given, "a reason").encode()) <= LONGEST_MESSAGE


def test_a_failure_with_a_lone_surrogate_can_be_stored():
    """What no encoding has is replaced."""
    stored = failure_of(raised(ValueError("a\ud800b")), 1).encode()

    assert msgspec.json.decode(stored, type=Failure).message == "a\\ud800b"


def test_entries_that_cannot_be_read_are_passed_over():
    """What can be read still helps."""
    entries = tuple(
        Entry(at=EPOCH, data=data) for data in (b"{", b'{"event":"fail","to":"failed","by":"1"}', b"[]")
    )

    assert decode_list({"history": entries}, "history", HistoryEntry) == [
        HistoryEntry(event="fail", to="failed", by="1")
    ]
    assert decode_list({}, "history", HistoryEntry) == []
