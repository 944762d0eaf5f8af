"""The steps of a project as the command lines that a person would type, in their order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from edgelm.cli.command import argument, options
from edgelm.errors import ModelError
from edgelm.project import Option, Project, refuse_option
from edgelm.tasks.table import TASKS
from edgelm.tasks.text import TextClassification

_TEACHER, _COMPRESSED, _BUNDLE, _PROFILE, _PAGE = "teacher", "compressed", "model.edge", "profile.json", "report.html"
# What a file cannot say of a step: its output has its place, and all steps show what they do in one way.
_OURS = ("help", "json", "quiet", "verbose", "overwrite", "output", "html", "format")
_REFUSED: Any = typer.BadParameter.__mro__[1]  # of every wrong use, wherever this version of typer keeps it
_ROWS = {"train", "eval", "calibration", "test"}


@dataclass(frozen=True)
class Step:
    """One command of a project.

    Attributes:
        name: of the command.
        words: of the command line, after the program's name.
        made: what it makes; None: it makes nothing, and looks at what is there.
    """

    name: str
    words: tuple[str, ...]
    made: Path | None = None

    def again(self, *, overwrite: bool) -> list[str]:
        """The words, with the leave to replace what an earlier run has made."""
        return [*self.words, *(["--overwrite"] if overwrite and self.made is not None else [])]


def needs_training(project: Project) -> bool:
    """Whether the model has to be fine-tuned first: it has no head for the task, or the project asks for it.

    Raises:
        ModelError: there is no such model, or none that is read.
    """
    if project.finetune != "auto":
        return project.finetune == "always"
    from edgelm.anatomy.hub import find_checkpoint

    found = find_checkpoint(project.model, any_head=True)
    try:
        return find_checkpoint(found.path, task=project.task).task.kind != project.task
    except ModelError:
        return True


def plan_steps(project: Project, *, file: Path) -> list[Step]:
    """Every step of a project, each parsed once as its command parses it.

    Raises:
        ProjectError: an option that its command does not take, with its line.
        ModelError: as `needs_training`.
    """
    folder = Path(project.output)
    teacher = folder / _TEACHER if needs_training(project) else None
    model = argument(teacher or project.model)
    compressed, bundle = folder / _COMPRESSED, folder / _BUNDLE
    data, budget = project.data, project.budget
    rows = {"data": data.train, "eval": data.eval}
    target = {"device": project.device, "precision": project.precision}
    judged = data.test or data.eval
    asked = budget.model_dump(by_alias=True) | {"time-limit": project.time_limit}
    # What models write is judged by the profile; all other answers are compared.
    compared = {} if TASKS[project.task].generates else {"data": judged, "original": model}
    if project.task != TextClassification.kind and teacher is None:
        asked["task"] = project.task
    samples = {"calibration": data.calibration or data.train, "eval": data.eval}
    plan: list[tuple[str, str, dict[str, Any], Path | None]] = [
        ("compress", model, rows | target | asked, compressed),
        ("export", argument(compressed), target | samples, bundle),
        ("verify", argument(bundle), {}, None),
        ("profile", argument(bundle), {"compare": model, "data": judged}, folder / _PROFILE),
        ("report", argument(bundle), {"profile": folder / _PROFILE} | compared, folder / _PAGE),
    ]
    if teacher is not None:
        plan.insert(0, ("finetune", argument(project.model), rows | {"task": project.task}, teacher))
    return [
        Step(name, _line(project, file, name, what, given | {"html" if name == "report" else "output": made}), made)
        for name, what, given, made in plan
    ]


def _line(project: Project, file: Path, name: str, what: str, given: dict[str, Any]) -> tuple[str, ...]:
    """The words of one step: what it works on, what the keys of the project say, and further options of the file."""
    command = find_command(name)
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    if "data" in given or name != "report":
        given = given | project.data.model_dump(by_alias=True, exclude=_ROWS) | {"max-length": project.max_length}
    given = {f"--{key}": value for key, value in given.items() if f"--{key}" in known}
    words = [what, *map(str, options(given))]
    for key, value in getattr(project.options, name).items():
        if f"--{key}" not in known or key in _OURS:
            hint = f"`edgelm {name} --help` lists its options; where things are written is said by `output`."
            raise refuse_option(file, name, key, "no option that can be given here.", hint=hint)
        if f"--{key}" in words:
            raise refuse_option(file, name, key, "said by another key of this file already.", hint="Leave it out here.")
        words += _option(key, value, known)
    try:
        command.make_context(name, list(words))
    except _REFUSED as error:
        hint = f"`edgelm {name} --help` says what its options take."
        raise refuse_option(file, name, "", f"{error.format_message().rstrip('.')}.", hint=hint) from error
    return name, *words


def _option(key: str, value: Option | list[Option], known: set[str]) -> list[str]:
    """The words of one option: a flag, the flag that says no, or a value; of a list the option for each."""
    if isinstance(value, list):
        return [word for entry in value for word in _option(key, entry, known)]
    if value is False:
        return [f"--no-{key}"] if f"--no-{key}" in known else []
    return [f"--{key}"] if value is True else [f"--{key}", str(value)]


def find_command(name: str) -> Any:
    """A command of edgelm, as typer has it."""
    from edgelm.cli.main import app

    return typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
