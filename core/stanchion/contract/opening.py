"""Opening: from a URL to the backend that its scheme names."""

import re
from collections.abc import Callable, Iterable
from typing import Final

from stanchion.contract.backend import Backend, Clock
from stanchion.contract.entry_points import installed
from stanchion.errors import ConfigError
from stanchion.errors.texts import did_you_mean

GROUP: Final = "stanchion.backends"
"""The entry-point group that backends are found in, by URL scheme."""

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

    Everything else is `***`, whatever it looks like: an unquoted password may be anywhere after the scheme.

    Args:
        url: A backend's URL.

    Returns:
        The URL, with everything else replaced by `***`.
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


def open_backend(url: str, namespace: str, clock: Clock | None = None) -> Backend:
    """Open the backend that a URL's scheme names.

    Args:
        url: The backend's URL.

        namespace: The application's namespace.

        clock: For tests: the source of time. Defaults to the backend's own.

    Returns:
        The backend, imported only now. It does no I/O yet.

    Raises:
        ConfigError: No backend has this scheme, or what it needs is not installed.
    """
    scheme = url.partition("://")[0]
    backends = installed(GROUP)
    if scheme not in backends or "://" not in url:
        known = ", ".join(f"{name}://" for name in backends)
        raise ConfigError(
            f"unknown backend {redacted(url)!r}; installed: {known or 'none'}{_nearest(scheme, backends)}"
        )
    try:
        opener: Callable[..., Backend] = backends[scheme].load()
    except ImportError as error:
        extra = backends[scheme].module.removeprefix("stanchion_")
        raise ConfigError(
            f"the {extra.title()} backend is not installed: python -m pip install 'stanchion[{extra}]'"
        ) from error
    return opener(url, namespace=namespace, clock=clock)


def _nearest(scheme: str, known: Iterable[str]) -> str:
    """Return a question that offers the nearest scheme; only a word is compared, since a password may be in it."""
    return did_you_mean(scheme, known) if scheme.isalpha() else ""
