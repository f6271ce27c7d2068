"""What is printed: stored text made harmless, and plain tables."""

from typing import TYPE_CHECKING, Any, Final

from stanchion.errors.texts import shown

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

WIDE: Final = 120
"""Columns of a line where there is no terminal to ask, so that nothing is cut short that a person may want."""


def say(text: str, *, label: str = "") -> None:
    """Print a line, with control characters escaped.

    Args:
        text: A text, which may be stored.

        label: What comes before it. Defaults to nothing.
    """
    import click

    click.echo(f"{click.style(label, dim=True)}{shown(text)}")


def number(value: int) -> str:
    """Return a number with its thousands set apart.

    Args:
        value: The number.

    Returns:
        The number as text.
    """
    return f"{value:,}".replace(",", " ")


def json_text(value: object) -> str:
    """Return a value as indented JSON in ASCII, so that it cannot mislead a terminal either.

    Args:
        value: JSON's types.

    Returns:
        The JSON.
    """
    import json

    return json.dumps(value, indent=2, ensure_ascii=True)


def console() -> "Console":
    """Return where tables are drawn.

    Returns:
        Standard output, without colours or control codes unless it is a terminal.
    """
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
    """Return an empty table without lines.

    Args:
        *columns: The names of its columns.

        title: Its title. Defaults to nothing.

        texts: How many of the first columns hold texts; the others hold numbers, aligned to the right.

    Returns:
        The table.
    """
    from rich.table import Table

    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", title=title)
    drawn.title_justify, drawn.title_style = "left", "bold"
    for index, name in enumerate(columns):
        options: dict[str, Any] = {} if index < texts else {"justify": "right", "no_wrap": True}
        drawn.add_column(name, **options)
    return drawn
