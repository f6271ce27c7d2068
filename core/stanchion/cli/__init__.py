"""The command line: `stanchion`. It needs the extra `cli`."""

import sys
from importlib.util import find_spec

__all__ = ["main"]


def main() -> None:
    """Run the command that the arguments name, and exit.

    Exit codes: 0 fine, 1 the library refused, 2 wrong usage or the extra is missing, 130 stopped by Ctrl-C.
    """
    missing = [name for name in ("click", "rich") if find_spec(name) is None]
    if missing:
        sys.stderr.write(f"{' and '.join(missing)} missing: python -m pip install 'stanchion[cli]'\n")
        sys.exit(2)
    from stanchion.cli.commands import stanchion

    stanchion.main(prog_name="stanchion")
