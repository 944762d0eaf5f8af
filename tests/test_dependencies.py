"""What edgelm imports is declared, and what it declares is used."""

import ast
import functools
import importlib.metadata
import re
import sys
from pathlib import Path

import pytest

tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")
REPOSITORY = Path(__file__).resolve().parents[1]
# Imported, and not declared: why.
NOT_DECLARED = {
    "tensorrt": "comes with JetPack; `edgelm[tensorrt]` brings tensorrt-rtx",
    "IPython": "runs the notebook that is drawn in",
    "typing_extensions": "read by type checkers alone",
}
# Declared, and not imported by a statement: why.
NOT_IMPORTED = {
    "httptools": "uvicorn's parser",
    "uvloop": "uvicorn's event loop",
    "onnxscript": "PyTorch's exporter",
    "tensorboard": "imported by name, by Accelerate's tracker",
    "sacrebleu": "imported by name, where texts are judged",
    "rouge-score": "imported by name, where texts are judged",
    "codecarbon": "its table of countries is read, where a report tells carbon dioxide",
    "tensorrt-rtx-cu13": "imported by name, where engines are built",
}
TOOLS = ("dev", "docs")


def imported() -> set[str]:
    """The first part of every module that a file of the package imports, at its head or within a function."""
    found = set()
    for file in (REPOSITORY / "edgelm").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {name.name.split(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"edgelm"}


def declared() -> set[str]:
    """Names of packages in pyproject.toml, but for tools that the package itself never imports."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *(line for name in extras if name not in TOOLS for line in extras[name])]
    return {re.match(r"[\w.-]+", line)[0].lower() for line in lines} - {"edgelm"}


# Of every module that is installed; reading it takes half a second.
packages = functools.cache(importlib.metadata.packages_distributions)


def packages_of(module: str) -> set[str]:
    return {name.lower().replace("_", "-") for name in packages().get(module, ())}


def test_the_extra_of_the_native_library_asks_for_no_other_than_the_one_beside_it():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    beside = tomllib.loads((REPOSITORY / "native" / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (line,) = project["optional-dependencies"]["native"]
    assert line == f"{beside['name']}>={beside['version'].rpartition('.')[0]}"


def test_every_import_is_declared():
    known = {name.replace("_", "-") for name in declared()}
    missing = {}
    for module in sorted(imported() - set(NOT_DECLARED)):
        names = packages_of(module)
        if names and not names & known:
            missing[module] = names
    assert missing == {}


def test_every_declared_package_is_used():
    used = set().union(*(packages_of(module) for module in imported()))
    installed = {dist.metadata["Name"].lower().replace("_", "-") for dist in importlib.metadata.distributions()}
    unused = {name for name in declared() if name in installed} - used - set(NOT_IMPORTED)
    assert unused == set()
