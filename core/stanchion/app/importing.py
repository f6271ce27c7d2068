"""Finding an application by the name of where it stands: `module:attribute`."""

from importlib import import_module
from typing import Any

from stanchion.app.application import Stanchion
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
    if not all(part.isidentifier() for part in name.split(".")):
        raise ConfigError(
            f"{name!r} is not the name of a module, as an import has it{_meant(name, attribute)}"
        )
    try:
        found: Any = import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module was found, and lacks something itself
        raise ConfigError(
            f"no module {error.name!r} on the import path; {hint}{_meant(name, attribute)}"
        ) from error
    module = found
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, Stanchion):
        raise ConfigError(f"{where!r} is no Stanchion application{_instead(found)}{_there(module)}")
    return found


def _meant(name: str, attribute: str) -> str:
    """For a file instead of a module: how the module would be named."""
    module = name.removesuffix(".py").removeprefix("./").replace("/", ".")
    is_name = module != name and all(part.isidentifier() for part in module.split("."))
    return f"; did you mean {module}:{attribute}?" if is_name else ""


def _instead(found: object) -> str:
    return "" if found is None else f", but of type {type(found).__name__}"


def _there(module: object) -> str:
    names = [name for name, value in vars(module).items() if isinstance(value, Stanchion)]
    return f"; the applications in this module: {', '.join(names)}" if names else ""
