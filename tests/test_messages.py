"""What edgelm tells people to type: every command and option that a message, a hint, a help text, the README or a page
of the documentation names exists."""

import ast
import re
from pathlib import Path

import pytest
import typer

from edgelm.cli.main import app
from edgelm.cli.renamed import RENAMED

REPOSITORY = Path(__file__).resolve().parent.parent
OTHERS = {
    *("--help", "--version"),
    *(
        "--implementation",
        "--python-version",
        "--no-deps",
        "--no-compile",
        "--only-binary",
        "--abi",
        "--platform",
        "--dest",
        "--disable-pip-version-check",
        "--upgrade",
        "--index-url",
        "--no-index",
        "--find-links",
        "--system-site-packages",
    ),  # pip, venv
    *("--query-gpu", "--format"),  # nvidia-smi
    "--rm",  # docker
    *("--local-dir", "--exclude"),  # hf
    "--templated",  # the C++ example
    *("--address", "--interval", "--cpu", "--build"),  # ray, tegrastats, accelerate, CMake
}
# What run.py of a bundle takes.
SCRIPT = {"--file", "--threads", "--provider", "--verify", "--set", "--chat"}


def commands() -> dict[tuple[str, ...], set[str]]:
    """Every command by its words, groups too, with its options."""
    found: dict[tuple[str, ...], set[str]] = {}

    def walk(command, words):
        found[words] = {
            name
            for parameter in command.params
            for name in (*parameter.opts, *parameter.secondary_opts)
            if name.startswith("--")
        }
        for name, child in getattr(command, "commands", {}).items():
            walk(child, (*words, name))

    walk(typer.main.get_command(app), ())
    return found


COMMANDS = commands()
OPTIONS = set().union(*COMMANDS.values()) | OTHERS | SCRIPT


def texts(file: Path) -> list[str]:
    """Strings of a module, those in pieces (f-strings, joined lines) as one, with `{}` where a value stands; of another
    file its paragraphs."""
    if file.suffix != ".py":
        # What benchmarks take is looked at by tests/docs.
        text = re.sub(r"`[^`]*python benchmarks/[^`]*`", "", file.read_text(encoding="utf-8"))
        return re.split(r"\n\s*\n|\n(?=[|`>#-])", text.replace("\\\n", " "))
    found = []
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    pieces = {part for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in pieces:
            found.append(node.value)
        elif isinstance(node, ast.JoinedStr):
            found.append("".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values))
    return found


def command_lines(text: str) -> list[str]:
    """What begins with `edgelm` and reads as a command: in backticks, at the beginning of a line, after a prompt or
    `Example:`."""
    quoted = [match[1] for match in re.finditer(r"`(?:\w+=\S+ )*edgelm ([^`]*)`", text)]
    begun = [match[1] for match in re.finditer(r"(?m)^[ \t>$]*(?:Example: )?edgelm ([a-z].*)$", text)]
    return [*quoted, *(line for line in begun if not re.search(r"[.,;:](?: |$)", line))]  # a sentence is no command


# The one file that names what is no option any more; tests/cli/test_renamed.py looks at what it says instead.
FORMER = {"renamed.py": {old for table in RENAMED.values() for old in table}}
FILES = sorted(
    [
        *(REPOSITORY / "edgelm").rglob("*.py"),
        *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md")),
        *(REPOSITORY / "docs").rglob("*.md"),
        *(file for folder in ("recipes", "devices") for file in (REPOSITORY / folder).rglob("*.yaml")),
    ]
)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(REPOSITORY).as_posix())
def test_what_is_named_exists(file):
    for text in texts(file):
        for option in re.findall(r"(?<![\w{}-])--[a-z][a-z-]*[a-z](?![\w-])", text):
            assert option in OPTIONS | FORMER.get(file.name, set()), f"{option} in {text!r}"
        for line in command_lines(text):
            words = line.split()
            if words[0].startswith(("{", "...")):
                continue
            name = tuple(words[:2]) if tuple(words[:2]) in COMMANDS else (words[0],)
            assert name in COMMANDS, f"edgelm {line!r}"
            for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z](?![\w-])", line.split(" | ")[0]):
                assert option in COMMANDS[name] | {"--help"}, f"edgelm {name} has no {option}: {line!r}"


def test_the_search_for_commands_finds_some():
    """Else all of the above would hold of nothing."""
    lines = [line for file in FILES for text in texts(file) for line in command_lines(text)]
    assert len(lines) > 60
    assert {line.split()[0] for line in lines} >= {
        "finetune",
        "compress",
        "export",
        "profile",
        "verify",
        "run",
        "search",
        "devices",
    }
