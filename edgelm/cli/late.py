"""Commands whose options are read when somebody asks for them: the list of all commands shows none of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from edgelm.cli.console import open_screen
from edgelm.cli.renamed import check_renamed


class Command(TyperCommand):
    """A command that knows the options which it no longer has, and reads those of its function late.

    Args:
        name: on the command line.
        function: its parameters are the arguments and options, its docstring is the help.
    """

    def __init__(self, name: str, function: Callable[..., None]) -> None:
        super().__init__(name, help=inspect.getdoc(function), rich_markup_mode="rich")
        self._function = function
        del self.params, self.callback  # `__getattr__` makes them: that takes longer than all else of listing commands

    def __getattr__(self, name: str) -> Any:
        if name not in ("params", "callback"):
            raise AttributeError(name)
        alone = typer.Typer(add_completion=False)
        alone.command(self.name)(self._function)
        made = typer.main.get_command(alone)
        self.params, self.callback = made.params, made.callback
        return self.__dict__[name]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words after the command's name, once none of them is an old option."""
        with open_screen():
            check_renamed(self.name or "", args)
        return super().parse_args(ctx, args)


def group_of(names: Sequence[str]) -> type[TyperGroup]:
    """A group of commands.

    Args:
        names: each has a module in `edgelm.cli`, named so with an underscore for a hyphen, with one function of that
            name or with an `app` of its own.
    """

    class Commands(TyperGroup):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            for name in names:
                self.add_command(_find(name))

    return Commands


def _find(name: str) -> Any:
    python_name = name.replace("-", "_")
    module = import_module(f"edgelm.cli.{python_name}")
    if not hasattr(module, "app"):
        return Command(name, getattr(module, python_name))
    group = typer.main.get_group(module.app)
    group.name = name
    return group
