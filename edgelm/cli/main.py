"""The `edgelm` command: a table of commands, one file each."""

from __future__ import annotations

from typing import Annotated

import typer

from edgelm.cli.late import group_of
from edgelm.version import __version__

# In the order of the work; `edgelm.cli.late` says what is in the file of each.
COMMANDS = (
    *("advise", "init", "make", "finetune", "compress", "search", "export", "build", "profile", "report", "estimate"),
    *("latency-table", "tune", "run", "chat", "serve", "verify", "card", "keys", "sign", "push"),
    *("inspect", "recipes", "devices", "doctor", "demo"),
)

app = typer.Typer(
    name="edgelm",
    cls=group_of(COMMANDS),
    help="Make a fine-tuned transformer small and fast, prove it, and run it on the device.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["--help", "-h"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Make a fine-tuned transformer small and fast, prove it, and run it on the device."""
    if version:
        typer.echo(f"edgelm {__version__}")
        raise typer.Exit
