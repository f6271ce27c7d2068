"""Finding an application by the name of where it stands: `module:attribute`."""

from importlib import import_module
from typing import Any

from stanchion.app import Stanchion
from stanchion.errors import ConfigError


def application(where: str, hint: str) -> Stanchion:
    """The application that `module:attribute` names. Its module is imported, so its code is run.

    Args:
        where: The name.

        hint: How the caller's user adds a directory to the import path; said if there is no such module.

    Raises:
        ConfigError: There is no such module or attribute, or it is no application.
    """
    name, _, attribute = where.partition(":")
    if not name or not attribute:
        raise ConfigError(f"{where!r} is not <module>:<attribute>")
    try:
        found: Any = import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module was found, and lacks something itself
        raise ConfigError(f"no module {error.name!r} on the import path; {hint}") from error
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, Stanchion):
        raise ConfigError(f"{where!r} is no Stanchion application")
    return found
