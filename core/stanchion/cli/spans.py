"""Spans of time as people type them: `90s`, `15m`, `24h`, `7d`."""

import re
from datetime import timedelta
from typing import Any, Final

import click

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)([smhd])")


class Span(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.4
    """An option that takes a span of time."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Return the span of time that a text means; a wrong one is refused with an example.

        Args:
            value: The text, or a timedelta.

            param: The option.

            ctx: Click's context.

        Returns:
            The span.
        """
        if isinstance(value, timedelta):
            return value
        found = _SPAN.fullmatch(value)
        if found is None:
            self.fail(
                f"invalid span of time {value!r}: use a number and s, m, h or d, such as 24h", param, ctx
            )
        try:
            return timedelta(**{_UNITS[found[2]]: float(found[1])})
        except OverflowError:
            self.fail(f"invalid span of time {value!r}: it is too long", param, ctx)
