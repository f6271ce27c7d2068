"""Settings of plugins: tables in the configuration, passed to what makes the plugin."""

from types import ModuleType, SimpleNamespace

import pytest

from stanchion import Stanchion, hookimpl
from stanchion.app.config import Config
from stanchion.errors import ConfigError, InvalidArgument
from stanchion.plugins import loading
from stanchion.plugins.loading import NamedPlugin


class Plugin:
    """What the plugins below have in common."""

    @hookimpl
    def tick(self): ...


class Mail(Plugin):
    """A plugin with settings, one of which it needs."""

    def __init__(self, server: str, *, port: int = 25, headers: dict[str, str] | None = None):
        if type(port) is not int:
            raise TypeError(f"port is an integer, not {port!r}")
        self.settings = server, port, headers


class Open(Plugin):
    """A plugin that takes whatever there is."""

    def __init__(self, **settings):
        self.settings = settings


class Plain(Plugin):
    """A plugin without settings."""


def make_mail(server="localhost"):
    """A function that makes a plugin."""
    return Mail(server)


module = ModuleType("a_module")
module.tick = hookimpl(lambda: None)


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    """An empty working directory, and these plugins installed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STANCHION_PLUGINS", raising=False)
    plugins = {"mail": Mail, "open": Open, "plain": Plain, "made": make_mail, "module": module}
    installed = {name: SimpleNamespace(load=lambda plugin=plugin: plugin) for name, plugin in plugins.items()}
    monkeypatch.setattr(loading, "installed", lambda group: installed)
    return tmp_path


def stanchion_toml(directory, text):
    (directory / "stanchion.toml").write_text(text)


def names(app):
    """The plugins of an application, in the order in which they are called."""
    return [name for name, _ in app.plugins.callers("tick")]


def an_app(**settings):
    return Stanchion("memory://", **settings)


def test_a_table_lists_a_plugin_and_has_its_settings(directory):
    """Its keys are passed by keyword, as they are in TOML."""
    stanchion_toml(directory, '[plugins.mail]\nserver = "smtp"\nport = 587\nheaders = { from = "ada" }\n')

    assert an_app().plugins.get("mail").settings == ("smtp", 587, {"from": "ada"})


def test_tables_of_a_project_are_read_too(directory):
    """Below its own name."""
    (directory / "pyproject.toml").write_text('[tool.stanchion.plugins.mail]\nserver = "smtp"\n')

    assert an_app().plugins.get("mail").settings == ("smtp", 25, None)


def test_plugins_are_called_in_the_order_of_their_tables(directory):
    """Which is the order of the file; an empty table lists a plugin as well."""
    stanchion_toml(directory, '[plugins.plain]\n[plugins.mail]\nserver = "smtp"\n[plugins.module]\n')

    assert names(an_app()) == ["plain", "mail", "module"]


@pytest.mark.parametrize("text", ['plugins = ["plain", "module"]', 'plugins = "plain, module"'])
def test_plugins_without_settings_are_a_list(directory, text):
    """As they were before there were settings."""
    stanchion_toml(directory, text)

    assert names(an_app()) == ["plain", "module"]


def test_the_environment_says_which_plugins_the_tables_say_how(directory, monkeypatch):
    """What is not named there is not loaded, and the order is the variable's."""
    stanchion_toml(directory, '[plugins.mail]\nserver = "smtp"\n[plugins.open]\n')
    monkeypatch.setenv("STANCHION_PLUGINS", "plain,mail")
    app = an_app()

    assert names(app) == ["plain", "mail"]
    assert app.plugins.get("mail").settings == ("smtp", 25, None)


def test_so_does_the_program(directory):
    """By names; an object is used as it is."""
    stanchion_toml(directory, '[plugins.mail]\nserver = "smtp"\n')
    app = an_app(plugins=[Mail("other"), "mail"])

    assert names(app) == ["Mail", "mail"]
    assert app.plugins.get("mail").settings == ("smtp", 25, None)
    assert names(an_app(plugins=[])) == []


def test_the_program_may_give_settings_itself(directory):
    """Instead of all that the table says."""
    stanchion_toml(directory, '[plugins.mail]\nserver = "smtp"\nport = 587\n')
    app = an_app(plugins={"plain": {}, "mail": {"server": "other"}})

    assert names(app) == ["plain", "mail"]
    assert app.plugins.get("mail").settings == ("other", 25, None)


def test_settings_stay_when_plugins_are_overridden(directory):
    """Of those that are only named."""
    stanchion_toml(directory, '[plugins.mail]\nserver = "smtp"\n[plugins.plain]\n')
    app = an_app()
    with app.override(plugins=["mail"]):
        assert names(app) == ["mail"]
        assert app.plugins.get("mail").settings == ("smtp", 25, None)


def test_a_function_makes_a_plugin_as_a_class_does(directory):
    """With settings or without."""
    stanchion_toml(directory, '[plugins.made]\nserver = "smtp"\n')

    assert an_app().plugins.get("made").settings == ("smtp", 25, None)
    assert an_app(plugins={"made": {}}).plugins.get("made").settings == ("localhost", 25, None)


def test_a_plugin_may_take_any_setting(directory):
    """Then none is unknown."""
    stanchion_toml(directory, "[plugins.open]\nanything = 5\n")

    assert an_app().plugins.get("open").settings == {"anything": 5}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            '[plugins.mail]\nserver = "smtp"\nprot = 5',
            r"plugin 'mail' has no setting 'prot'; known settings: server, port, headers; did you mean 'port'\?$",
        ),
        (
            "[plugins.mail]\n",
            "plugin 'mail' needs a setting 'server'; known settings: server, port, headers$",
        ),
        (
            '[plugins.mail]\nserver = "smtp"\nport = "25"',
            "plugin 'mail' cannot be used: port is an integer, not '25'$",
        ),
        ("[plugins.plain]\ncolour = 5", "plugin 'plain' has no setting 'colour'; known settings: none$"),
        ("[plugins.module]\ncolour = 5", "plugin 'module' takes no settings; remove 'colour'$"),
        (
            "[plugins.mial]\n",
            r"unknown plugin 'mial'; installed: mail, open, plain, made, module; did you mean 'mail'\?$",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(directory, text, why):
    """By the names of plugin, key and file, and with what is known."""
    stanchion_toml(directory, text)
    table = text.partition("\n")[0].strip("[]")

    with pytest.raises(ConfigError, match=rf"^\[{table}\] in {directory}/stanchion.toml: {why}"):
        an_app()


def test_a_project_s_table_is_named_in_full(directory):
    """So that it can be found."""
    (directory / "pyproject.toml").write_text("[tool.stanchion.plugins.plain]\ncolour = 5\n")

    with pytest.raises(
        ConfigError,
        match=rf"^\[tool.stanchion.plugins.plain\] in {directory}/pyproject.toml: plugin 'plain' has no setting",
    ):
        an_app()


def test_the_program_s_own_settings_are_checked_too():
    """There is no file to name."""
    with pytest.raises(
        ConfigError, match="^plugin 'mail' has no setting 'prot'; known settings: .*; did you mean 'port'"
    ):
        an_app(plugins={"mail": {"server": "smtp", "prot": 5}})


def test_a_table_that_is_none_is_refused(directory):
    """Beside tables there are no values."""
    stanchion_toml(directory, "[plugins]\nmail = true\n")

    with pytest.raises(
        InvalidArgument,
        match=f"^{directory}/stanchion.toml: plugins.mail must be a table of settings, not True$",
    ):
        an_app()


def test_so_are_settings_of_the_program_s_own_that_are_none():
    """There is no file to name."""
    with pytest.raises(InvalidArgument, match="^plugins.mail must be a table of settings, not True$"):
        an_app(plugins={"mail": True})


def test_settings_are_not_shown():
    """There may be passwords among them."""
    config = Config(plugins={"mail": {"password": "secret"}})

    assert config.plugins == (NamedPlugin(name="mail", settings={"password": "secret"}),)
    assert "secret" not in repr(config)
