"""Loading: from what an application lists to the objects whose hooks are called."""

import inspect
from collections.abc import Mapping
from typing import Any, Final

from attrs import field, frozen

from stanchion.contract.entry_points import installed
from stanchion.errors import ConfigError
from stanchion.errors.texts import did_you_mean

GROUP: Final = "stanchion.plugins"
"""The entry-point group that plugins are found in by name."""

_NAMED: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@frozen(kw_only=True)
class NamedPlugin:
    """A plugin that is listed by name, and its settings."""

    name: str
    """The name of its entry point."""

    settings: Mapping[str, Any] = field(factory=dict, repr=False)
    """What its factory is called with; not shown, since there may be secrets among them."""

    where: str = ""
    """Where the settings are, for errors: `[plugins.stats] in /srv/stanchion.toml`."""

    def error(self, why: str) -> ConfigError:
        """Return the error that says why this plugin cannot be used.

        Args:
            why: What is wrong, such as `needs a setting 'file'`.

        Returns:
            The error; it says where the settings are.
        """
        return ConfigError(f"{self.where}{': ' if self.where else ''}plugin {self.name!r} {why}")


def made(listed: object) -> object:
    """Return the plugin that an entry of the list means.

    Args:
        listed: A `NamedPlugin`; an object or a module, which is the plugin; or a class or a function, which is
            called without arguments.

    Returns:
        The plugin.

    Raises:
        ConfigError: There is no plugin of this name, it cannot be loaded or made, or its settings do not fit.
    """
    if isinstance(listed, NamedPlugin):
        return _made_with_settings(_loaded(listed), listed)
    try:
        return listed() if _is_factory(listed) else listed  # type: ignore[operator]  # factories are callable
    except (TypeError, ValueError) as error:
        raise ConfigError(f"cannot use plugin {name_of(listed)}: {error}") from error


def name_of(plugin: object) -> str:
    """Return what messages call a plugin that has no name.

    Args:
        plugin: The plugin.

    Returns:
        The name of its class, module or function.
    """
    return getattr(plugin, "__name__", None) or type(plugin).__name__


def _is_factory(plugin: object) -> bool:
    return isinstance(plugin, type) or inspect.isroutine(plugin)


def _loaded(listed: NamedPlugin) -> object:
    plugins = installed(GROUP)
    if listed.name not in plugins:
        raise ConfigError(
            f"{listed.where}{': ' if listed.where else ''}unknown plugin {listed.name!r}; "
            f"installed: {', '.join(plugins) or 'none'}{did_you_mean(listed.name, plugins)}"
        )
    try:
        return plugins[listed.name].load()
    except (ImportError, AttributeError) as error:
        raise listed.error(f"cannot be loaded: {error}") from error


def _made_with_settings(plugin: object, listed: NamedPlugin) -> object:
    if not callable(plugin) or not _is_factory(plugin):
        if listed.settings:
            raise listed.error(f"takes no settings; remove {', '.join(map(repr, listed.settings))}")
        return plugin
    _check_settings(plugin, listed)
    try:
        return plugin(**listed.settings)
    except (TypeError, ValueError) as error:
        raise listed.error(f"cannot be used: {error}") from error


def _check_settings(factory: Any, listed: NamedPlugin) -> None:
    """Refuse keys that the factory does not take, and the lack of those that it needs."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (
        TypeError,
        ValueError,
    ):  # a class written in C may have no signature; calling it says what is wrong
        return
    known = [one.name for one in parameters if one.kind in _NAMED]
    takes_all = any(one.kind is one.VAR_KEYWORD for one in parameters)
    for key in listed.settings:
        if key not in known and not takes_all:
            raise listed.error(
                f"has no setting {key!r}; known settings: {', '.join(known) or 'none'}{did_you_mean(key, known)}"
            )
    for one in parameters:
        if one.kind in _NAMED and one.default is one.empty and one.name not in listed.settings:
            raise listed.error(f"needs a setting {one.name!r}; known settings: {', '.join(known)}")
