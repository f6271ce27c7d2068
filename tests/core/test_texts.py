"""Texts from outside: wherever they are shown, they stay texts."""

import ast
import inspect
import logging
from datetime import timedelta
from importlib import import_module
from pathlib import Path

import pytest

import stanchion
import stanchion_redis
import stanchion_sqlite
from stanchion import Stanchion, StanchionError
from stanchion.app.jobs import Job
from stanchion.context import RunningJob
from stanchion.errors.logs import LONGEST, logger
from stanchion.errors.texts import clipped, shown
from stanchion.model.policies import Policy
from stanchion.model.states import Event, State
from support.factories import a_record

EVIL = "x\r\n2026-01-01 CRITICAL stanchion.worker: forged \x1b[2J\x9b31m\u202egnp.exe\x07"
ESCAPED = r"x\r\n2026-01-01 CRITICAL stanchion.worker: forged \x1b[2J\x9b31m\u202egnp.exe\x07"


def test_escaping_leaves_text_of_any_language():
    """What can be printed stays; what cannot, even half a character, is named."""
    assert shown("Grüße, 世界 🎉") == "Grüße, 世界 🎉"
    assert shown("a\tb\nc\x00\ud800") == r"a\tb\nc\x00\ud800"
    assert shown(EVIL) == ESCAPED


def test_a_long_text_is_cut_where_a_line_quotes_it():
    """And it says how much is left out."""
    assert shown("\n" * 5, 5) == r"\n" * 5
    assert shown("\n" * 8, 5) == r"\n" * 5 + "… (3 more characters)"


@pytest.mark.parametrize(("size", "kept"), [(0, ""), (1, "a"), (3, "a"), (4, "a€"), (5, "a€b")])
def test_a_clipped_text_ends_with_a_whole_character(size, kept):
    """Bounds are bytes, and no store takes half a character."""
    assert clipped("a€b", size) == kept


def test_a_clipped_text_can_be_stored():
    """Lone surrogates have no encoding."""
    assert clipped("a\ud800b", 100) == r"a\ud800b"


# Errors


def every_error(root=StanchionError):
    yield root
    for kind in root.__subclasses__():
        yield from every_error(kind)


VALUES = {
    "str": EVIL,
    "State": State.FAILED,
    "Event": Event.CANCEL,
    "timedelta": timedelta(1),
    "tuple": (EVIL,),
    "int": 5,
    "object": object(),
}


def made_of_evil(kind):
    """An error whose every text is hostile."""
    if "__init__" not in vars(kind):
        return kind(EVIL)
    given = list(inspect.signature(kind).parameters.values())
    return kind(*(VALUES[getattr(one.annotation, "__name__", one.annotation)] for one in given))


@pytest.mark.parametrize("kind", sorted(set(every_error()), key=lambda kind: kind.__name__))
def test_an_error_quotes_no_control_characters(kind):
    """It is printed and logged, and may quote what is stored."""
    error = made_of_evil(kind)

    assert str(error).isprintable()
    assert repr(error).isprintable()


@pytest.mark.parametrize(
    "thing",
    [
        a_record(id=EVIL),
        RunningJob(a_record(State.RUNNING, id=EVIL), Policy()),
        Job(None, a_record(id=EVIL)),
        Stanchion("memory://", plugins=()).queue("mail"),
    ],
    ids=lambda thing: type(thing).__name__,
)
def test_what_shows_itself_quotes_no_control_characters(thing):
    """Ids come from the store."""
    assert repr(thing).isprintable()


# Logs


@pytest.fixture
def logged():
    """The lines that a plain handler writes of what a logger is given."""
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(handler.format(record))
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))

    def log(name, *given, **more):
        logging.getLogger(name).addHandler(handler)
        try:
            logging.getLogger(name).error(*given, **more)
        finally:
            logging.getLogger(name).removeHandler(handler)
        return lines

    return log


def loggers():
    """The names of all loggers in the sources."""
    for package in (stanchion, stanchion_redis, stanchion_sqlite):
        for path in Path(package.__file__).parent.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in ("logging.getLogger", "logger"):
                    yield from (one.value for one in node.args if isinstance(one, ast.Constant))


@pytest.mark.parametrize("name", sorted(set(loggers()) - {"stanchion"}))
def test_no_line_of_a_log_can_be_forged(name, logged):
    """Neither by what a line quotes, nor by a traceback below it."""
    import_module("stanchion.worker")
    try:
        raise ValueError(EVIL)
    except ValueError as error:
        found = logged(name, "job %s: %s", EVIL, error, exc_info=True)
    first, *below = found[0].split("\n")

    assert first == f"ERROR job {ESCAPED}: {ESCAPED}"
    assert below[0] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") and line.isprintable() for line in below)


def test_loggers_are_found():
    """By the test above."""
    assert {"stanchion.worker", "stanchion.plugins", "stanchion.redis"} <= set(loggers())


def test_a_long_argument_of_a_log_line_is_cut(logged):
    """The whole error is kept with its job."""
    (line,) = logged("stanchion.plugins", "it said %s", "x" * (LONGEST + 7))

    assert line == f"ERROR it said {'x' * LONGEST}… (7 more characters)"


def test_numbers_are_logged_as_numbers(logged):
    """Formats that ask for one get one."""
    logger("stanchion.plugins")

    assert logged("stanchion.plugins", "%d of %.1f", 3, 4.5) == ["ERROR 3 of 4.5"]
