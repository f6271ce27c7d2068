"""The demo's work: each file of a directory is a job, whose handler reads it and records what it found."""

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

from stanchion.app.application import Draft, Stanchion, Task
from stanchion.context import RunningJob, current_job
from stanchion.model.outcomes import Fail
from stanchion.model.policies import Fixed
from stanchion.plugins.hookspecs import hookimpl

LEASE: Final = timedelta(seconds=5)
"""Short, so that what a killed run held is taken up again within seconds."""

GRACE: Final = timedelta(seconds=2)
"""Enough for the handlers to reach the end of the chunk that they are reading."""

KEPT: Final = timedelta(days=1)
"""How long the records stay: until then, a run on the same directory does nothing twice."""

CHUNK: Final = 1 << 20
"""Bytes that a handler reads at a time, so that files of any size need little memory."""

LEFT_OUT: Final = frozenset({"__pycache__", "site-packages"})
"""Directories that are not looked into: what others made or installed."""

_HOPELESS: Final = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
"""Errors that another attempt would meet again."""


@frozen
class FileFacts:
    """What a job finds out about its file, and its result."""

    sha256: str
    """The digest of its content, in hexadecimal."""

    size: int
    """How many bytes it has."""

    lines: int
    """How many lines it has; a last one without a line feed counts."""


def measure(uri: str) -> FileFacts | Fail:
    """Return what there is to know of a file, named by its `file:` URI, read from the beginning to its end."""
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
    """Middleware of the demo's own: saves with each job how many seconds its handler took."""

    @hookimpl
    def around_job(self, job: RunningJob) -> AbstractContextManager[None]:
        """Time this handler."""
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
    """The demo's application, and its task with a queue for this directory.

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
    """The task of an application that reads the files of a directory, which have this queue."""
    return app.task(queue=queue, retries=2, backoff=Fixed(1), keep=KEPT, keep_failed=KEPT)(measure)


def mark(directory: Path) -> str:
    """What a directory's queues are told apart by."""
    return _digest(directory, 6)


@frozen
class Tree:
    """What a directory has to be read."""

    files: list[Path]
    """Its files, those of its directories included, in order."""

    unlisted: list[Path]
    """Directories whose content could not be listed."""


def tree_of(directory: Path) -> Tree:
    """Look for the files of a directory; links to directories are not followed."""
    files: list[Path] = []
    unlisted: list[Path] = []
    for place, folders, names in os.walk(
        directory, onerror=lambda error: unlisted.append(Path(error.filename))
    ):
        folders[:] = sorted(set(folders) - LEFT_OUT)
        files += [path for name in sorted(names) if _is_work(path := Path(place, name))]
    return Tree(files, unlisted)


def _is_work(path: Path) -> bool:
    """Whether a path is a regular file. One that cannot be told is: its job shall say why."""
    try:
        return S_ISREG(path.stat().st_mode)
    except OSError:
        return True


def draft(task: Task[[str], Any], directory: Path, path: Path) -> Draft[Any]:
    """The job of one file. Its key is made of the path, so that it is enqueued once however often it is tried."""
    return task.using(key=_digest(path.relative_to(directory), 16)).job(path.as_uri())


def path_of(uri: str) -> Path:
    """The path that a `file:` URI names, whatever bytes it is made of."""
    return Path(os.fsdecode(unquote_to_bytes(urlsplit(uri).path)))


def _digest(path: Path, size: int) -> str:
    return blake2b(os.fsencode(path), digest_size=size).hexdigest()
