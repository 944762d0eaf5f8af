"""A Project: what `edgelm make` makes, of which model and data, for which device and budget; read from one YAML file.

Its keys are named as the options of the commands are.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from edgelm.budget import parse_factor, parse_megabytes
from edgelm.choices import LabelFormat, PrecisionName
from edgelm.durations import parse_milliseconds, parse_seconds
from edgelm.errors import ProjectError, UsageError
from edgelm.files.yaml_model import line_of, load_yaml_model
from edgelm.tasks.task import TaskKind

Option = bool | int | float | str
Options = dict[str, Option | list[Option]]
When = Literal["auto", "always", "never"]


def _amount(parse: Callable[[str], Any]) -> AfterValidator:
    """Refuse what the command's own reader of this amount refuses; the file keeps it as it is written."""

    def check(value: Option) -> Option:
        try:
            parse(str(value))
        except UsageError as error:
            raise ValueError(f"{error.message} {error.hint}".rstrip(".")) from error
        return value

    return AfterValidator(check)


Amount = int | float | str


class _Group(BaseModel):
    """Base of the groups of a project: unknown keys are refused, and words stand apart by hyphens, as in options."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=lambda name: name.replace("_", "-"))


class ProjectData(_Group):
    """Rows, each a file, a folder or a hub id, and how they are read; `calibration` and `test` None: the rows of
    `train` and of `eval`."""

    train: str
    eval: str
    calibration: str | None = None
    test: str | None = None
    text_column: str | None = None
    pair_column: str | None = None
    label_column: str | None = None
    label_format: LabelFormat | None = None
    first_label: Annotated[int, Field(ge=-1, le=1)] | None = None
    missing_label: int | str | None = None
    skip_bad_rows: bool = False


class ProjectBudget(_Group):
    """Bounds as `edgelm compress` takes them; None: no such bound."""

    speedup: Annotated[Amount, _amount(parse_factor)] | None = None
    max_latency: Annotated[Amount, _amount(parse_milliseconds)] | None = None
    max_first_token: Annotated[Amount, _amount(parse_milliseconds)] | None = None
    max_size: Annotated[Amount, _amount(lambda text: parse_megabytes(text, "--max-size"))] | None = None
    max_memory: Annotated[Amount, _amount(lambda text: parse_megabytes(text, "--max-memory"))] | None = None
    max_drop: Annotated[float, Field(ge=0)] | None = None


class StepOptions(_Group):
    """Further options of the commands, by their names without the hyphens in front."""

    finetune: Options = {}
    compress: Options = {}
    export: Options = {}
    verify: Options = {}
    profile: Options = {}
    report: Options = {}


class Project(_Group):
    """The content of `edgelm.yaml`.

    `finetune` auto: where the model has no head for `task`. `time_limit` is that of compressing; `precision` and
    `max_length` None: as the commands have it.
    """

    model: str
    data: ProjectData
    task: TaskKind = "text-classification"
    device: str = "cpu"
    budget: ProjectBudget = ProjectBudget()
    time_limit: Annotated[Amount, _amount(parse_seconds)] | None = None
    precision: PrecisionName | None = None
    max_length: Annotated[int, Field(ge=8)] | None = None
    finetune: When = "auto"
    output: str = "build"
    options: StepOptions = StepOptions()


def read_project(path: Path) -> Project:
    """Read a project; paths in it are meant from the folder in which it lies.

    Raises:
        ProjectError: no such file, not YAML, an unknown key or an impossible value, with file and line.
    """
    if not path.is_file():
        raise ProjectError(f"{path}: no such file.", hint="`edgelm init` writes one.")
    found = load_yaml_model(path, Project, ProjectError, example="`edgelm init` writes a file with comments.")

    def place(name: str | None) -> str | None:
        """A path as it is meant from here; hub ids, and what is nowhere, stay as they are."""
        if name is None or path.parent == Path() or not _exists(path.parent / name.partition("@")[0]):
            return name
        return str(path.parent / name)

    rows = {name: place(getattr(found.data, name)) for name in ("train", "eval", "calibration", "test")}
    return found.model_copy(
        update={
            "model": place(found.model),
            "data": found.data.model_copy(update=rows),
            "device": place(found.device) if found.device.endswith((".yaml", ".yml")) else found.device,
            "output": str(path.parent / found.output),
        }
    )


def refuse_option(path: Path, step: str, name: str, problem: str, *, hint: str) -> ProjectError:
    """The error of an option of a step that the step's command does not take, with its line."""
    line = line_of(path, ("options", step, name) if name else ("options", step))
    return ProjectError(f"{path}:{line}: options.{step}{f'.{name}' if name else ''}: {problem}", hint=hint)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # no name that the system takes
        return False
