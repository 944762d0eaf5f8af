"""Rules of the house: who imports whom, how light the runtime is, and that everything has its page."""

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from edgelm.cli.main import COMMANDS, app

REPOSITORY = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "transformers", "onnx", "pydantic", "rich", "typer", "yaml", "scipy", "sklearn", "datasets", "pandas")
SLOW = ("numpy", *(name for name in HEAVY if name not in ("rich", "typer")))
LONGEST_FILE = 350


def test_rooms_import_only_what_they_may() -> None:
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command; lint_imports_command()",
        "--no-cache",
    ]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_the_runtime_loads_nothing_heavy() -> None:
    code = f"import sys, edgelm.runtime; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_the_list_of_commands_loads_nothing_heavy() -> None:
    """Every call of the command line waits for it."""
    code = f"""
import sys
from edgelm.cli.main import app
try:
    app(["--help"])
finally:
    print([name for name in {[*SLOW]!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_no_file_holds_two_ideas() -> None:
    lengths = {
        str(path.relative_to(REPOSITORY)): len(path.read_text(encoding="utf-8").splitlines())
        for path in (REPOSITORY / "edgelm").rglob("*.py")
    }
    assert len(lengths) > 30
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FILE} == {}


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(path)
        for path in (REPOSITORY / "edgelm").rglob("*.py")
        if not path.read_text(encoding="utf-8").startswith('"""')
    ]
    assert silent == []


def leaves() -> list[tuple[str, ...]]:
    """Every command that can be typed, groups followed to their ends."""
    found: list[tuple[str, ...]] = []

    def walk(command: object, words: tuple[str, ...]) -> None:
        children = getattr(command, "commands", None)
        if children is None:
            found.append(words)
        for name, child in (children or {}).items():
            walk(child, (*words, name))

    walk(typer.main.get_command(app), ())
    return found


def test_every_command_in_the_table_can_be_typed() -> None:
    assert {words[0] for words in leaves()} == set(COMMANDS)


@pytest.mark.parametrize("words", leaves(), ids=" ".join)
def test_every_command_has_help_with_an_example(words: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*words, "--help"])
    assert shown.exit_code == 0
    assert f"Example: edgelm {' '.join(words)}" in " ".join(shown.output.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_documentation(name: str) -> None:
    page = (REPOSITORY / "docs" / "reference" / "options.md").read_text(encoding="utf-8")
    assert re.search(rf"`edgelm {re.escape(name)}(?![\w-])", page)


def test_what_benchmarks_import_is_there():
    """They are not run by the tests: a function that moves must not leave them behind."""
    missing = []
    for file in sorted((REPOSITORY / "benchmarks").glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("edgelm"):
                room = importlib.import_module(node.module)
                missing += [
                    f"{file.name}: {node.module}.{name.name}" for name in node.names if not _has(room, name.name)
                ]
    assert not missing


def _has(module, name):
    """Whether a module has a name, or a package a module of that name."""
    return hasattr(module, name) or (
        hasattr(module, "__path__") and importlib.util.find_spec(f"{module.__name__}.{name}") is not None
    )
