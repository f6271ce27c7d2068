"""Checks the Python in README.md and docs/*.md: every block compiles, and those marked `<!-- run -->` run.

The marked blocks of a page run top to bottom in one namespace, in an empty directory and on `memory://`, so a page
is a program that a reader can follow.
"""

import ast
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
BLOCK: Final = re.compile(r"^(<!-- run -->\n+)?```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> Iterator[tuple[str, bool]]:
    """The blocks of a page, blank lines in front so that errors tell the page's lines; and whether they run."""
    text = page.read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        yield "\n" * text.count("\n", 0, found.start(2)) + found[2], found[1] is not None


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
        os.chdir(ROOT)


if __name__ == "__main__":
    main()
