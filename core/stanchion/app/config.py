"""Configuration. Later wins: defaults, `stanchion.toml` or `[tool.stanchion]`, `STANCHION_*`, arguments."""

import os
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Self

from attrs import evolve, field, fields, frozen

from stanchion.contract.opening import redacted
from stanchion.errors import ConfigError, InvalidArgument
from stanchion.errors.texts import did_you_mean
from stanchion.model.policies import duration
from stanchion.model.queues import check_name
from stanchion.plugins.loading import NamedPlugin

if TYPE_CHECKING:
    from pathlib import Path

LEASE: Final = timedelta(seconds=30)
"""How long a claim holds a job without a beat: two beats may be missed, and recovery stays under a minute."""

SWEEP: Final = timedelta(seconds=1)
"""How often each worker looks for jobs that are due."""

GRACE: Final = timedelta(seconds=7)
"""How long a stopping worker waits for its handlers; below the 10 s after which container runtimes kill."""


def _url(value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidArgument(f"backend must be a URL such as redis://localhost, not {value!r}")
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
        raise InvalidArgument(f"concurrency must be an integer from 1 to 10000, not {value!r}")
    return number


def _plugins(value: Any) -> tuple[object, ...]:
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(",") if name.strip())
    if isinstance(value, Mapping):
        return _tables(value)
    if not isinstance(value, Iterable):
        raise InvalidArgument(
            f"plugins must be a list of names or objects, or a table of tables, not {value!r}"
        )
    return tuple(value)


def _tables(tables: Mapping[str, Any], header: str = "plugins", file: str = "") -> tuple[NamedPlugin, ...]:
    """Return the plugins that a table lists: by the name of each a table of its settings."""
    for name, settings in tables.items():
        if not isinstance(settings, Mapping):
            raise InvalidArgument(
                f"{file}{': ' if file else ''}{header}.{name} must be a table of settings, not {settings!r}"
            )
    return tuple(
        NamedPlugin(name=name, settings=settings, where=f"[{header}.{name}] in {file}" if file else "")
        for name, settings in tables.items()
    )


def _with_tables(listed: Iterable[object], tables: Iterable[object]) -> tuple[object, ...]:
    """Return the plugins that are listed; those that are only named have the settings of their tables."""
    named = {one.name: one for one in tables if isinstance(one, NamedPlugin)}
    return tuple(named.get(one, one) if isinstance(one, str) else one for one in listed)


@frozen(kw_only=True)
class Config:
    """The settings of an application."""

    backend: str = field(default="sqlite:///jobs.db", converter=_url, repr=redacted)
    """The URL of the backend; its scheme names the backend."""

    namespace: str = field(default="stanchion", converter=_namespace)
    """Keeps its queues apart from those of other namespaces in the same store."""

    plugins: tuple[object, ...] = field(default=(), converter=_plugins)
    """Plugins: names of entry points, with settings or without, or objects; nothing is loaded that is not listed."""

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
        """Return the settings that all layers together give.

        Args:
            arguments: What the program passed; values that are `None` were not given.

            directory: Where to look for the files. Defaults to the working directory.

        Returns:
            The settings.

        Raises:
            ConfigError: A setting does not exist, or a file cannot be read.
            InvalidArgument: A setting's value cannot be used; names the file or the variable that it came from.
        """
        file = _of_file(directory)
        layers = {**file, **_of_environment(), **_from(_given(arguments), "")}
        settings = {name: _converted(name, *setting) for name, setting in layers.items()}
        if "plugins" in settings and "plugins" in file:
            settings["plugins"] = _with_tables(settings["plugins"], _converted("plugins", *file["plugins"]))
        return cls(**settings)

    def but(self, arguments: Mapping[str, Any]) -> Self:
        """Return these settings with some changed.

        Plugins that are only named keep the settings that they have here.

        Args:
            arguments: New values; values that are `None` were not given.

        Returns:
            The changed settings.

        Raises:
            ConfigError: There is no such setting.
            InvalidArgument: A setting's value cannot be used.
        """
        changed = evolve(self, **_known(_given(arguments)))
        return evolve(changed, plugins=_with_tables(changed.plugins, self.plugins))


def _given(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in arguments.items() if value is not None}


_Setting = tuple[Any, str]
"""The value of a setting, and where it came from: a file, a variable, or nothing for what the program passed."""


def _known(settings: Mapping[str, Any], where: str = "") -> Mapping[str, Any]:
    known = [attribute.name for attribute in fields(Config)]
    unknown = sorted(settings.keys() - set(known))
    if unknown:
        raise ConfigError(
            f"{where}{': ' if where else ''}unknown setting {unknown[0]!r}; expected one of "
            f"{', '.join(known)}{did_you_mean(unknown[0], known)}"
        )
    return settings


def _converted(name: str, value: Any, where: str) -> Any:
    """Return the value of a setting as `Config` keeps it; an error says where a wrong one came from."""
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
    """Return the settings in the first of the two files that exists."""
    from pathlib import Path  # only a program that makes an application pays for it

    # Relative to the working directory by default: it may be gone, and then there is no file in it.
    own, project = (Path(directory or "", name) for name in ("stanchion.toml", "pyproject.toml"))
    if (settings := _read(own)) is not None:
        return _from(_placed(settings, "plugins", own), str(own.absolute()))
    if (whole := _read(project)) is None:
        return {}
    settings, where = _tool(whole), f"[tool.stanchion] in {project.absolute()}"
    if not isinstance(settings, dict):
        raise ConfigError(f"{where} must be a table of settings, not {settings!r}")
    return _from(_placed(settings, "tool.stanchion.plugins", project), where)


def _placed(settings: Mapping[str, Any], header: str, file: "Path") -> Mapping[str, Any]:
    """Return the settings of a file, whose tables of plugins know where they are."""
    plugins = settings.get("plugins")
    if not isinstance(plugins, Mapping):
        return settings
    return {**settings, "plugins": _tables(plugins, header, str(file.absolute()))}


def _from(settings: Mapping[str, Any], where: str) -> Mapping[str, _Setting]:
    return {name: (value, where) for name, value in settings.items()}


def _read(file: "Path") -> dict[str, Any] | None:
    """Return the content of a file of settings; `None` if it does not exist, or cannot be seen."""
    import tomllib

    try:
        return tomllib.loads(file.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {file.absolute()}: {error}") from error
    except OSError as error:
        if _is_file(file):
            raise ConfigError(f"cannot read {file.absolute()}: {error.strerror}") from error
        return None


def _is_file(path: "Path") -> bool:
    try:
        return path.is_file()
    except OSError:  # the directory may not be searched
        return False


def _tool(project: Mapping[str, Any]) -> Any:
    tools = project.get("tool", {})
    return tools.get("stanchion", {}) if isinstance(tools, dict) else {}
