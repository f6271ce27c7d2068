"""URLs of Redis servers, and the options in them."""

import pytest

from stanchion.errors import ConfigError
from stanchion_redis import RedisBackend
from stanchion_redis.urls import OPTIONS, TLS_OPTIONS, split_url

TAKEN = {
    "redis://localhost": {"host": "localhost"},
    "valkey://localhost:1/3": {"host": "localhost", "port": 1, "db": 3},
    "redis://localhost?db=2&client_name=shop": {"host": "localhost", "db": 2, "client_name": "shop"},
    "redis://u:p%40%2F@h/": {"host": "h", "username": "u", "password": "p@/"},
    "redis://h?socket_keepalive=no": {"host": "h", "socket_keepalive": False},
}
REFUSED = (
    "decode_responses=true",
    "encoding=latin-1",
    "health_check_interval=5",
    "max_connections=2",
    "parser_class=x",
    "protocol=3",
    "retry_on_timeout=true",
    "single_connection_client=true",
    "socket_connect_timeout=1",
    "socket_timeout=60",
    "timeot=5",
    "timeout=1",
    "DB=1",
)


@pytest.mark.parametrize("url", TAKEN)
def test_what_a_url_says_is_what_the_driver_gets(url: str) -> None:
    """The rest is Stanchion's."""
    assert split_url(url) == (TAKEN[url], False)


@pytest.mark.parametrize("option", REFUSED)
def test_an_option_that_cannot_be_used_is_refused_by_name(option: str) -> None:
    """Before any connection is made; the error names those there are."""
    name = option.partition("=")[0]

    with pytest.raises(ConfigError, match=f"cannot use the option '{name}'.*client_name"):
        RedisBackend(f"redis://localhost?{option}", namespace="test")


def test_options_of_tls_need_its_scheme() -> None:
    """A certificate that nobody looks at is a mistake."""
    with pytest.raises(ConfigError, match="ssl_ca_certs needs a URL that begins with rediss://"):
        split_url("redis://localhost?ssl_ca_certs=ca.pem")


def test_a_value_that_the_driver_does_not_take_is_refused_at_once() -> None:
    """Not with the first call."""
    with pytest.raises(ConfigError, match="perhaps"):
        RedisBackend("rediss://localhost?ssl_cert_reqs=perhaps", namespace="test")


@pytest.mark.parametrize("url", ["redis://localhost/jobs", "redis://localhost/0/1"])
def test_a_path_that_is_no_database_is_refused(url: str) -> None:
    """The driver would take database 0 instead."""
    with pytest.raises(ConfigError, match="number of a database"):
        split_url(url)


@pytest.mark.parametrize("name", sorted(OPTIONS | TLS_OPTIONS))
def test_every_option_is_one_of_the_drivers(name: str) -> None:
    """For each, some value makes connections of both kinds."""
    values = {"db": "1", "allow_eviction": "true", "ssl_cert_reqs": "none", "ssl_min_version": "771"}
    values |= dict.fromkeys(("ssl_include_verify_flags", "ssl_exclude_verify_flags"), "VERIFY_X509_STRICT")
    backend = RedisBackend(f"rediss://localhost?{name}={values.get(name, 'no')}", namespace="test")

    assert backend._clients.asynchronous(backend._deadline)()
    backend.close()
