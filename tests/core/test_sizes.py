"""The sizes of the house: what a reader can hold in mind."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for room in ("core", "backends") for path in (ROOT / room).rglob("*.py"))

CLASS_LINES, METHODS, FUNCTION_LINES, ENTRIES = 200, 15, 45, 12

Function = ast.FunctionDef | ast.AsyncFunctionDef


def lines(node: ast.ClassDef | Function) -> int:
    """How many lines a class or function has."""
    return (node.end_lineno or 0) - node.lineno + 1


def is_overload(function: Function) -> bool:
    """Whether it only says a type."""
    return any(ast.unparse(one).endswith("overload") for one in function.decorator_list)


def too_large(path: Path) -> Iterator[str]:
    """What is too large in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        where = f"{path.relative_to(ROOT)}: {getattr(node, 'name', '')}"
        if isinstance(node, ast.ClassDef):
            methods = [one for one in node.body if isinstance(one, Function) and not is_overload(one)]
            if lines(node) > CLASS_LINES:
                yield f"{where} has {lines(node)} lines"
            if len(methods) > METHODS:
                yield f"{where} has {len(methods)} methods"
        if isinstance(node, Function) and lines(node) > FUNCTION_LINES:
            yield f"{where} has {lines(node)} lines"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_class_or_function_is_too_large(path: Path) -> None:
    """Two hundred lines and fifteen methods a class, forty-five lines a function."""
    assert list(too_large(path)) == []


def test_core_has_few_rooms() -> None:
    """A reader sees all of them at once."""
    entries = [one.name for one in (ROOT / "core/stanchion").iterdir() if one.name != "__pycache__"]

    assert len(entries) <= ENTRIES
