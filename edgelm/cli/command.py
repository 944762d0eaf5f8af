"""A command to type next: as a shell reads it whatever is in its words, under the name by which this one was called."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgelm.data.dataset import Columns

_COMMANDS = "edgelm.cli."
_SHARED = ("edgelm.cli.console", "edgelm.cli.late")


def join(words: Sequence[object]) -> str:
    """One line that the shell of this system takes apart into these words again."""
    texts = [os.fspath(word) if isinstance(word, Path) else str(word) for word in words]
    return subprocess.list2cmdline(texts) if os.name == "nt" else " ".join(map(quote, texts))


def quote(word: str) -> str:
    """A word for a POSIX shell; one that holds control characters, or bytes that are no text, for bash and zsh."""
    if word.isprintable():
        return shlex.quote(word)
    plain = {ord("\\"), ord("'"), *range(32), *range(127, 256)}
    return "$'" + "".join(f"\\x{byte:02x}" if byte in plain else chr(byte) for byte in os.fsencode(word)) + "'"


def program() -> list[str]:
    """How edgelm was called: `edgelm` where that finds the same program, else its path, or the interpreter with `-m
    edgelm`."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py" and called.parent.name == "edgelm":
        found = next((name for name in ("python", "python3") if shutil.which(name) == sys.executable), None)
        return [found or sys.executable, "-m", "edgelm"]
    if called.stem != "edgelm" or not called.is_file():  # called from another program
        return ["edgelm"]
    found = shutil.which("edgelm")
    return ["edgelm"] if found is not None and called.samefile(found) else [str(called)]


def command_of(error: BaseException) -> str:
    """The command in which an error arose, such as `estimate`, by the module of `edgelm.cli` that it passed first;
    empty where it passed none."""
    places = (frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__))
    module = next((place for place in places if place.startswith(_COMMANDS) and place not in _SHARED), "")
    return module.removeprefix(_COMMANDS).replace("_", "-")


def options(values: Mapping[str, object]) -> list[object]:
    """The words of options: True is a flag; None and False are left out."""
    given = ((name, value) for name, value in values.items() if value is not None and value is not False)
    return [word for name, value in given for word in ((name,) if value is True else (name, value))]


def columns(named: Columns) -> dict[str, object]:
    """The options that name the columns of data and say how labels are read, as they were given."""
    return {
        "--text-column": named.text,
        "--pair-column": named.text_pair,
        "--label-column": named.label,
        "--label-format": named.label_format,
        "--first-label": named.first_label,
        "--missing-label": named.missing_label,
        "--skip-bad-rows": named.skip_bad_rows,
    }


def argument(path: object) -> str:
    """A path that no command takes for an option."""
    text = str(path)
    return f"./{text}" if text.startswith("-") else text


def unused(path: Path) -> Path:
    """This path, or one like it where nothing lies yet: a command that would refuse to overwrite is no next step."""
    number, found = 1, path
    while found.exists() or found.is_symlink():
        number += 1
        found = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return found
