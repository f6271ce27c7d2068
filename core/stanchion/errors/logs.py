"""Loggers whose lines cannot be forged by what is stored.

Ids, names of tasks and texts of errors come from the store, and a store has many writers. Each argument of a line is
escaped and cut, and a traceback is indented below its line, so that whatever begins at the left was logged.
"""

import logging
from typing import Final

from stanchion.errors.texts import shown
from stanchion.errors.tracebacks import printed, text_of

LONGEST: Final = 1_000
"""Characters of an argument that a line shows at most; the whole error is kept with its job."""

_LONGEST_TRACEBACK: Final = 32 << 10
"""Bytes of a traceback that are logged at most; as much as is kept with a job."""


def logger(name: str) -> logging.Logger:
    """Return the logger of this name, with a filter that makes what is logged harmless.

    Args:
        name: Its name, such as `stanchion.worker`.

    Returns:
        The logger.
    """
    found = logging.getLogger(name)
    found.addFilter(_HARMLESS)  # adds it once only
    return found


class _Harmless(logging.Filter):
    """Escapes what is logged. It is the logger's, so that it comes before every handler's formatter."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Escape a record; it is always logged.

        Returns:
            `True`.
        """
        record.msg = shown(str(record.msg))
        if isinstance(record.args, tuple):
            record.args = tuple(_argument(one) for one in record.args)
        if record.exc_info and record.exc_info[1] is not None and not record.exc_text:
            trace = printed(record.exc_info[1], _LONGEST_TRACEBACK, lambda whole: whole)
            record.exc_text = "\n".join(f"    {shown(line)}" for line in trace.splitlines())
        return True


def _argument(value: object) -> object:
    return value if isinstance(value, int | float) else shown(text_of(value), LONGEST)


_HARMLESS: Final = _Harmless()
