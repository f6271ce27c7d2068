"""The command `stanchion` itself. Each subcommand's module is imported only when it is asked for."""

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import version
from typing import Any, Final

import click

from stanchion.contract.entry_points import installed
from stanchion.errors import StanchionError

_COMMANDS: Final[Mapping[str, str]] = {
    "worker": "stanchion.cli.worker",
    "info": "stanchion.cli.info",
    "stats": "stanchion.cli.stats",
    "show": "stanchion.cli.show",
    "check": "stanchion.cli.check",
}
"""Where each subcommand is, by its name, which is also the function's; in the order `--help` shows them."""

GROUP: Final = "stanchion.commands"
"""The entry-point group of further subcommands, each a click command; listed after ours, sorted by name."""


class _Commands(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*_COMMANDS, *(name for name in installed(GROUP) if name not in _COMMANDS)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _COMMANDS:
            own: click.Command = getattr(import_module(_COMMANDS[cmd_name]), cmd_name)
            return own
        entry = installed(GROUP).get(cmd_name)
        further: click.Command | None = None if entry is None else entry.load()
        return further

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except StanchionError as error:
            raise click.ClickException(str(error)) from error


def _print_version(ctx: click.Context, _option: click.Parameter, wanted: object) -> None:
    if wanted:
        click.echo(f"stanchion {version('stanchion')}")
        ctx.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version.",
)
def stanchion() -> None:
    """Work on job queues: run workers, look at queues and jobs.

    The backend is named by --backend, by STANCHION_BACKEND, or in stanchion.toml. Other users of the machine can
    read a program's arguments: put a URL with a password into the environment or the file.

    Exit codes: 0 fine, 1 refused (the message says why), 2 wrong usage, 130 stopped by Ctrl-C.
    """
