"""The statements: files of their own, one for each thing that is asked of the database."""

from functools import cache
from importlib.resources import files

from stanchion_sqlite.rows import HEAD


@cache
def statement(name: str) -> str:
    """Return the text of statements/<name>.sql; `{head}` in it stands for the columns of a head.

    Args:
        name: The name.

    Returns:
        The text.
    """
    text = (files("stanchion_sqlite") / "statements" / f"{name}.sql").read_text("utf-8")
    return text.replace("{head}", HEAD)


@cache
def insertion(columns: tuple[str, ...]) -> str:
    """Return insert.sql for these columns; the others get their defaults.

    Returns:
        The statement.
    """
    values = ", ".join("?" * len(columns))
    return statement("insert").replace("{columns}", ", ".join(columns)).replace("{values}", values)


@cache
def update(columns: tuple[str, ...]) -> str:
    """Return update.sql for these columns.

    Returns:
        The statement.
    """
    return statement("update").replace("{assignments}", ", ".join(f"{column} = ?" for column in columns))
