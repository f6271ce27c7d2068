"""Leaving: how a worker's process ends although threads or handlers of it do not."""

import atexit
import os
import sys
import threading
from contextlib import suppress
from typing import Final, NoReturn

LAST: Final = 0.5
"""Seconds that whatever was registered for the exit may take."""


def leave(code: int) -> NoReturn:
    """End the process, whatever still runs in it.

    What was registered with `atexit` runs, and output is flushed, as at any exit; for `LAST` seconds at most.

    Args:
        code: The exit code.
    """
    watch = threading.Timer(LAST, os._exit, (code,))
    watch.daemon = True
    try:
        with suppress(RuntimeError):  # no more threads can be started: then nothing limits the time
            watch.start()
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):  # closed, full, or none at all
                stream.flush()
    finally:
        os._exit(code)
