"""The command line: `stanchion`. It needs the extra `cli`."""

import os
import sys
from contextlib import suppress
from importlib.util import find_spec
from io import TextIOWrapper
from typing import TextIO

__all__ = ["main"]


def main() -> None:
    """Run the command that the arguments name, and exit.

    Exit codes: 0 fine, 1 the library refused or the output could not be written, 2 wrong usage or the extra is
    missing, 130 stopped by Ctrl-C.
    """
    missing = [name for name in ("click", "rich") if find_spec(name) is None]
    if missing:
        sys.stderr.write(
            f"the command line needs {' and '.join(missing)}: python -m pip install 'stanchion[cli]'\n"
        )
        sys.exit(2)
    from stanchion.cli.commands import stanchion

    sys.stdout, sys.stderr = _output(sys.stdout), _output(sys.stderr)
    try:
        stanchion.main(prog_name="stanchion")
    except OutputLostError as error:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # what is left goes nowhere, without a word
        with suppress(OSError):
            sys.stderr.write(f"Error: cannot write the output: {error.strerror}\n")
        sys.exit(1)


class OutputLostError(OSError):
    """Standard output or standard error did not take what was written."""


class _Output(TextIOWrapper):
    """Standard output or error: escapes what its encoding cannot represent; its own errors are `OutputLostError`."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            raise OutputLostError(error.errno, error.strerror) from error

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            raise OutputLostError(error.errno, error.strerror) from error


def _output(stream: TextIO) -> TextIO:
    """Return a stream like this one that can write any text; the stream itself if it is closed or not a file."""
    if not isinstance(stream, TextIOWrapper):
        return stream
    encoding, by_line, through = stream.encoding, stream.line_buffering, stream.write_through
    return _Output(stream.detach(), encoding, "backslashreplace", None, by_line, through)
