"""`edgelm.compress`, `edgelm.export`, `edgelm.profile` and `edgelm.search` are packages and commands at once: calling
one runs it."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    """A package that is called as the function of its own name in its module `pipeline`."""

    def __call__(self, *values: Any, **options: Any) -> Any:
        function = getattr(import_module(f"{self.__name__}.pipeline"), self.__name__.rpartition(".")[2])
        return function(*values, **options)


def make_callable(package: str) -> None:
    """Make an imported package callable: `edgelm.compress(...)` works whether or not a module in it was imported
    before."""
    sys.modules[package].__class__ = _CallablePackage
