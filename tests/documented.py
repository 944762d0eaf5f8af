"""The commands that README and the documentation show, as a reader would type them."""

import re
import shlex
from collections.abc import Iterable
from pathlib import Path

import typer

from edgelm.cli.main import app

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"^```(?:bash|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[str]:
    """One line a command, its spaces as one."""
    blocks = _BLOCK.findall(page.read_text(encoding="utf-8"))
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [" ".join(line.removeprefix("$ ").split()) for line in lines if line.strip() and not line.startswith("#")]


def beginning(line: str, table: Iterable[str]) -> str | None:
    """The entry of a table that a line begins with."""
    return next((start for start in table if line.startswith(start)), None)


def parse(line: str) -> object:
    """What the program itself makes of a command's words; it ends the test where it does not take them.

    Returns:
        the context of the command that was named, or None where the line calls another program.
    """
    words = shlex.split(line)
    if words[0] != "edgelm" and "-m edgelm" not in line:
        return None
    words = words[words.index("edgelm") + 1 :]
    command = typer.main.get_command(app)
    names = ["edgelm"]
    while getattr(command, "commands", None):
        names.append(words.pop(0))
        command = command.commands[names[-1]]
    return command.make_context(" ".join(names), words)
