"""What is printed: stored text made harmless, and plain tables."""

from typing import TYPE_CHECKING, Any, Final

from stanchion.errors.texts import shown

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

WIDE: Final = 120
"""Columns of a line where there is no terminal to ask, so that nothing is cut short that a person may want."""


def say(text: str, *, label: str = "") -> None:
    """Print a line: a label, if any, and a text that may be stored, with its control characters escaped."""
    import click

    click.echo(f"{click.style(label, dim=True)}{shown(text)}")


def number(value: int) -> str:
    """A number with its thousands set apart."""
    return f"{value:,}".replace(",", " ")


def json_text(value: object) -> str:
    """A value as indented JSON in ASCII, so that no terminal can be misled by it either."""
    import json

    return json.dumps(value, indent=2, ensure_ascii=True)


def console() -> "Console":
    """Where tables are drawn: on standard output, without colours or control codes unless it is a terminal."""
    from rich.console import Console
    from rich.text import Text

    class Harmless(Console):
        """Escapes every text that is drawn."""

        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(shown(text), **options)

    drawn = Harmless(highlight=False, markup=False, emoji=False)
    if not drawn.is_terminal:
        drawn.width = WIDE
    return drawn


def table(*columns: str, title: str | None = None, texts: int = 1) -> "Table":
    """An empty table without lines; the first columns hold texts, the others numbers, which stand to the right."""
    from rich.table import Table

    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", title=title)
    drawn.title_justify, drawn.title_style = "left", "bold"
    for index, name in enumerate(columns):
        options: dict[str, Any] = {} if index < texts else {"justify": "right", "no_wrap": True}
        drawn.add_column(name, **options)
    return drawn
