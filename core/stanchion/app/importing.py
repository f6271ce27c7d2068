"""Finding an application by where it is: `module:attribute`."""

from importlib import import_module
from typing import Any

from stanchion.app.application import Stanchion
from stanchion.errors import ConfigError


def application(where: str, hint: str) -> Stanchion:
    """Return the application that `module:attribute` names. Its module is imported, so its code is run.

    Args:
        where: The name.

        hint: How the user adds a directory to the import path, for the error if there is no such module.

    Returns:
        The application.

    Raises:
        ConfigError: There is no such module or attribute, or it is not an application.
    """
    name, _, attribute = where.partition(":")
    if not name or not attribute:
        raise ConfigError(f"invalid application {where!r}: use <module>:<attribute>")
    if not all(part.isidentifier() for part in name.split(".")):
        raise ConfigError(f"invalid module name {name!r}: write it as in an import{_meant(name, attribute)}")
    try:
        found: Any = import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module was found, and lacks something itself
        raise ConfigError(
            f"cannot find module {error.name!r} on the import path; {hint}{_meant(name, attribute)}"
        ) from error
    module = found
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, Stanchion):
        raise ConfigError(f"{where!r} is not a Stanchion application{_instead(found)}{_there(module)}")
    return found


def _meant(name: str, attribute: str) -> str:
    """Return, for a file instead of a module, a question that offers the module's name."""
    module = name.removesuffix(".py").removeprefix("./").replace("/", ".")
    is_name = module != name and all(part.isidentifier() for part in module.split("."))
    return f"; did you mean {module}:{attribute}?" if is_name else ""


def _instead(found: object) -> str:
    return "" if found is None else f", but of type {type(found).__name__}"


def _there(module: object) -> str:
    names = [name for name, value in vars(module).items() if isinstance(value, Stanchion)]
    return f"; the applications in this module: {', '.join(names)}" if names else ""
