"""The `edgelm` command: a table of commands, one file each."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated

import typer

from edgelm.cli.renamed import Command
from edgelm.version import __version__

# In the order of the work. Each module has one function, named like the command with an underscore for a hyphen, or an
# `app` of its own.
COMMANDS = (
    *("finetune", "compress", "search", "export", "build", "profile", "report", "estimate", "latency-table", "tune"),
    *("run", "chat", "serve", "verify", "keys", "sign", "inspect", "recipes", "devices", "doctor", "demo"),
)

app = typer.Typer(
    name="edgelm",
    help="Make a fine-tuned transformer small and fast, prove it, and run it on the device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Make a fine-tuned transformer small and fast, prove it, and run it on the device."""
    if version:
        typer.echo(f"edgelm {__version__}")
        raise typer.Exit


for _name in COMMANDS:
    _python_name = _name.replace("-", "_")
    _module = import_module(f"edgelm.cli.{_python_name}")
    if hasattr(_module, "app"):
        app.add_typer(_module.app, name=_name)
    else:
        app.command(_name, cls=Command)(getattr(_module, _python_name))
