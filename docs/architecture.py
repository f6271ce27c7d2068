"""Draws the rooms of core from their imports, and looks up each file and name that docs/architecture.md mentions.

`python docs/architecture.py` writes the diagram; with `--check` it only says whether the page is as it should be.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
CORE: Final = ROOT / "core" / "stanchion"
PAGE: Final = ROOT / "docs" / "architecture.md"
MARKS: Final = ("<!-- rooms -->\n", "<!-- end of rooms -->")

ROOMS: Final = (
    "cli",
    "worker",
    "app",
    "engine",
    "plugins",
    "context",
    "contract",
    "codec",
    "model",
    "errors",
)
"""Top down, as `[tool.importlinter]` lists them."""


def files(room: str) -> list[Path]:
    """The files of a room."""
    return sorted((CORE / room).rglob("*.py")) if (CORE / room).is_dir() else [CORE / f"{room}.py"]


def imported(room: str) -> set[str]:
    """The other rooms that a room imports."""
    found = set()
    for path in files(room):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("stanchion"):
                name = node.module.split(".")[1:2] or [one.name for one in node.names]
                found |= set(name)
    return (found & set(ROOMS)) - {room}


def diagram() -> str:
    """The rooms, each with its first sentence, and an arrow for each import that no other path implies."""
    imports = {room: imported(room) for room in ROOMS}
    below: dict[str, set[str]] = {}
    for room in reversed(ROOMS):
        below[room] = (
            set().union(*(below[other] | {other} for other in imports[room])) if imports[room] else set()
        )
    lines = ["```mermaid", "flowchart TD"]
    for room in ROOMS:
        doc = ast.get_docstring(ast.parse(files(room)[0].read_text(encoding="utf-8"))) or ""
        sentence = doc.split("\n")[0].rstrip(".").replace("`", "")
        lines.append(f'    {room}["<b>{room}</b><br/>{sentence}"]')
    for room in ROOMS:
        near = {other for other in imports[room] if not any(other in below[third] for third in imports[room])}
        lines += [f"    {room} --> {other}" for other in ROOMS if other in near]
    return "\n".join([*lines, "```", ""])


def names_in(path: Path) -> set[str]:
    """What a file defines: functions, classes, `Class.method`, constants."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                found.add(node.name)
            case ast.ClassDef():
                found.add(node.name)
                methods = (
                    one for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
                )
                found |= {f"{node.name}.{one.name}" for one in methods}
            case ast.Assign():
                found |= {ast.unparse(target) for target in node.targets}
            case ast.AnnAssign():
                found.add(ast.unparse(node.target))
    return found


def place(name: str) -> Path:
    """Where a file that the page mentions should be."""
    return ROOT / name if (ROOT / name).exists() else CORE / name


def missing(text: str) -> Iterator[str]:
    """The files and names of the page that are not there."""
    for name in re.findall(r"`((?:[\w-]+/)+(?:[\w-]+\.\w+)?)`", text):
        if not place(name).exists():
            yield f"{PAGE.name}: there is no {name}"
    rows = re.findall(r"^\| `([\w/]+\.py)` \| ((?:`[\w.]+`(?:, )?)+) \|", text, re.MULTILINE)
    rows += re.findall(r"`([\w/]+\.py)`: ((?:`\w+`(?:, )?)+)", text)
    for file, names in rows:
        for name in re.findall(r"`([\w.]+)`", names):
            if place(file).exists() and name not in names_in(place(file)):
                yield f"{PAGE.name}: there is no {name} in {file}"


def page(text: str) -> str:
    """The page with the diagram as it should be."""
    before, _, rest = text.partition(MARKS[0])
    return f"{before}{MARKS[0]}\n{diagram()}\n{MARKS[1]}{rest.partition(MARKS[1])[2]}"


def main() -> int:
    """Write the page, or with `--check` compare it."""
    text = PAGE.read_text(encoding="utf-8")
    faults = list(missing(text))
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page(text), encoding="utf-8")
    elif page(text) != text:
        faults.append(f"{PAGE.name} does not show the imports as they are; run: python docs/architecture.py")
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
