"""The work of the demo: each file of a directory is a job, whose handler reads it and records what it found."""

import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from hashlib import blake2b, sha256
from pathlib import Path
from stat import S_ISREG
from typing import Any, Final
from urllib.parse import unquote_to_bytes, urlsplit

from attrs import frozen

from stanchion.app.application import Stanchion
from stanchion.app.drafts import Draft
from stanchion.app.registry import Task
from stanchion.context import RunningJob, current_job
from stanchion.model.outcomes import Fail
from stanchion.model.policies import Fixed
from stanchion.plugins.hookspecs import hookimpl

LEASE: Final = timedelta(seconds=5)
"""Short, so that the jobs of a killed run continue within seconds."""

GRACE: Final = timedelta(seconds=2)
"""Enough for the handlers to reach the end of the chunk that they are reading."""

KEPT: Final = timedelta(days=1)
"""How long the records are kept: until then, a run on the same directory repeats no work."""

CHUNK: Final = 1 << 20
"""Bytes that a handler reads at a time, so that files of any size need little memory."""

LEFT_OUT: Final = frozenset({"__pycache__", "site-packages"})
"""Directories that are left out: generated or installed files."""

_HOPELESS: Final = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
"""Errors with which a retry would fail as well."""


@frozen
class FileFacts:
    """The result of a job: what it found out about its file."""

    sha256: str
    """The digest of its content, in hexadecimal."""

    size: int
    """How many bytes it has."""

    lines: int
    """How many lines it has; a last one without a line feed counts."""


def measure(uri: str) -> FileFacts | Fail:
    """Read a file, and count and hash what is in it.

    Args:
        uri: Its `file:` URI.

    Returns:
        What was found; `Fail` if the file cannot be read and a retry would not help.
    """
    job = current_job()
    digest, size, feeds, last = sha256(), 0, 0, b"\n"
    try:
        with path_of(uri).open("rb", buffering=0) as file:
            while chunk := file.read(CHUNK):
                job.check()  # if the worker shuts down, the file is read again later
                digest.update(chunk)
                size, feeds, last = size + len(chunk), feeds + chunk.count(b"\n"), chunk[-1:]
    except _HOPELESS as error:
        return Fail(error.strerror or "")
    return FileFacts(digest.hexdigest(), size, feeds + (last != b"\n"))


class Stopwatch:
    """Middleware of the demo: saves with each job how many seconds its handler took."""

    @hookimpl
    def around_job(self, job: RunningJob) -> AbstractContextManager[None]:
        """Time the handler.

        Args:
            job: The running job.

        Returns:
            A context manager around the handler.
        """
        return _timed(job)


@contextmanager
def _timed(job: RunningJob) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        job.save(round(time.perf_counter() - started, 6))


def demo_app(
    directory: Path, backend: str | None, concurrency: int | None
) -> tuple[Stanchion, Task[[str], Any]]:
    """Create the application of the demo.

    Args:
        directory: The directory whose files are read.

        backend: The URL of the store; `None` for the configured one.

        concurrency: How many files are read at a time; `None` for the configured number.

    Returns:
        The application, and its task with a queue for this directory.

    Raises:
        ConfigError: The backend cannot be used.
    """
    app = Stanchion(
        backend,
        plugins=["stats", Stopwatch()],
        concurrency=concurrency,
        lease=LEASE,
        grace=GRACE,
    )
    return app, hashing(app, f"demo-{mark(directory)}")


def hashing(app: Stanchion, queue: str) -> Task[[str], Any]:
    """Register the task that reads files.

    Args:
        app: The application.

        queue: The queue of the files.

    Returns:
        The task.
    """
    return app.task(queue=queue, retries=2, backoff=Fixed(1), keep=KEPT, keep_failed=KEPT)(measure)


def mark(directory: Path) -> str:
    """Return what the queue of a directory is named by.

    Args:
        directory: The directory.

    Returns:
        A digest of its path.
    """
    return _digest(directory, 6)


@frozen
class Tree:
    """What there is to read in a directory."""

    files: list[Path]
    """Its files, those of its directories included, in order."""

    unlisted: list[Path]
    """Directories whose content could not be listed."""


def tree_of(directory: Path) -> Tree:
    """Find the files of a directory; links to directories are not followed.

    Args:
        directory: The directory.

    Returns:
        Its files, and the directories that cannot be listed.
    """
    files: list[Path] = []
    unlisted: list[Path] = []
    for place, folders, names in os.walk(
        directory, onerror=lambda error: unlisted.append(Path(error.filename))
    ):
        folders[:] = sorted(set(folders) - LEFT_OUT)
        files += [path for name in sorted(names) if _is_work(path := Path(place, name))]
    return Tree(files, unlisted)


def _is_work(path: Path) -> bool:
    """Return whether a path is a regular file, or cannot be examined: its job then fails with the reason."""
    try:
        return S_ISREG(path.stat().st_mode)
    except OSError:
        return True


def draft(task: Task[[str], Any], directory: Path, path: Path) -> Draft[Any]:
    """Make the draft of one file. Its key is made of the path, so that it is enqueued once however often it is tried.

    Args:
        task: The task.

        directory: What the path is relative to in the key.

        path: The file.

    Returns:
        The draft.
    """
    return task.using(key=_digest(path.relative_to(directory), 16)).draft(path.as_uri())


def path_of(uri: str) -> Path:
    """Return the path that a `file:` URI names, whatever bytes it is made of.

    Args:
        uri: The URI.

    Returns:
        The path.
    """
    return Path(os.fsdecode(unquote_to_bytes(urlsplit(uri).path)))


def _digest(path: Path, size: int) -> str:
    return blake2b(os.fsencode(path), digest_size=size).hexdigest()
