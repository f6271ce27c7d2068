"""Configuration. Later wins: defaults, `stanchion.toml` or `[tool.stanchion]`, `STANCHION_*`, arguments."""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Self

from attrs import evolve, field, fields, frozen

from stanchion.backend import Backend, Clock
from stanchion.errors import ConfigError, InvalidArgument
from stanchion.extensions import installed
from stanchion.queues import check_name
from stanchion.retries import duration

if TYPE_CHECKING:
    from pathlib import Path

GROUP: Final = "stanchion.backends"
"""The entry-point group that backends are found in, by URL scheme."""

LEASE: Final = timedelta(seconds=30)
"""How long a claim holds a job without a beat: two beats may be missed, and recovery stays under a minute."""

SWEEP: Final = timedelta(seconds=1)
"""How often each worker looks for jobs whose clock has run out."""

GRACE: Final = timedelta(seconds=7)
"""How long a stopping worker waits for its handlers; below the 10 s after which container runtimes kill."""

_USER: Final = re.compile(r"//.*@", re.DOTALL)  # up to the last one: a password may hold an unquoted @
_PLACE: Final = re.compile(r"\w[\w+.-]*://(?:\*\*\*@)?(?:[\w.-]+|\[[\da-fA-F:.]+\])?(?::\d+)?(?:/[^?#;&]*)?")
_PATH: Final = re.compile(r"[\w./\\-]*")  # a file's name, where its scheme was forgotten
_HARMLESS: Final = frozenset(
    {
        "allow_eviction",
        "client_name",
        "db",
        "socket_keepalive",
        "ssl_cert_reqs",
        "ssl_check_hostname",
        "synchronous",
    }
)
_NAMED: Final = frozenset({"password", "ssl_keyfile", "ssl_password", "username"})


def redacted(url: str) -> str:
    """Return a URL fit to be shown: its place, and the values of options known to be harmless.

    Everything else is `***`, whatever it looks like: an unquoted password may stand anywhere behind the scheme.
    """
    url = _USER.sub("//***@", url)
    place = _PLACE.match(url) or _PATH.fullmatch(url)
    shown = place[0] if place else ""
    rest = url[len(shown) :]
    if not rest.startswith("?"):
        return f"{shown}***" if rest else shown
    return f"{shown}?{'&'.join(map(_redacted_option, rest[1:].split('&')))}"


def _redacted_option(option: str) -> str:
    name, _, value = option.partition("=")
    if name in _HARMLESS and re.fullmatch(r"[\w.-]*", value):
        return option
    return f"{name}=***" if name in _HARMLESS | _NAMED else "***"


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


def open_backend(url: str, namespace: str, clock: Clock | None = None) -> Backend:
    """Open the backend that a URL's scheme names. It is imported only now, and does no I/O yet.

    Raises:
        ConfigError: No backend has this scheme, or what it needs is not installed.
    """
    scheme = url.partition("://")[0]
    backends = installed(GROUP)
    if scheme not in backends or "://" not in url:
        known = ", ".join(f"{name}://" for name in backends)
        raise ConfigError(f"no backend for {redacted(url)!r}; installed are: {known or 'none'}")
    try:
        opener: Callable[..., Backend] = backends[scheme].load()
    except ImportError as error:
        extra = backends[scheme].module.removeprefix("stanchion_")
        raise ConfigError(f"{scheme}:// needs more: python -m pip install 'stanchion[{extra}]'") from error
    return opener(url, namespace=namespace, clock=clock)
