"""Texts that come from outside: made harmless to show, and fit to be stored."""


def shown(text: str, longest: int | None = None) -> str:
    """Escape every character of a text that is not plainly printable.

    Stored text may come from anywhere. Line breaks could forge a line of the log, control characters and ANSI
    sequences rewrite a terminal, and bidirectional marks show another text than the stored one.

    Args:
        text: Any text.

        longest: How many characters to show at most. The rest is replaced by the number of characters left out.

    Returns:
        The text on one line; a text that is plainly printable as it is.
    """
    left_out = 0 if longest is None else len(text) - longest
    if left_out > 0:
        return f"{shown(text[:longest])}… ({left_out} more characters)"
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def clipped(text: str, size: int) -> str:
    """Return the beginning of a text, fit for every store: lone surrogates are escaped.

    Args:
        text: Any text.

        size: How many bytes of UTF-8 to keep at most.
    """
    # By `str` itself: a subclass may do anything.
    return str.encode(text, "utf-8", "backslashreplace")[:size].decode(errors="ignore")
