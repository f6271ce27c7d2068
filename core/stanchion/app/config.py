"""Configuration. Later wins: defaults, `stanchion.toml` or `[tool.stanchion]`, `STANCHION_*`, arguments."""

import os
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Self

from attrs import evolve, field, fields, frozen

from stanchion.contract.opening import redacted
from stanchion.errors import ConfigError, InvalidArgument
from stanchion.model.policies import duration
from stanchion.model.queues import check_name

if TYPE_CHECKING:
    from pathlib import Path

LEASE: Final = timedelta(seconds=30)
"""How long a claim holds a job without a beat: two beats may be missed, and recovery stays under a minute."""

SWEEP: Final = timedelta(seconds=1)
"""How often each worker looks for jobs whose clock has run out."""

GRACE: Final = timedelta(seconds=7)
"""How long a stopping worker waits for its handlers; below the 10 s after which container runtimes kill."""


def _url(value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidArgument(f"backend is a URL such as redis://localhost, not {value!r}")
    return value


def _seconds(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _namespace(value: Any) -> str:
    return check_name(value, "namespace")


def _span(default: timedelta, name: str) -> Any:
    def convert(value: Any) -> timedelta:
        return duration(_seconds(value), name, least=timedelta(milliseconds=100))

    return field(default=default, converter=convert)


def _slots(value: Any) -> int:
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    if type(number) is not int or not 1 <= number <= 10_000:
        raise InvalidArgument(f"concurrency is an integer from 1 to 10000, not {value!r}")
    return number


def _names(value: Any) -> tuple[object, ...]:
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(",") if name.strip())
    if not isinstance(value, Iterable):
        raise InvalidArgument(f"plugins are a list of names or objects, not {value!r}")
    return tuple(value)


@frozen(kw_only=True)
class Config:
    """The settings of an application."""

    backend: str = field(default="sqlite:///jobs.db", converter=_url, repr=redacted)
    """The URL of the backend; its scheme names the backend."""

    namespace: str = field(default="stanchion", converter=_namespace)
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
    def load(cls, arguments: Mapping[str, Any], directory: "Path | None" = None) -> Self:
        """Put the layers together.

        Args:
            arguments: What the program passed; values that are none were not given.

            directory: Where the files are looked for; the working directory unless given.

        Raises:
            ConfigError: A setting does not exist, or a file cannot be read.
            InvalidArgument: A setting's value cannot be used; names the file or the variable that it came from.
        """
        layers = {**_of_file(directory), **_of_environment(), **_from(_given(arguments), "")}
        return cls(**{name: _converted(name, *setting) for name, setting in layers.items()})

    def but(self, arguments: Mapping[str, Any]) -> Self:
        """These settings with some changed; values that are none were not given.

        Raises:
            ConfigError: There is no such setting.
            InvalidArgument: A setting's value cannot be used.
        """
        return evolve(self, **_known(_given(arguments)))


def _given(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in arguments.items() if value is not None}


_Setting = tuple[Any, str]
"""The value of a setting, and where it came from: a file, a variable, or nothing for what the program passed."""


def _known(settings: Mapping[str, Any], where: str = "") -> Mapping[str, Any]:
    known = [attribute.name for attribute in fields(Config)]
    unknown = sorted(settings.keys() - set(known))
    if unknown:
        raise ConfigError(
            f"{where}{': ' if where else ''}no setting is named {unknown[0]!r}; there are: {', '.join(known)}"
        )
    return settings


def _converted(name: str, value: Any, where: str) -> Any:
    """The value of a setting as `Config` keeps it; an error says where a wrong one came from."""
    _known({name: value}, where)
    converter: Callable[[Any], Any] = getattr(fields(Config), name).converter
    try:
        return converter(value)
    except InvalidArgument as error:
        raise InvalidArgument(f"{where}: {error}") if where else error from None


def _of_environment() -> Mapping[str, _Setting]:
    names = {attribute.name: f"STANCHION_{attribute.name.upper()}" for attribute in fields(Config)}
    return {name: (os.environ[where], where) for name, where in names.items() if os.environ.get(where)}


def _of_file(directory: "Path | None") -> Mapping[str, _Setting]:
    """The settings in the first of the two files there is."""
    from pathlib import Path  # only a program that makes an application pays for it

    # Relative to the working directory unless one is given: it may be gone, and then there is no file in it.
    own, project = (Path(directory or "", name) for name in ("stanchion.toml", "pyproject.toml"))
    if (settings := _read(own)) is not None:
        return _from(settings, str(own.absolute()))
    if (whole := _read(project)) is None:
        return {}
    settings, where = _tool(whole), f"[tool.stanchion] in {project.absolute()}"
    if not isinstance(settings, dict):
        raise ConfigError(f"{where} is a table of settings, not {settings!r}")
    return _from(settings, where)


def _from(settings: Mapping[str, Any], where: str) -> Mapping[str, _Setting]:
    return {name: (value, where) for name, value in settings.items()}


def _read(file: "Path") -> dict[str, Any] | None:
    """What a file of settings says; `None` if there is no such file, or none that could be seen."""
    import tomllib

    try:
        return tomllib.loads(file.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file.absolute()} cannot be read: {error}") from error
    except OSError as error:
        if _is_file(file):
            raise ConfigError(f"{file.absolute()} cannot be read: {error.strerror}") from error
        return None


def _is_file(path: "Path") -> bool:
    try:
        return path.is_file()
    except OSError:  # the directory may not be searched
        return False


def _tool(project: Mapping[str, Any]) -> Any:
    tools = project.get("tool", {})
    return tools.get("stanchion", {}) if isinstance(tools, dict) else {}
