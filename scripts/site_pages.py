"""The pages of the documentation site that are made and not written, as a hook of MkDocs.

The reference of the command line is made of the program itself, that of Python of its docstrings, the lists of recipes
and devices of their files. Pages that lie elsewhere in the repository (benchmarks, changelog, ...) are taken into the
site as they are, and links between all of these lead to the same place on the site and in the repository.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args, get_origin, get_type_hints

import typer

import edgelm
from edgelm.cli.main import COMMANDS, app
from edgelm.device import load_device
from edgelm.files.shipped import shipped_names
from edgelm.recipe import load_recipe

REPOSITORY = Path(__file__).resolve().parents[1]
# Where a page of the repository is on the site.
ELSEWHERE = {
    "benchmarks/README.md": "reference/benchmarks.md",
    "native/README.md": "reference/native.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "README.md": "index.md",
}
_KINDS = {str: "text", int: "integer", float: "number", Path: "path", bool: "flag"}
_LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")


def command_line() -> str:
    """Every command with its help, its arguments and its options, as `--help` has them."""
    root: Any = typer.main.get_command(app)
    parts = ["# Command line", "Made from the program: what `--help` says of each command."]
    for name in COMMANDS:
        parts += _command(root.commands[name], ("edgelm", name), 2)
    return "\n\n".join(parts) + "\n"


def _command(command: Any, words: tuple[str, ...], level: int) -> list[str]:
    parts = [f"{'#' * level} {' '.join(words)}"]
    for paragraph in (command.help or "").split("\n\n"):
        line = " ".join(paragraph.split())
        parts.append(f"```bash\n{line.removeprefix('Example: ')}\n```" if line.startswith("Example: ") else line)
    types = get_type_hints(command.callback) if command.callback else {}
    for kind in ("argument", "option"):
        items = [item for item in command.params if item.param_type_name == kind and item.name != "help"]
        rows = [_parameter(item, types[item.name]) for item in items]
        if rows:
            parts.append("\n".join([f"| {kind} | value | meaning |", "|---|---|---|", *rows]))
    for name, child in getattr(command, "commands", {}).items():
        parts += _command(child, (*words, name), level + 1)
    return parts


def _parameter(item: Any, annotation: Any) -> str:
    """A row of a table; what a cell would take for its end is escaped."""
    named = item.param_type_name == "option"
    names = ", ".join(f"`{name}`" for name in (*item.opts, *item.secondary_opts)) if named else f"`{item.name.upper()}`"
    notes = [] if getattr(item, "is_flag", False) else [_value(item, annotation)]
    if item.required:
        notes.append("required")
    elif isinstance(item.default, str | int | float) and not isinstance(item.default, bool) and item.default != "":
        notes.append(f"`{item.default}`")
    if get_origin(annotation) is list or any(get_origin(part) is list for part in get_args(annotation)):
        notes.append("repeated")
    meaning = " ".join((item.help or "").split()).replace("|", "\\|")
    return f"| {names} | {', '.join(notes)} | {meaning} |"


def _value(item: Any, annotation: Any) -> str:
    """What is given to an option: one of its choices, or a kind of value."""
    choices = get_args(kind) if get_origin(kind := _innermost(annotation)) is Literal else ()
    if item.metavar and "|" in item.metavar:
        choices = item.metavar.strip("[]").split("|")
    return "one of " + " ".join(f"`{choice}`" for choice in choices) if choices else _KINDS[kind]


def _innermost(annotation: Any) -> Any:
    """The type of one value: `int` of `list[int] | None`."""
    if get_origin(annotation) is Literal:
        return annotation
    parts = [part for part in get_args(annotation) if part is not type(None)]
    return _innermost(parts[0]) if parts else annotation


def recipes_and_devices() -> str:
    """What is shipped, by name."""
    parts = ["# Recipes and devices", "Made from the files in `recipes/` and `devices/`."]
    parts += ["## Recipes", "`edgelm recipes show NAME` prints one, `edgelm recipes copy NAME FILE` makes it yours."]
    rows = []
    for name in shipped_names("recipes"):
        recipe = load_recipe(name)
        rows.append(f"| `{name}` | {recipe.title} | {', '.join(stage.stage for stage in recipe.stages)} |")
    parts.append("\n".join(["| recipe | what it is for | stages |", "|---|---|---|", *rows]))
    parts += ["## Devices", "`edgelm devices show NAME` prints one, with the source of every figure."]
    rows = []
    for name in shipped_names("devices"):
        device = load_device(name)
        rows.append(f"| `{name}` | {device.title} | {device.kind} | {', '.join(device.precisions)} |")
    parts.append("\n".join(["| device | what it is | kind | precisions |", "|---|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def python() -> str:
    """Every public name of the package; mkdocstrings puts the docstring where `:::` stands."""
    parts = [
        "# Python",
        "Made from docstrings. What is listed here is imported from `edgelm` itself (`from edgelm import compress`); "
        "`import edgelm.runtime` brings what a device needs, and no torch.",
    ]
    parts += [f"::: {edgelm._HOMES[name]}.{name}" for name in edgelm.__all__ if name in edgelm._HOMES]
    parts.append("## Errors\n\n::: edgelm.errors\n    options:\n      heading_level: 3\n      show_root_heading: false")
    return "\n\n".join(parts) + "\n"


MADE = {
    "reference/command-line.md": command_line,
    "reference/recipes-and-devices.md": recipes_and_devices,
    "reference/python.md": python,
}


def relinked(text: str, repository_path: str, site_path: str) -> str:
    """A page's text with links that lead to the site's pages; those to other files of the repository become plain text.

    Args:
        repository_path: of the page, from the repository's root.
        site_path: of the page on the site.
    """

    def link(match: re.Match[str]) -> str:
        words, target = match[1], match[2]
        if re.match(r"[a-z]+:|#|/", target):
            return match[0]
        path, _, anchor = target.partition("#")
        place = PurePosixPath(os.path.normpath(PurePosixPath(repository_path).parent / path)).as_posix()
        if place in ELSEWHERE:
            place = ELSEWHERE[place]
        elif place.startswith("docs/"):
            place = place.removeprefix("docs/")
        else:
            return words
        address = os.path.relpath(place, PurePosixPath(site_path).parent).replace(os.sep, "/")
        return f"[{words}]({address}{'#' * bool(anchor)}{anchor})"

    return _LINK.sub(link, text)


def on_files(files: Any, config: Any) -> Any:
    """Called by MkDocs once it has found the written pages: adds the others."""
    from mkdocs.structure.files import File

    for path, make in MADE.items():
        files.append(File.generated(config, path, content=make()))
    for source, path in ELSEWHERE.items():
        if path == "index.md":  # the site begins with a page of its own
            continue
        text = (REPOSITORY / source).read_text(encoding="utf-8")
        files.append(File.generated(config, path, content=relinked(text, source, path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Called by MkDocs for every page: links of written pages lead to the site."""
    path = page.file.src_uri
    return markdown if path in {*MADE, *ELSEWHERE.values()} - {"index.md"} else relinked(markdown, f"docs/{path}", path)
