"""Text in the file that is no UTF-8: some other program has written it."""

import sqlite3
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Undecoded(bytes):
    """A text that is none; it is no blob either, which is why it is not `bytes`."""


def read_any_text(connection: sqlite3.Connection, act: Callable[[], T]) -> T:
    """Do something; if there is text that cannot be decoded, do it again with those texts `Undecoded`.

    So one such row stops no others: whoever looks at it finds that it has a value of a wrong type.

    Args:
        connection: The connection that it is done on.

        act: What to do.

    Returns:
        What it returned.
    """
    try:
        return act()
    except sqlite3.OperationalError as error:
        if "Could not decode to UTF-8" not in str(error):
            raise
    connection.text_factory = _decoded
    try:
        return act()
    finally:
        connection.text_factory = str


def _decoded(text: bytes) -> str | bytes:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return Undecoded(text)
