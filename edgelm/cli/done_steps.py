"""Which steps of a project are done: a file beside what they made, with a digest of what each was given."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgelm.cli.steps import Step
from edgelm.data.sources import parse_source
from edgelm.errors import OutputExistsError, ProjectError
from edgelm.files.output import staged_output
from edgelm.limits import read_json
from edgelm.runtime.hashing import hash_file
from edgelm.version import __version__

STATE_FILE = "make.json"
_SCHEMA = 1


class DoneSteps:
    """The steps of a project that earlier calls began and finished in its folder.

    Args:
        folder: the output of the project.
        steps: all of its steps.
        anew: whether what earlier calls did counts for nothing.

    Raises:
        ProjectError: the file of an earlier call cannot be read.
    """

    def __init__(self, folder: Path, steps: Sequence[Step], *, anew: bool = False) -> None:
        self._file = folder / STATE_FILE
        self._made = {step.made for step in steps}
        self._steps: dict[str, dict[str, Any]] = {} if anew or not self._file.is_file() else _read(self._file)

    def exit_code(self, step: Step) -> int | None:
        """With what a step ended that need not be run again; None: it must be."""
        known = self._steps.get(step.name, {})
        there = step.made is None or step.made.exists()
        same = there and known.get("exit_code") is not None and known.get("digest") == self._digest(step)
        return int(known["exit_code"]) if same else None

    def began(self, step: Step) -> bool:
        """Whether what lies at the step's output is of an earlier call, and may be replaced."""
        return step.name in self._steps

    def check_place(self, steps: Sequence[Step]) -> None:
        """Refuse outputs that something else has made.

        Raises:
            OutputExistsError: one of them.
        """
        for step in steps:
            if step.made is not None and step.made.exists() and not self.began(step):
                raise OutputExistsError(
                    f"{step.made} exists already, and no `edgelm make` made it.",
                    hint="Give another `output` in the file, or add --overwrite to replace it.",
                )

    def begin(self, step: Step) -> None:
        """Note that a step is at work."""
        self._note(step, {"digest": self._digest(step), "exit_code": None})

    def finish(self, step: Step, exit_code: int) -> None:
        """Note that a step that was begun has its result, of what it was given then."""
        self._note(step, self._steps[step.name] | {"exit_code": exit_code})

    def _note(self, step: Step, entry: dict[str, Any]) -> None:
        self._steps[step.name] = entry
        with staged_output(self._file, overwrite=True) as aside:
            aside.write_text(json.dumps({"schema": _SCHEMA, "steps": self._steps}, indent=2) + "\n", encoding="utf-8")

    def _digest(self, step: Step) -> str:
        """Of the words of a step, the version of edgelm, and the content of every file and folder that they name,
        but for those that steps make: who makes them anew runs all later steps anew."""
        paths = {word: Path(parse_source(word).name) for word in step.words}
        content = {word: [] if path in self._made else _content(path) for word, path in paths.items()}
        return hashlib.sha256(json.dumps([__version__, step.words, content]).encode()).hexdigest()


def _content(path: Path) -> list[str]:
    """The hash of a file, or of the files of a folder with their names; of what is neither nothing."""
    try:
        if path.is_dir():
            return [f"{file.relative_to(path)} {hash_file(file)}" for file in sorted(path.rglob("*")) if file.is_file()]
        return [hash_file(path)] if path.is_file() else []
    except (OSError, ValueError):  # no name that the system takes, or nothing that may be read: the command says so
        return []


def _read(file: Path) -> dict[str, dict[str, Any]]:
    values = read_json(file.read_bytes(), str(file), error=ProjectError)
    steps = values.get("steps") if isinstance(values, dict) and values.get("schema") == _SCHEMA else None
    if not isinstance(steps, dict) or not all(isinstance(entry, dict) for entry in steps.values()):
        raise ProjectError(
            f"{file}: not what this version of `edgelm make` writes.",
            hint="Add --overwrite to make everything anew, or give another `output` in the file.",
        )
    return steps
