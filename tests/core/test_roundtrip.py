"""Round trips: what is given arrives equal, or is refused before it is stored."""

import collections
import dataclasses
import enum
import math
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple, TypedDict
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.app.signatures import Signature
from stanchion.app.tasks import Definition
from stanchion.codec.payloads import decode, encode
from stanchion.errors import ConfigError, PayloadError

BERLIN = ZoneInfo("Europe/Berlin")


class Level(enum.IntEnum):
    HIGH = 3


class Colour(enum.StrEnum):
    RED = "red"


class Shape(enum.Enum):
    ROUND = "round"


class Pair(NamedTuple):
    left: int
    right: int


class Address(TypedDict):
    city: str


@dataclasses.dataclass
class Point:
    x: int


@dataclasses.dataclass
class Named(Point):
    name: str = ""


@dataclasses.dataclass(eq=False)
class Still:
    x: int


@dataclasses.dataclass(eq=False)
class Moving(Still):
    speed: int = 1


@dataclasses.dataclass(eq=False)
class Numbered:
    number: int

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Numbered) and other.number == self.number

    __hash__ = None


@dataclasses.dataclass(eq=False)
class Titled(Numbered):
    title: str = ""


@attrs.frozen
class Line:
    start: Point


@attrs.frozen
class Dashed(Line):
    gap: int = 1


class Order(msgspec.Struct):
    number: int


class Express(Order):
    fee: int = 5


@dataclasses.dataclass
class Unequal:
    x: int

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("cannot be compared")

    __hash__ = None


def handler_for(hint: Any) -> Callable[..., Any]:
    """A handler of one argument of this type, which it returns."""

    def handler(value: Any) -> Any: ...

    handler.__annotations__ = {"value": hint, "return": hint}
    return handler


def through(value: object, hint: Any) -> object:
    """What a handler is called with."""
    signature = Signature("work", handler_for(hint))
    (back,), _ = signature.decode(signature.encode((value,), {}))
    return back


def through_result(value: object, hint: Any) -> object:
    """What the result of a job is."""
    signature = Signature("work", handler_for(hint))
    return decode(signature.encode_result(value), signature.returns)


WAYS = pytest.mark.parametrize("way", [through, through_result], ids=["argument", "result"])

REFUSED = [
    (b"hello", str, "`bytes` would arrive as `str`"),
    ("abcd", bytes, "`str` would arrive as `bytes`"),
    (b"hello", Any, "`bytes` would arrive as `str`"),
    ([b"a"], list[str], "`bytes` would arrive as `str` - at .*\\[0\\]"),
    ({1: "a", "1": "b"}, dict, "a key that is `int` would not arrive"),
    ({1: "a"}, dict, "a key that is `int` would not arrive"),
    ({1: "a", "1": "b"}, dict[int, str], "`str` would arrive as another value"),
    ({1: "a", "1": "a"}, dict[int, str], "a key that is `str` would not arrive"),
    ({1: "a", "1": "b"}, Any, "a key that is `int` would not arrive"),
    ({"a": {b"b": 1}}, Mapping[str, dict], "a key that is `bytes` would not arrive"),
    (Named(1, "a"), Point, "`Named` would arrive as `Point`"),
    ([Named(1, "a")], list[Point], "`Named` would arrive as `Point`"),
    (Moving(1), Still, "`Moving` would arrive as `Still`"),
    (Titled(1, "a"), Numbered, "`Titled` would arrive as `Numbered`"),
    (Dashed(Point(1)), Line, "`Dashed` would arrive as `Line`"),
    (Line(Named(1)), Line, r"`Named` would arrive as `Point` - at .*\.start"),
    (Express(1), Order, "`Express` would arrive as `Order`"),
    (Point(1), Any, "`Point` would arrive as `dict`"),
    ({"x": 1}, Point, "`dict` would arrive as `Point`"),
    (Pair(1, 2), Any, "`Pair` would arrive as `list`"),
    (Pair(1, 2), list[int], "`Pair` would arrive as `list`"),
    ({"city": "Rome", "zip": "00100"}, Address, "a key that is `str` would not arrive"),
    (2**53 + 1, float, "`int` would arrive as `float`"),
    (0.1, Decimal, "`float` would arrive as `Decimal`"),
    (Decimal("1.5"), Any, "`Decimal` would arrive as `str`"),
    ({1, 2}, Any, "`set` would arrive as `list`"),
    ([1, 1], set[int], "`list` would arrive as `set`"),
    ("7" * 8 + "-0000-0000-0000-" + "7" * 12, UUID, "`str` would arrive as `UUID`"),
    ("2026-01-01", date, "`str` would arrive as `date`"),
    ("round", Shape, "`str` would arrive as `Shape`"),
    (Shape.ROUND, Any, "`Shape` would arrive as `str`"),
    (datetime(2026, 1, 1, tzinfo=UTC), Any, "`datetime` would arrive as `str`"),
    (datetime(2026, 1, 1, tzinfo=timezone(timedelta(seconds=30))), datetime, "arrive as another value"),
    (True, int, "Expected `int`, got `bool`"),
    (1, bool, "Expected `bool`, got `int`"),
    (1.0, int, "Expected `int`, got `float`"),
    (None, int, "Expected `int`, got `null`"),
]


@WAYS
@pytest.mark.parametrize(("value", "hint", "why"), REFUSED, ids=lambda one: repr(one)[:40])
def test_what_would_arrive_as_something_else_is_refused(way, value, hint, why):
    """The error says which type would become which, and where."""
    with pytest.raises(PayloadError, match=f"of task work do.* not .*: .*{why}"):
        way(value, hint)


WHOLE = [
    (Named(1, "a"), Named),
    (Moving(1), Moving),
    (Express(1), Express),
    (Pair(1, 2), Pair),
    (Unequal(1), Unequal),
    ({1: "a", 2: "b"}, dict[int, str]),
    ({"city": "Rome"}, Address),
    (2**64, Any),
    (10**30, int),
    (5e-324, float),
    (-0.0, float),
    (Decimal("1.10"), Decimal),
    (timedelta(days=-1, microseconds=1), timedelta),
    (frozenset({3, 1}), frozenset[int]),
    ({3, 1, 2**40}, set[int]),
    (b"\x00\xff", bytes),
    (datetime(2026, 1, 1), datetime),  # noqa: DTZ001 - a naive one comes back naive
    (Shape.ROUND, Shape),
]


def _state(value: object) -> object:
    return vars(value) if isinstance(value, Moving | Unequal) else value


@WAYS
@pytest.mark.parametrize(("value", "hint"), WHOLE, ids=lambda one: repr(one)[:40])
def test_what_the_hint_restores_arrives_whole(way, value, hint):
    """Equal, and of the same class."""
    back = way(value, hint)

    assert (type(back), _state(back)) == (type(value), _state(value))


@WAYS
@pytest.mark.parametrize(
    ("value", "hint", "arrives"),
    [
        (1, float, 1.0),
        (0.5, Decimal, Decimal("0.5")),
        ([1, {"a": 2}], list[float | dict[str, float]], [1.0, {"a": 2.0}]),
        ((1, 2), Any, [1, 2]),
        ((1, (2,)), list, [1, [2]]),
        ([1, 2], tuple[int, ...], (1, 2)),
        (Pair(1, 2), tuple[int, int], (1, 2)),
        (Level.HIGH, int, 3),
        (Colour.RED, str, "red"),
        ({Colour.RED: Level.HIGH}, dict, {"red": 3}),
        (collections.OrderedDict(a=1), dict[str, int], {"a": 1}),
        (bytearray(b"a"), bytes, b"a"),
    ],
    ids=repr,
)
def test_what_equals_the_given_value_may_arrive_plain(way, value, hint, arrives):
    """As the type that the hint names, or as JSON's own."""
    back = way(value, hint)

    assert (type(back), back) == (type(arrives), arrives)


@WAYS
@pytest.mark.parametrize("fold", [0, 1])
def test_an_instant_arrives_as_the_same_instant(way, fold):
    """Also in the hour that a zone has twice, where Python calls no two datetimes of different zones equal."""
    twice = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=fold)
    back = way(twice, datetime)

    assert (back.astimezone(UTC), back.utcoffset()) == (twice.astimezone(UTC), twice.utcoffset())


@dataclasses.dataclass
class Strict:
    """Checks itself, and raises what it likes."""

    known: str

    def __post_init__(self):
        _ = {"a": 1}[self.known]


@WAYS
def test_a_type_that_refuses_to_be_restored_refuses_the_value(way):
    """Whatever it raises: the value would not arrive."""
    value = Strict("a")
    value.known = "b"

    with pytest.raises(PayloadError, match="'b'"):
        way(value, Strict)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=3)
        | st.tuples(inner)
        | st.builds(set)
        | st.binary(max_size=3)
    ),
    max_leaves=8,
)


def _lists(value: object) -> object:
    """Tuples as lists: they are alike."""
    if isinstance(value, dict):
        return {key: _lists(one) for key, one in value.items()}
    return [_lists(one) for one in value] if isinstance(value, list | tuple) else value


@given(value=JSON, hint=st.sampled_from([Any, str, bytes, float, list, dict, dict[str, Any], dict[int, Any]]))
def test_whatever_is_given_arrives_equal_or_not_at_all(value, hint):
    """By any hint."""
    try:
        back = through(value, hint)
    except PayloadError:
        return

    assert _lists(back) == _lists(value)


def test_a_default_that_would_arrive_as_something_else_is_refused():
    """When the task is defined: it is stored with every job that relies on it."""

    def takes_bytes(data: bytes = "abcd") -> None: ...  # what this is about

    with pytest.raises(ConfigError, match="the default of data: `str` would arrive as `bytes`"):
        Definition.of(takes_bytes, None, {})


def test_a_handler_that_returns_none_needs_no_hint():
    """Nothing is encoded: most handlers return nothing."""
    assert Signature("work", lambda: None).encode_result(None) == b"null"


@pytest.mark.parametrize(
    "value", [object(), math.nan, "x" * (1 << 20), 10**5000], ids=["object", "nan", "size", "digits"]
)
def test_a_result_that_cannot_be_stored_is_refused(value):
    """With what it is, and why."""
    with pytest.raises(PayloadError, match="the result of task work"):
        Signature("work", handler_for(Any)).encode_result(value)


def test_a_coroutine_as_result_was_not_awaited():
    """A sync handler that calls a coroutine function and returns what it got; nothing is warned of."""

    async def inner() -> None: ...

    with pytest.raises(PayloadError, match="is a coroutine that was not awaited: make the handler async"):
        Signature("work", handler_for(Any)).encode_result(inner())


@pytest.mark.parametrize("value", [{1: "a", "1": "b"}, [{"a": {2: 1, "2": 1}}]])
def test_saved_data_whose_keys_become_one_is_refused(value):
    """There is no hint yet that could restore it, but an entry would be lost by any."""
    with pytest.raises(PayloadError, match="^cannot store saved data as JSON: two keys of a dict"):
        encode(value, "saved data")


@pytest.mark.parametrize("value", [{1: "a"}, [Point(1), 2**70], msgspec.Raw(b'{"a": 1}'), {"1": 1.5e22}])
def test_saved_data_may_be_of_types_that_its_reader_knows(value):
    """`saved` takes the hint."""
    assert encode(value, "saved data") == msgspec.json.encode(value)
