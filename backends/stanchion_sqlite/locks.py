"""Locks on files that belong to an open file, and not to a process.

SQLite's own locks belong to the process, as POSIX has them: a program that opens and closes the file by itself, to
copy it for example, takes them all away. Locks of an open file description stay until that is closed. Only Linux has
them; elsewhere nothing is locked here, and SQLite's own locks are all there is.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from struct import pack
from typing import Final

SET: Final[int | None] = getattr(fcntl, "F_OFD_SETLK", None)
"""The command that sets such a lock without waiting; `None` where there are none."""

Identity = tuple[int, int]
"""A file, whatever its name: its device and its number on it."""


def lock(kind: int, start: int, length: int) -> bytes:
    """Return Linux's `struct flock` for a range of bytes.

    Returns:
        The structure, for `F_RDLCK`, `F_WRLCK` or `F_UNLCK`.
    """
    return pack("hhqqi0q", kind, os.SEEK_SET, start, length, 0)


def is_set(descriptor: int, change: bytes) -> bool:
    """Change a lock.

    Returns:
        `True` if no other lock was in the way.
    """
    if SET is None:
        return False
    try:
        fcntl.fcntl(descriptor, SET, change)
    except OSError:
        return False
    return True


def descriptors_of(file: Identity) -> list[int]:
    """Find all descriptors of a file that this process has, SQLite's among them.

    Returns:
        Their numbers.
    """
    return [number for number in map(int, os.listdir("/dev/fd")) if _identity(number) == file]  # noqa: PTH208


def _identity(descriptor: int) -> Identity | None:
    try:
        there = os.fstat(descriptor)
    except OSError:
        return None  # it was the one that listed them, for example
    return there.st_dev, there.st_ino


def is_open_without_name(name: str) -> bool:
    """Return whether this process has a file open that had this name and was removed.

    Returns:
        `True` if it has; only Linux knows.
    """
    for one in Path("/dev/fd").iterdir():
        with suppress(OSError):
            if os.fspath(one.readlink()) == f"{name} (deleted)":
                return True
    return False
