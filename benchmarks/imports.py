"""Measure what `import stanchion` costs, and what it brings along. Each import happens in a fresh process."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

from figures import Figure, Target, compared, show

TIMES = 15
BASE = "attrs, msgspec, pluggy"
"""What core stands on: importing it costs this much at least."""

KEPT_OUT = ("asyncio", "redis", "click", "rich")
"""What a program that only enqueues shall not pay for."""


def main() -> None:
    """Measure, and print a table; fail if something was imported that shall not be."""
    show([_import(), *_help()])
    brought = _output(f"import stanchion, sys; print(*[one for one in {KEPT_OUT} if one in sys.modules])")
    print(f"\nimported, and should not be: {brought or 'nothing'}")
    if brought:
        raise SystemExit(1)


def _import() -> Figure:
    ours, theirs = [], []
    for _ in range(TIMES + 1):
        ours.append(_importing("stanchion"))
        theirs.append(_importing(BASE))
    name = f"import stanchion, against {BASE}"
    return compared(name, "ms", ours[1:], theirs[1:], Target("ratio", "≤", 1.5))


def _importing(names: str) -> float:
    timed = f"import time; start = time.perf_counter(); import {names}; print(time.perf_counter() - start)"
    return float(_output(timed)) * 1e3


def _help() -> list[Figure]:
    command = shutil.which("stanchion")
    if command is None:
        print("no command `stanchion` here, so its start is not measured\n")
        return []
    taken = [_milliseconds(lambda: _run([command, "--help"])) for _ in range(TIMES + 1)]
    return [Figure("stanchion --help", "ms", median(taken[1:]), target=Target("value", "≤", 300))]


def _milliseconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return (time.perf_counter() - start) * 1e3


def _output(program: str) -> str:
    return _run([sys.executable, "-c", program]).strip()


def _run(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
