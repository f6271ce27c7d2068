"""Tasks: options that are refused where they are written, and arguments bound as a call would bind them."""

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, NoReturn

import attrs
import pytest

from stanchion import Cancel, Fail, Retry, Snooze
from stanchion.app.signatures import Signature
from stanchion.app.tasks import Definition, Options
from stanchion.codec.payloads import Unreadable
from stanchion.codec.specs import policy_of
from stanchion.errors import ConfigError, InvalidArgument, PayloadError
from stanchion.model.policies import Fixed, Policy
from stanchion.model.states import State

NAN = float("nan")


@dataclass
class Point:
    x: int


@attrs.frozen
class Line:
    start: Point


def there_and_back(handler: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Any, Any]:
    """What a worker calls the handler with."""
    signature = Signature("task", handler)
    return signature.decode(signature.encode(args, kwargs))


# Arguments


def plain(address: str, locale: str = "en") -> None: ...
def keywords(address: str, *, locale: str = "en") -> None: ...
def positional(address: str, /, locale: str = "en") -> None: ...
def variable(first: int, *rest: int, **named: float) -> None: ...
def untyped(first, second=(1, 2), **kwargs): ...
def typed(line: Line, at: datetime, points: list[Point]) -> None: ...
def mutable(found: list[int] = []) -> None: ...  # noqa: B006 - what this is about
def forward(point: "Point") -> "Line": ...
def confusing(args: int, kwargs: int, self: int = 0) -> None: ...


INSTANT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("handler", "args", "kwargs", "called"),
    [
        (plain, ("ada",), {}, (("ada", "en"), {})),
        (plain, (), {"locale": "it", "address": "ada"}, (("ada", "it"), {})),
        (keywords, ("ada",), {"locale": "it"}, (("ada",), {"locale": "it"})),
        (keywords, ("ada",), {}, (("ada",), {"locale": "en"})),
        (positional, ("ada",), {"locale": "it"}, (("ada", "it"), {})),
        (variable, (1, 2, 3), {"named": 1, "rest": 2}, ((1, 2, 3), {"named": 1.0, "rest": 2.0})),
        (variable, (1,), {}, ((1,), {})),
        (untyped, ({"a": [1]},), {}, (({"a": [1]}, [1, 2]), {})),
        (typed, (Line(Point(1)), INSTANT, [Point(2)]), {}, ((Line(Point(1)), INSTANT, [Point(2)]), {})),
        (forward, (Point(1),), {}, ((Point(1),), {})),
        (confusing, (1,), {"kwargs": 2}, ((1, 2, 0), {})),
    ],
)
def test_a_handler_is_called_as_the_task_was(handler, args, kwargs, called):
    """Positions, names, defaults and types come back."""
    again = there_and_back(handler, *args, **kwargs)

    assert again == called


def test_a_mutable_default_is_not_shared():
    """What one job's handler adds is not there for the next."""
    (first,), _ = there_and_back(mutable)
    first.append(1)

    assert there_and_back(mutable) == (([],), {})


@pytest.mark.parametrize(
    ("handler", "args", "kwargs", "why"),
    [
        (plain, (), {}, r"do not fit its signature \(address: str.*Missing required argument 'address'"),
        (plain, (1,), {}, r"Expected `str`, got `int` - at `\$.address`"),
        (plain, ("a", "b", "c"), {}, "Extra positional arguments"),
        (plain, ("a",), {"colour": 1}, "Unexpected keyword argument 'colour'"),
        (plain, ("a",), {"address": "b"}, "Argument 'address' given by name and position"),
        (keywords, ("a", "b"), {}, "too many positional arguments"),
        (keywords, ("a",), {"colour": 1}, "got an unexpected keyword argument 'colour'"),
        (positional, (), {"address": "a"}, "positional.only.* passed as.* keyword"),
        (variable, (1, "a"), {}, "Expected `int`, got `str`"),
        (variable, (1,), {"x": "a"}, "Expected `float`, got `str`"),
        (typed, (Line(Point("a")), INSTANT, []), {}, r"Expected `int`, got `str` - at `\$.line.start.x`"),
        (untyped, (object(),), {}, "Encoding objects of type object is unsupported"),
        (untyped, ("\ud800",), {}, "surrogates not allowed"),
        (untyped, (NAN,), {}, "argument `.*` is NaN, which JSON cannot represent"),
        (untyped, (10**5000,), {}, "limit"),
        (untyped, ("x" * (1 << 20),), {}, "the limit is 1048576"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(handler, args, kwargs, why):
    """The error names the task, and what is wrong where."""
    with pytest.raises(PayloadError, match=f"^(cannot store )?the arguments of task mailing.*{why}"):
        Signature("mailing", handler).encode(args, kwargs)


@pytest.mark.parametrize("handler", [plain, keywords])
def test_an_option_among_the_arguments_is_recognised(handler):
    """The error says where options go."""
    with pytest.raises(
        PayloadError, match=r"'delay'; delay is an option: mail.using\(delay=…\).enqueue\(…\)$"
    ):
        Definition.of(handler, "mail", {}).signature.encode(("a",), {"delay": 5})


@pytest.mark.parametrize(
    "payload", [b"", b"{}", b'{"address":1}', b'{"address":"a","colour":1}', b"[" * 100_000]
)
@pytest.mark.parametrize("handler", [plain, keywords])
def test_stored_arguments_that_do_not_fit_are_unreadable(handler, payload):
    """The handler was changed since, or the payload is damaged."""
    with pytest.raises(Unreadable, match="^cannot read the stored arguments of task mailing"):
        Signature("mailing", handler).decode(payload)


# Signatures that cannot be used


def unknown_name(x: "Nowhere") -> None: ...  # noqa: F821 - what this is about
def no_attribute(x: "functools.Nowhere") -> None: ...
def no_hint(x: "not a type") -> None: ...  # noqa: F722 - what this is about
def two_classes(x: Point | Line) -> None: ...
def two_classes_back() -> Point | Line: ...
def wrong_default(x: int = None) -> None: ...  # noqa: RUF013 - what this is about
def odd_default(x=object()): ...  # noqa: B008 - what this is about
def dunder(__x: int) -> None: ...  # noqa: PYI063 - what this is about
def yielding() -> Iterator[int]:
    yield 1


async def async_yielding() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("handler", "why"),
    [
        (unknown_name, "name 'Nowhere' is not defined"),
        (no_attribute, "has no attribute 'Nowhere'"),
        (no_hint, "Forward reference must be an expression"),
        (two_classes, "more than one dataclass or attrs type"),
        (two_classes_back, "more than one dataclass or attrs type"),
        (wrong_default, "the default of x: Expected `int`, got `null`"),
        (
            odd_default,
            "cannot store the default of x as JSON: Encoding objects of type object is unsupported",
        ),
        (dunder, "__x"),
    ],
)
def test_a_signature_that_cannot_be_used_is_refused_at_once(handler, why):
    """When the task is defined, not when its first job runs."""
    with pytest.raises(ConfigError, match=f"^cannot register task broken: .*{why}"):
        Definition.of(handler, "broken", {})


# Results


def gives_a_number() -> int: ...
def gives_anything(): ...
def gives_up() -> NoReturn: ...
def gives_or_puts_off() -> int | Retry | Snooze: ...
def gives_an_outcome() -> Fail: ...
def gives_outcomes() -> Cancel | Fail: ...
async def gives_later() -> list[Point]: ...


@pytest.mark.parametrize(
    ("handler", "returns"),
    [
        (gives_a_number, int),
        (gives_anything, Any),
        (gives_up, Any),
        (gives_or_puts_off, int),
        (gives_an_outcome, Any),
        (gives_outcomes, None),
        (gives_later, list[Point]),
    ],
)
def test_a_result_is_restored_by_what_is_stored(handler, returns):
    """Outcomes among what a handler may return never are."""
    definition = Definition.of(handler, None, {})

    assert definition.signature.returns == returns


@pytest.mark.parametrize(("handler", "is_async"), [(gives_later, True), (gives_a_number, False)])
def test_coroutine_functions_run_on_the_loop(handler, is_async):
    """All others in a thread."""
    definition = Definition.of(handler, None, {})

    assert definition.is_async is is_async


# Names


@pytest.mark.parametrize("name", ["", "a" * 257, "a\n", "a\0", "\ud800", 5])
def test_a_task_has_a_printable_name(name):
    """It is shown wherever its jobs are."""
    with pytest.raises(InvalidArgument, match="^invalid task name .*: use 1–256 printable characters$"):
        Definition.of(plain, name, {})


# Handlers


def passing(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


def awaiting(function):
    @functools.wraps(function)
    async def wrapper(*args, **kwargs):
        return await function(*args, **kwargs)

    return wrapper


async def later(x: int, y: int = 2) -> int: ...


class Mailer:
    async def send(self, x: int) -> int: ...

    def post(self, x: int) -> int: ...

    @staticmethod
    async def ship(x: int) -> int: ...


class Caller:
    def __call__(self, x: int) -> int: ...


class LateCaller:
    async def __call__(self, x: int) -> int: ...


class Bridge:
    """An object that runs an async function to its end."""

    def __init__(self, function):
        functools.update_wrapper(self, function)

    def __call__(self, *args, **kwargs): ...


@pytest.mark.parametrize(
    ("handler", "is_async"),
    [
        (functools.partial(later, y=5), True),
        (functools.partial(functools.partial(Mailer().post)), False),
        (Mailer().send, True),
        (Mailer().post, False),
        (Mailer.ship, True),
        (vars(Mailer)["ship"], True),
        (Caller(), False),
        (LateCaller(), True),
        (awaiting(later), True),
        (passing(plain), False),
        (functools.lru_cache(plain), False),
        (Bridge(later), False),
        (lambda x: x, False),
    ],
)
def test_whatever_can_be_called_can_be_a_handler(handler, is_async):
    """And what is async is known."""
    definition = Definition.of(handler, "named", {})

    assert definition.is_async is is_async


@pytest.mark.parametrize(
    "handler",
    [
        functools.partial(later, y=5),
        functools.partial(Mailer().post),
        Mailer().send,
        Mailer.ship,
        vars(Mailer)["ship"],
        Caller(),
        LateCaller(),
        awaiting(later),
        Bridge(later),
        functools.lru_cache(Mailer().post),
    ],
)
def test_type_hints_are_found_wherever_they_stand(handler):
    """Behind a partial, on a method or on the function that an object stands for."""
    with pytest.raises(PayloadError, match="Expected `int`, got `str`"):
        Definition.of(handler, "named", {}).signature.encode(("5",), {})


@pytest.mark.parametrize(
    ("handler", "why"),
    [
        (
            "mail",
            "^cannot register 'mail' as a task: it is a string; a name is given with @app.task\\(name='mail'\\)",
        ),
        (5, "^cannot register 5 as a task: it cannot be called"),
        (Mailer, "^cannot register Mailer as a task: it is a class"),
        (dict, "^cannot register dict as a task: it is a class"),
        (Mailer.send, "^cannot register Mailer.send as a task: it is a method without its object"),
        (yielding, "^cannot register yielding as a task: it yields; a handler returns"),
        (async_yielding, "^cannot register async_yielding as a task: it yields"),
        (passing(yielding), "^cannot register yielding as a task: it yields"),
        (functools.partial(yielding), "as a task: it yields"),
        (
            passing(later),
            r"^cannot register later as a task: .* passing.<locals>.wrapper \(.*test_tasks.py:\d+\) is a plain",
        ),
        (functools.partial(passing(later)), "passing.<locals>.wrapper .* is a plain function"),
        (functools.lru_cache(later), "its decorator hides that: a _lru_cache_wrapper is a plain function"),
    ],
)
def test_what_cannot_be_a_handler_is_refused_at_once(handler, why):
    """When it is registered, with what would be right."""
    with pytest.raises(ConfigError, match=why):
        Definition.of(handler, "named", {})


@pytest.mark.parametrize(
    ("handler", "what"),
    [
        (functools.partial(plain), "a partial"),
        (lambda: None, "a lambda"),
        (Caller(), "an object of type Caller"),
    ],
)
def test_a_handler_without_a_name_needs_one(handler, what):
    """The error says how it is given."""
    with pytest.raises(InvalidArgument, match=f"^cannot name a task after {what}: give it a name with name="):
        Definition.of(handler, None, {})


# Options

YEAR_9999 = datetime(9999, 12, 31, tzinfo=UTC)
BAD_DURATIONS = [-1, NAN, float("inf"), True, "5", 10**400, timedelta(days=3651)]
BAD_NUMBERS = [-1, 1001, True, 1.0, "1", None]
BAD_NAMES = ["", "a" * 129, "ü", "a\0", "a\r\nb", "{}", "a:b", "a b", None, 5]
BAD_OPTIONS = [
    *(("queue", value) for value in BAD_NAMES),
    *(("priority", value) for value in (-101, 101, True, 1.0, "1", None)),
    *(("key", value) for value in ("", "a" * 129, "a b", "{}", "ü", 5, b"a")),
    *(("delay", value) for value in (*BAD_DURATIONS, None)),
    *(("at", value) for value in (5, "now", datetime(2026, 1, 1), YEAR_9999, INSTANT.date())),  # noqa: DTZ001
    *(("unique", value) for value in ("", 5, b"a")),
    *(("unique_until", value) for value in ("never", None, [])),
    *(
        ("tags", value)
        for value in ("a", b"a", 5, None, [""], ["a" * 257], [5], ["a\n"], ["\ud800"], {"a": 1})
    ),
    *(("retries", value) for value in BAD_NUMBERS),
    *(("max_lost", value) for value in BAD_NUMBERS),
    *(("backoff", value) for value in (5, None, "fixed", Fixed)),
    *(("timeout", value) for value in (*BAD_DURATIONS, 0, 0.0001, None)),
    *(("keep", value) for value in BAD_DURATIONS),
    *(("keep_failed", value) for value in BAD_DURATIONS),
]


@pytest.mark.parametrize(("name", "value"), BAD_OPTIONS, ids=lambda value: ascii(value)[:30])
def test_a_bad_value_is_refused(name, value):
    """With what the option takes, and most often what it was given."""
    with pytest.raises(InvalidArgument) as refused:
        Options.of({name: value})

    assert name in str(refused.value)


def test_an_unknown_option_names_the_known_ones():
    """So that a misspelt one is found at once."""
    with pytest.raises(
        InvalidArgument,
        match="^unknown option 'retry'; expected one of queue, priority, key.*; did you mean 'retries'\\?$",
    ):
        Options().but({"retry": 5})


def test_options_can_be_changed_one_by_one():
    """The others stay."""
    options = Options.of({"queue": "mail", "priority": 5}).but({"priority": 9})

    assert (options.queue, options.priority) == ("mail", 9)


def test_tags_are_a_sorted_set():
    """However they were given."""
    options = Options.of({"tags": ["b", "a", "b"]})

    assert options.tags == ("a", "b")


@pytest.mark.parametrize(
    ("options", "state", "due"),
    [
        ({}, State.QUEUED, None),
        ({"delay": 60}, State.SCHEDULED, timedelta(seconds=60)),
        ({"at": INSTANT}, State.SCHEDULED, INSTANT),
        ({"at": INSTANT, "delay": 60}, State.SCHEDULED, INSTANT),
    ],
)
def test_a_job_that_waits_for_a_time_is_scheduled(options, state, due):
    """An instant goes before a delay."""
    item = Options.of(options).item("welcome", b"{}")

    assert (item.state, item.due) == (state, due)


def test_an_instant_may_be_of_any_timezone():
    """It is one instant all the same."""
    options = Options.of({"at": INSTANT.astimezone(timezone(timedelta(hours=5)))})

    assert options.at == INSTANT


def test_an_item_carries_its_options():
    """Those that backends read in its head, the others in its spec."""
    options = Options.of(
        {"queue": "mail", "key": "7", "unique": "ada", "unique_until": "start", "retries": 1}
    )
    item = options.item("welcome", b"{}")

    assert (item.id, item.task, item.unique, item.scope) == ("mail:7", "welcome", options.digest, "start")
    assert policy_of(item.policy) == Policy(retries=1, unique=options.digest, unique_until="start")


@pytest.mark.parametrize("text", ["ada", "ü" * 10_000, "a\0b", "\ud800", "a:b {c}"])
def test_a_unique_key_is_any_text(text):
    """What is stored is its digest."""
    digest = Options.of({"unique": text}).digest

    assert len(digest) == 32
    assert digest != Options.of({"unique": text + "."}).digest


def test_the_digest_of_a_unique_key_is_the_same_in_every_process():
    """And in every version: jobs of older ones hold theirs."""
    assert Options.of({"unique": "ada"}).digest == "c6ef43c47f8c23627ee5b9f8f5cb406c"
