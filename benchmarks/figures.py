"""Figures: what was measured, what it is held against, and how both are shown."""

import json
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Literal, NamedTuple


class Target(NamedTuple):
    """What a figure shall be."""

    of: Literal["value", "ratio"]
    """Which of its numbers."""

    sign: Literal["≥", "≤"]
    """On which side of the bound."""

    bound: float
    """The worst that is still good."""

    def __str__(self) -> str:
        return f"{self.of} {self.sign} {self.bound:g}"


class Figure(NamedTuple):
    """One row of the table."""

    name: str
    """What was measured."""

    unit: str
    """Of the value, and of what it is compared with."""

    value: float
    """Stanchion's, as a median."""

    against: float | None = None
    """What it is compared with, as a median: the floor's, unless the name says otherwise."""

    ratio: float | None = None
    """Value by `against`, as the median of the rounds' own ratios: rounds side by side share the machine's noise."""

    target: Target | None = None
    """What it shall be, where something was promised."""

    @property
    def met(self) -> bool | None:
        """Whether the target is met, none without one."""
        if self.target is None:
            return None
        number = self.value if self.target.of == "value" else self.ratio
        if number is None:
            raise ValueError(f"{self.name} has a target for its ratio, and no ratio")
        return number >= self.target.bound if self.target.sign == "≥" else number <= self.target.bound


def compared(
    name: str, unit: str, ours: Sequence[float], theirs: Sequence[float], target: Target | None = None
) -> Figure:
    """A figure from rounds of both sides, taken in turn."""
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    return Figure(name, unit, median(ours), median(theirs), median(ratios), target)


def show(figures: Iterable[Figure]) -> None:
    """Print a table."""
    rows = [("", "stanchion", "against", "", "ratio", "target", ""), *map(_cells, figures)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        name, *numbers, unit, ratio, target, verdict = row
        cells = [name.ljust(widths[0])]
        cells += [number.rjust(width) for number, width in zip(numbers, widths[1:3], strict=True)]
        cells += [unit.ljust(widths[3]), ratio.rjust(widths[4]), target.ljust(widths[5]), verdict]
        print("  ".join(cells).rstrip())


def as_json(figures: Iterable[Figure]) -> str:
    """The same for programs."""
    rows = [{**one._asdict(), "target": str(one.target or ""), "met": one.met} for one in figures]
    return json.dumps(rows, indent=2, ensure_ascii=False)


def _cells(one: Figure) -> tuple[str, ...]:
    verdict = {True: "met", False: "MISSED", None: ""}[one.met]
    ratio = "" if one.ratio is None else f"{one.ratio:.2f}"
    return one.name, _number(one.value), _number(one.against), one.unit, ratio, str(one.target or ""), verdict


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
