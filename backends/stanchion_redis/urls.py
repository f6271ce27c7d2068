"""URLs of servers, and the options in them."""

from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from redis.connection import parse_url
from redis.exceptions import RedisError

from stanchion.contract.opening import redacted
from stanchion.errors import ConfigError

OPTIONS: Final = frozenset(
    {"allow_eviction", "client_name", "db", "password", "socket_keepalive", "username"}
)
"""The options of a URL. What else the driver takes would change how calls are made, and when they end."""

TLS_OPTIONS: Final = frozenset(
    {
        "ssl_ca_certs",
        "ssl_ca_data",
        "ssl_ca_path",
        "ssl_cert_reqs",
        "ssl_certfile",
        "ssl_check_hostname",
        "ssl_ciphers",
        "ssl_exclude_verify_flags",
        "ssl_include_verify_flags",
        "ssl_keyfile",
        "ssl_min_version",
        "ssl_password",
    }
)
"""The options of a `rediss://` URL alone, as redis-py takes them."""


def split_url(url: str) -> tuple[dict[str, Any], bool]:
    """Read a URL.

    Returns:
        The arguments of the driver's connections, and whether the URL says `allow_eviction=true`.

    Raises:
        ConfigError: It is not a URL of a server, or has an option that cannot be used.
    """
    try:
        parts = urlsplit(url.replace("valkey://", "redis://", 1))
        _ = parts.port
    except ValueError:  # it quotes what it took for a port, which may be half of a password
        raise ConfigError(
            f"{redacted(url)} is no URL: what stands for its port is no number; "
            "in a user's name or password, / @ : ? # must be percent-encoded"
        ) from None
    if parts.path.strip("/") and not parts.path.strip("/").isdecimal():
        raise ConfigError(f"{redacted(url)}: use the number of a database after the host, as in /0")
    query = _checked(url, parts.scheme == "rediss", parse_qsl(parts.query, keep_blank_values=True))
    allow = query.pop("allow_eviction", "false")
    if allow not in ("true", "false"):
        raise ConfigError(f"allow_eviction is true or false, not {allow!r}")
    try:
        return parse_url(urlunsplit(parts._replace(query=urlencode(query)))), allow == "true"
    except (ValueError, RedisError) as error:
        raise ConfigError(f"{redacted(url)} is no URL of a Redis server: {error}") from error


def _checked(url: str, tls: bool, options: list[tuple[str, str]]) -> dict[str, str]:
    for name, _ in options:
        if name in TLS_OPTIONS and not tls:
            raise ConfigError(f"{redacted(url)}: the option {name} needs a URL that begins with rediss://")
        if name not in OPTIONS | TLS_OPTIONS:
            known = ", ".join(sorted(OPTIONS | TLS_OPTIONS if tls else OPTIONS))
            raise ConfigError(f"{redacted(url)}: cannot use the option {name!r}; expected one of {known}")
    return dict(options)
