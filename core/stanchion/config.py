"""Configuration. Later wins: defaults, `stanchion.toml` or `[tool.stanchion]`, `STANCHION_*`, arguments."""

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from datetime import timedelta
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final, Self

from attrs import field, fields, frozen

from stanchion.backend import Backend, Clock
from stanchion.errors import ConfigError, InvalidArgument
from stanchion.queues import check_name
from stanchion.retries import duration

GROUP: Final = "stanchion.backends"
"""The entry-point group that backends are found in, by URL scheme."""

LEASE: Final = timedelta(seconds=30)
"""How long a claim holds a job without a beat: two beats may be missed, and recovery stays under a minute."""

SWEEP: Final = timedelta(seconds=1)
"""How often each worker looks for jobs whose clock has run out."""

GRACE: Final = timedelta(seconds=8)
"""How long a stopping worker waits for its handlers; below the 10 s after which container runtimes kill."""

_SECRET: Final = re.compile(r"//[^/@]*@")


def redacted(url: str) -> str:
    """A URL without the user and password in it, fit to be shown."""
    return _SECRET.sub("//***@", url)


def _seconds(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _span(default: timedelta, name: str) -> Any:
    least = timedelta(milliseconds=100)
    return field(default=default, converter=lambda value: duration(_seconds(value), name, least=least))


def _slots(value: Any) -> int:
    number = int(value) if isinstance(value, str) and value.isdigit() else value
    if type(number) is not int or not 1 <= number <= 10_000:
        raise InvalidArgument(f"concurrency is an integer from 1 to 10000, not {value!r}")
    return number


def _names(value: Any) -> tuple[object, ...]:
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(",") if name.strip())
    return tuple(value)


@frozen(kw_only=True)
class Config:
    """The settings of an application."""

    backend: str = field(default="memory://", repr=redacted)
    """The URL of the backend; its scheme names the backend."""

    namespace: str = field(default="stanchion", converter=lambda value: check_name(value, "namespace"))
    """Set apart from all other namespaces in the same store."""

    plugins: tuple[object, ...] = field(default=(), converter=_names)
    """Plugins: names of entry points, or objects; nothing is loaded that is not listed."""

    concurrency: int = field(default=10, converter=_slots)
    """How many jobs a worker runs at a time."""

    lease: timedelta = _span(LEASE, "lease")
    """How long a claim holds a job without a beat."""

    sweep: timedelta = _span(SWEEP, "sweep")
    """How often a worker sweeps."""

    grace: timedelta = _span(GRACE, "grace")
    """How long a stopping worker waits for its handlers."""

    @classmethod
    def load(cls, arguments: Mapping[str, Any], directory: Path | None = None) -> Self:
        """Put the layers together.

        Args:
            arguments: What the program passed; values that are none were not given.

            directory: Where the files are looked for; the working directory unless given.

        Raises:
            ConfigError: A setting does not exist, or a file cannot be read.
            InvalidArgument: A setting's value cannot be used.
        """
        known = [attribute.name for attribute in fields(cls)]
        given = {name: value for name, value in arguments.items() if value is not None}
        environment = {
            name: os.environ[f"STANCHION_{name.upper()}"]
            for name in known
            if os.environ.get(f"STANCHION_{name.upper()}")
        }
        settings = {**_from_files(directory or Path.cwd()), **environment, **given}
        unknown = sorted(settings.keys() - set(known))
        if unknown:
            raise ConfigError(f"no setting is named {unknown[0]!r}; there are: {', '.join(known)}")
        return cls(**settings)


def _from_files(directory: Path) -> dict[str, Any]:
    own, project = directory / "stanchion.toml", directory / "pyproject.toml"
    try:
        if own.is_file():
            return tomllib.loads(own.read_text())
        if project.is_file():
            return dict(tomllib.loads(project.read_text()).get("tool", {}).get("stanchion", {}))
    except (tomllib.TOMLDecodeError, OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the configuration in {directory} cannot be read: {error}") from error
    return {}


def open_backend(url: str, namespace: str, clock: Clock | None = None) -> Backend:
    """Open the backend that a URL's scheme names. It is imported only now, and does no I/O yet.

    Raises:
        ConfigError: No backend has this scheme, or what it needs is not installed.
    """
    scheme = url.partition("://")[0]
    found = [entry for entry in entry_points(group=GROUP) if entry.name == scheme]
    if not found or "://" not in url:
        known = ", ".join(sorted(f"{entry.name}://" for entry in entry_points(group=GROUP)))
        raise ConfigError(f"no backend for {redacted(url)!r}; installed are: {known or 'none'}")
    try:
        opener: Callable[..., Backend] = found[0].load()
    except ImportError as error:
        extra = found[0].module.partition("_")[2] or found[0].module
        raise ConfigError(f"{scheme}:// needs more: python -m pip install 'stanchion[{extra}]'") from error
    return opener(url, namespace=namespace, clock=clock)
