"""Configuration: layers, and what they refuse."""

import errno
from datetime import timedelta
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from stanchion import Stanchion
from stanchion.app.config import Config
from stanchion.contract import opening
from stanchion.contract.opening import GROUP, open_backend, redacted
from stanchion.errors import ConfigError, InvalidArgument
from stanchion_memory import MemoryBackend


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    """An empty working directory, and an environment without settings."""
    monkeypatch.chdir(tmp_path)
    for name in ("BACKEND", "NAMESPACE", "PLUGINS", "CONCURRENCY", "LEASE", "SWEEP", "GRACE"):
        monkeypatch.delenv(f"STANCHION_{name}", raising=False)
    return tmp_path


def test_there_is_a_default_for_everything():
    """Nothing needs to be configured."""
    settings = Config.load({})

    assert (settings.backend, settings.namespace, settings.plugins) == ("sqlite:///jobs.db", "stanchion", ())
    assert (settings.concurrency, settings.lease) == (10, timedelta(seconds=30))


def test_later_layers_win(directory, monkeypatch):
    """Defaults, then the file, then the environment, then what the program passes."""
    (directory / "stanchion.toml").write_text(
        'namespace = "file"\nconcurrency = 2\nlease = 12\ngrace = 3.5\n'
    )
    monkeypatch.setenv("STANCHION_CONCURRENCY", "3")
    monkeypatch.setenv("STANCHION_LEASE", "13.5")
    settings = Config.load({"lease": timedelta(seconds=14), "sweep": None})

    assert (settings.sweep, settings.namespace) == (timedelta(seconds=1), "file")
    assert (settings.grace, settings.concurrency) == (timedelta(seconds=3.5), 3)
    assert settings.lease == timedelta(seconds=14)


def test_a_project_s_own_table_is_read(directory):
    """Where there is no file of its own."""
    (directory / "pyproject.toml").write_text(
        '[tool.stanchion]\nnamespace = "project"\nplugins = ["stats"]\n'
    )

    assert Config.load({}).namespace == "project"
    assert Config.load({}).plugins == ("stats",)


def test_a_file_of_its_own_goes_before_the_project_s(directory):
    """Only one of them is read, so that one looks in one place."""
    (directory / "pyproject.toml").write_text('[tool.stanchion]\nnamespace = "project"\nconcurrency = 2\n')
    (directory / "stanchion.toml").write_text('namespace = "own"\n')

    assert (Config.load({}).namespace, Config.load({}).concurrency) == ("own", 10)


@pytest.mark.parametrize("text", ["", "[tool.other]\na = 1\n", "tool = 5\n"])
def test_a_project_may_say_nothing(directory, text):
    """Then the defaults hold."""
    (directory / "pyproject.toml").write_text(text)

    assert Config.load({}) == Config()


@pytest.mark.parametrize("data", [b"namespace = ", b"namespace = '\xff'"])
def test_a_file_that_cannot_be_read_is_refused(directory, data):
    """With the place it was looked for."""
    (directory / "stanchion.toml").write_bytes(data)

    with pytest.raises(ConfigError, match=f"^cannot read {directory}/stanchion.toml: "):
        Config.load({})


def test_a_table_that_is_none_is_refused(directory):
    """`stanchion = 5` is no table."""
    (directory / "pyproject.toml").write_text("[tool]\nstanchion = 5\n")

    with pytest.raises(ConfigError, match="must be a table of settings, not 5"):
        Config.load({})


def test_an_unknown_setting_names_the_known_ones(directory):
    """Wherever it was written."""
    (directory / "stanchion.toml").write_text("leese = 5\n")

    with pytest.raises(
        ConfigError,
        match=f"^{directory}/stanchion.toml: unknown setting 'leese'; expected one of backend, namespace",
    ):
        Config.load({})
    with pytest.raises(ConfigError, match="^unknown setting 'leese'; expected one of backend, namespace"):
        Config.load({"leese": 5}, directory / "elsewhere")


def test_a_bad_value_in_the_environment_names_the_variable(monkeypatch):
    """It may have been set far away from the program."""
    monkeypatch.setenv("STANCHION_LEASE", "30s")

    with pytest.raises(
        InvalidArgument, match="^STANCHION_LEASE: lease must be seconds or a timedelta, not '30s'$"
    ):
        Config.load({})
    assert Config.load({"lease": 5}).lease == timedelta(seconds=5)


@pytest.mark.parametrize(
    ("name", "text", "where"),
    [
        ("stanchion.toml", "lease = '30s'", "{}/stanchion.toml"),
        ("pyproject.toml", "[tool.stanchion]\nlease = '30s'", r"\[tool.stanchion\] in {}/pyproject.toml"),
    ],
)
def test_a_bad_value_in_a_file_names_the_file(directory, name, text, where):
    """There may be several."""
    (directory / name).write_text(text)

    with pytest.raises(InvalidArgument, match=f"^{where.format(directory)}: lease must be seconds"):
        Config.load({})


def test_a_program_needs_no_working_directory(directory):
    """It may have been removed under a service; then there is no file of settings in it."""
    directory.rmdir()

    assert Config.load({"namespace": "shop"}).namespace == "shop"
    assert Stanchion("memory://", plugins=()).config.backend == "memory://"


def test_a_file_beside_a_program_needs_a_working_directory(directory):
    """The error says how to do without."""
    directory.rmdir()

    with pytest.raises(
        ConfigError, match="^cannot find 'jobs.db': the working directory is gone; name the file by"
    ):
        Stanchion("sqlite:///jobs.db", plugins=())


def test_a_directory_that_may_not_be_searched_has_no_settings(directory, monkeypatch):
    """As after sudo; whether there is a file cannot be known."""
    (directory / "stanchion.toml").write_text("lease = 7")
    monkeypatch.setattr(Path, "read_text", not_permitted)
    monkeypatch.setattr(Path, "is_file", not_permitted)

    assert Config.load({}) == Config()


def test_a_file_that_may_not_be_read_is_refused(directory, monkeypatch):
    """Its settings were meant to be followed."""
    (directory / "stanchion.toml").write_text("lease = 7")
    monkeypatch.setattr(Path, "read_text", not_permitted)

    with pytest.raises(ConfigError, match=f"^cannot read {directory}/stanchion.toml: Permission denied$"):
        Config.load({})


def test_a_directory_by_a_file_s_name_has_no_settings(directory):
    """Only files have."""
    (directory / "stanchion.toml").mkdir()

    assert Config.load({}) == Config()


def not_permitted(*_, **__):
    raise PermissionError(errno.EACCES, "Permission denied")


def test_an_empty_variable_sets_nothing(monkeypatch):
    """As in a shell that cannot unset one."""
    monkeypatch.setenv("STANCHION_CONCURRENCY", "")

    assert Config.load({}).concurrency == 10


def test_plugins_can_be_named_in_the_environment(monkeypatch):
    """With commas between them."""
    monkeypatch.setenv("STANCHION_PLUGINS", "stats, prometheus,")

    assert Config.load({}).plugins == ("stats", "prometheus")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("backend", 5),
        ("namespace", "a:b"),
        ("namespace", ""),
        ("plugins", 5),
        ("concurrency", 0),
        ("concurrency", 10_001),
        ("concurrency", True),
        ("concurrency", "two"),
        ("concurrency", "²"),
        ("concurrency", 1.5),
        ("lease", "30s"),
        ("lease", 0),
        ("lease", float("nan")),
        ("lease", "nan"),
        ("sweep", -1),
        ("grace", True),
    ],
)
def test_a_bad_value_is_refused_by_its_name(name, value):
    """And shown, where that helps."""
    with pytest.raises(InvalidArgument, match=name):
        Config.load({name: value})


# URLs


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost/0", "redis://localhost/0"),
        ("redis://ada:secret@localhost/0", "redis://***@localhost/0"),
        ("redis://:sec@ret@localhost", "redis://***@localhost"),
        ("redis://:sec/ret@localhost", "redis://***@localhost"),
        (
            "redis://localhost?username=ada&db=1&password=secret",
            "redis://localhost?username=***&db=1&password=***",
        ),
        ("memory://", "memory://"),
        (
            "rediss://h:1/0?ssl_keyfile=secret&ssl_password=secret",
            "rediss://h:1/0?ssl_keyfile=***&ssl_password=***",
        ),
        ("redis://h?PASSWORD=secret", "redis://h?***"),
        ("redis://h?credential=secret&db=1", "redis://h?***&db=1"),
        ("redis://h?db=secret/1", "redis://h?db=***"),
        ("redis://h?password=se&secret", "redis://h?password=***&***"),
        ("redis://h?db=1;password=secret", "redis://h?db=***"),
        ("redis://:pw#secret@h:1", "redis://***@h:1"),
        ("redis://h:1;password=secret", "redis://h:1***"),
        ("redis://h:secret", "redis://h***"),
        ("redis://h/0;secret", "redis://h/0***"),
        ("redis://h/0#secret", "redis://h/0***"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("sqlite:////var/lib/a b.db?synchronous=full", "sqlite:////var/lib/a b.db?synchronous=full"),
        ("jobs.db", "jobs.db"),
        ("postgres:secret", "***"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url, shown):
    """In messages, logs and reprs: only what is known to be harmless is shown."""
    assert redacted(url) == shown
    assert "secret" not in repr(Config(backend=url))


def test_a_backend_is_opened_by_its_scheme():
    """The entry point of that name."""
    backend = open_backend("memory://", "stanchion")

    assert isinstance(backend, MemoryBackend)


@pytest.mark.parametrize("url", ["", "memory", "redi://:secret@localhost", "://", "MEMORY://"])
def test_an_unknown_scheme_names_the_known_ones(url):
    """And does not show the password."""
    with pytest.raises(
        ConfigError, match=r"^unknown backend '.*'; installed: memory://, redis://"
    ) as refused:
        open_backend(url, "stanchion")

    assert "secret" not in str(refused.value)


def test_a_missing_extra_answers_with_the_command_that_installs_it(monkeypatch):
    """A backend whose driver is not there fails when it is imported."""
    broken = EntryPoint("lamp", "stanchion_lamp:open", GROUP)
    monkeypatch.setattr(opening, "installed", lambda group: {"lamp": broken})

    with pytest.raises(
        ConfigError, match=r"^the Lamp backend is not installed: python -m pip install 'stanchion\[lamp\]'$"
    ):
        open_backend("lamp://", "stanchion")


def test_the_nearest_scheme_is_offered():
    """Only of a word: anything else may hold a password."""
    with pytest.raises(ConfigError, match=r"^unknown backend 'redi://.*; did you mean 'redis'\?$"):
        open_backend("redi://localhost", "stanchion")
    with pytest.raises(ConfigError, match="://$"):
        open_backend("redis:secret@localhost", "stanchion")


def test_the_nearest_setting_is_offered():
    """With the known ones."""
    with pytest.raises(ConfigError, match=r"^unknown setting 'leese'; .*; did you mean 'lease'\?$"):
        Config.load({"leese": 5})
