"""Writes docs/states.md, the picture of the state machine, from the table in `stanchion.model.states`.

`python docs/states.py` writes it; with `--check` it only says whether the file is as it should be.
"""

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from stanchion.model.states import FINAL, FIRST, GONE, MOVES, Event, State

PAGE: Final = Path(__file__).with_name("states.md")

INTRODUCTION: Final = """\
<!-- Written by docs/states.py from the table in core/stanchion/model/states.py. Change that, then run the script. -->
# States

A job is in exactly one state. What happens to it is an event, and the table below says where each event may lead
from each state. A pair that is not in the table is refused with `IllegalTransition`, and nothing changes.
"""


def page() -> str:
    """The whole page."""
    parts = [
        INTRODUCTION,
        _diagram(),
        "## States",
        _described(State),
        "## Events",
        _described(Event),
        "## Moves",
    ]
    return "\n\n".join(part.strip("\n") for part in [*parts, _table()]) + "\n"


def _diagram() -> str:
    lines = ["```mermaid", "stateDiagram-v2", *(f"    [*] --> {state}" for state in State if state in FIRST)]
    for state, moves in MOVES.items():
        for target, events in _by_target(moves):
            lines.append(f"    {state} --> {'[*]' if target is GONE else target}: {', '.join(events)}")
    return "\n".join([*lines, "```"])


def _by_target(moves: Mapping[Event, frozenset[State | None]]) -> Iterator[tuple[State | None, list[Event]]]:
    """Where a state's events lead, and which ones lead there."""
    for target in (*State, GONE):
        events = [event for event, targets in moves.items() if target in targets]
        if events:
            yield target, events


def _described(names: type[State] | type[Event]) -> str:
    rows = [f"| `{name}` | {text} |" for name, text in zip(names, _docstrings(names), strict=True)]
    return "\n".join([f"| {names.__name__.lower()} | meaning |", "|---|---|", *rows])


def _docstrings(names: type) -> list[str]:
    """What the source says below each member."""
    body = ast.parse(inspect.getsource(names)).body[0]
    assert isinstance(body, ast.ClassDef)
    texts = [ast.literal_eval(node.value) for node in body.body[1:] if isinstance(node, ast.Expr)]
    return [" ".join(text.split()) for text in texts]


def _table() -> str:
    rows = [
        f"| `{state}`{' (final)' if state in FINAL else ''} | `{event}` | {_targets(targets)} |"
        for state, moves in MOVES.items()
        for event, targets in moves.items()
    ]
    return "\n".join(["| in state | event | leads to |", "|---|---|---|", *rows])


def _targets(targets: frozenset[State | None]) -> str:
    named = [f"`{state}`" for state in State if state in targets]
    return " or ".join([*named, *(["no job"] if GONE in targets else [])])


def main() -> int:
    """Write the page, or with `--check` compare it."""
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    if PAGE.read_text(encoding="utf-8") == page():
        return 0
    print(f"{PAGE.name} is not what the table says; run: python docs/states.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
