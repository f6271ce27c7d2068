"""Checks the code in README.md and docs/*.md: Python compiles, what is marked `<!-- run -->` runs, and quotes are true.

The marked blocks of a page run top to bottom in one namespace, in an empty directory and on `memory://`, so a page
is a program that a reader can follow. A block marked `<!-- from examples/file.py -->` must stand in that file. Blocks
marked `<!-- file: test_it.py -->` are written into a directory of the page, and the tests in there must pass.
"""

import ast
import os
import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
BLOCK: Final = re.compile(r"^(<!-- run -->\n+)?```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE: Final = re.compile(r"^<!-- file: (\S+) -->\n+```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
QUOTE: Final = re.compile(r"^<!-- from (\S+) -->\n+```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> Iterator[tuple[str, bool]]:
    """The blocks of a page, blank lines in front so that errors tell the page's lines; and whether they run."""
    text = page.read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        yield "\n" * text.count("\n", 0, found.start(2)) + found[2], found[1] is not None


def misquoted(page: Path) -> Iterator[str]:
    """The blocks of a page that are not in the file they are from; a method may be quoted without its indent."""
    text = page.read_text(encoding="utf-8")
    for found in QUOTE.finditer(text):
        source = ROOT.joinpath(found[1]).read_text(encoding="utf-8")
        if found[2] not in source and textwrap.indent(found[2], "    ") not in source:
            yield f"{page.name}:{text.count(chr(10), 0, found.start(2)) + 1}: this is not in {found[1]}"


def failing(page: Path) -> str:
    """What pytest says of the files of a page, if it has tests and they do not pass."""
    files = FILE.findall(page.read_text(encoding="utf-8"))
    if not any(name.startswith("test_") for name, _ in files):
        return ""
    with tempfile.TemporaryDirectory() as project:
        for name, content in files:
            Path(project, name).write_text(content, encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-W", "error"]
        ran = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
        print(f"{page.name}: {ran.stdout.splitlines()[-1]}", file=sys.stderr)
        return ran.stdout + ran.stderr if ran.returncode else ""


def check(page: Path) -> int:
    """Compile a page's blocks and run those that are marked; how many ran."""
    ran, namespace = 0, {"__name__": "__main__"}
    for source, marked in blocks(page):
        flags = 0 if marked else ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code = compile(source, str(page), "exec", flags=flags)
        if marked:
            exec(code, namespace)  # noqa: S102 - running the page is the point
            ran += 1
    return ran


def main() -> None:
    """Check every page; a failing block is an ordinary traceback into its page."""
    os.environ["STANCHION_BACKEND"] = "memory://"
    with tempfile.TemporaryDirectory() as empty:
        os.chdir(empty)
        for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
            print(f"{page.relative_to(ROOT)}: {check(page)} blocks ran", file=sys.stderr)
            if wrong := "\n".join(misquoted(page)) or failing(page):
                sys.exit(wrong)
        os.chdir(ROOT)


if __name__ == "__main__":
    main()
