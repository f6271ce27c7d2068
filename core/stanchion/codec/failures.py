"""Exceptions as text."""

from types import TracebackType
from typing import Final

from stanchion.errors.texts import clipped
from stanchion.errors.tracebacks import name_of, printed, text_of
from stanchion.model.history import Failure
from stanchion.model.values import LONGEST_MESSAGE

LONGEST_TRACEBACK: Final = 32 << 10
"""Bytes of UTF-8 kept of an error's traceback; see `stanchion.errors.tracebacks` for what is left out."""


def failure_of(error: BaseException, run: int) -> Failure:
    """Return an exception as text. Never raises, whatever the exception does when it is asked.

    Its traceback is what Python prints: with causes, notes and the members of a group. Of a long one the end is
    kept, which says where the exception was raised; of a group the beginning, which says how it came about.

    Args:
        error: What the handler raised.

        run: The number of the run it ended.

    Returns:
        Its type, message and traceback.
    """
    return Failure(
        type=clipped(name_of(error), LONGEST_MESSAGE),
        message=clipped(text_of(error), LONGEST_MESSAGE),
        traceback=printed(error, LONGEST_TRACEBACK, _of_handler),
        run=run,
    )


def _of_handler(trace: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the worker's own frames, which lead up to the handler."""
    ours = ("stanchion.worker.", "concurrent.futures.")
    while trace is not None and trace.tb_next is not None:
        if not str(trace.tb_frame.f_globals.get("__name__")).startswith(ours):
            break
        trace = trace.tb_next
    return trace
