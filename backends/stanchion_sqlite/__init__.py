"""The SQLite backend of Stanchion: `sqlite:///jobs.db`, a file that the processes of one machine share."""

from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from stanchion.contract.backend import Clock
from stanchion.contract.opening import redacted
from stanchion.errors import ConfigError
from stanchion_sqlite.backend import SqliteBackend

__all__ = ["SqliteBackend", "open"]


def open(url: str, *, namespace: str, clock: Clock | None = None) -> SqliteBackend:
    """Open a file: `sqlite:///jobs.db` in the working directory, `sqlite:////var/lib/jobs.db` anywhere.

    `?synchronous=normal` writes faster, and may lose the last moments when the power fails; see docs/sqlite.md.

    Args:
        url: The URL.

        namespace: Whose queues.

        clock: For tests: where the time comes from.

    Returns:
        A backend that has not opened the file yet.

    Raises:
        ConfigError: The URL names no file, or an option that does not exist, or the working directory is gone.
    """
    parts = urlsplit(url)
    path = unquote(parts.path.removeprefix("/"))
    if parts.netloc or not path or path == ":memory:" or "\0" in path or parts.fragment:
        raise ConfigError(
            f"invalid SQLite URL {redacted(url)!r}: use sqlite:///jobs.db or sqlite:////absolute/path.db; "
            "for jobs in memory, use memory://"
        )
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    synchronous = options.pop("synchronous", "full").lower()
    if options or synchronous not in ("full", "normal"):
        raise ConfigError(f"invalid option in {redacted(url)}: the only one is synchronous=full or normal")
    return SqliteBackend(_absolute(path), namespace=namespace, synchronous=synchronous, clock=clock)


def _absolute(path: str) -> Path:
    try:
        return Path(path).absolute()
    except OSError as error:
        raise ConfigError(
            f"cannot find {path!r}: the working directory is gone; name the file by an absolute path, "
            "sqlite:////var/lib/jobs.db"
        ) from error
