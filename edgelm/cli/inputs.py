"""What several commands read before their work begins: data sets, budgets, settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from edgelm.budget import Budget, parse_factor, parse_megabytes
from edgelm.choices import LabelFormat
from edgelm.cli.console import Screen
from edgelm.cli.rows import show_rows
from edgelm.data.alignment import answered
from edgelm.data.dataset import Columns, Dataset, load_dataset
from edgelm.data.label_matching import is_whole
from edgelm.data.reading import warn_of_shared
from edgelm.durations import parse_milliseconds
from edgelm.errors import UsageError
from edgelm.tasks.task import Problem, Task
from edgelm.tasks.text import QuestionAnswering, TextClassification

S = TypeVar("S", bound=BaseModel)


def read_columns(
    text: str | None,
    pair: str | None,
    label: str | None,
    *,
    label_format: str | None = None,
    first_label: int | None = None,
    missing_label: str | None = None,
    skip_bad_rows: bool = False,
) -> Columns:
    """Which columns to read, and how, from command-line options.

    Raises:
        UsageError: an unknown format of labels.
    """
    chosen = _choose("--label-format", label_format, get_args(LabelFormat))
    return Columns(
        text,
        pair,
        label,
        label_format=chosen,
        first_label=first_label,
        missing_label=missing_label,
        skip_bad_rows=skip_bad_rows,
    )


def read_problem(name: str | None) -> Problem | None:
    """How labels exclude each other, from a command-line option.

    Raises:
        UsageError: an unknown one.
    """
    return _choose("--problem", name, get_args(Problem))


def _choose(option: str, value: str | None, known: tuple[str, ...]) -> Any:
    if value is not None and value not in known:
        raise UsageError(f"{option} is {value!r}.", hint=f"Use one of {', '.join(known)}.")
    return value


def read_schema(task: str) -> str:
    """What the rows of a kind of task are, such as words.

    Raises:
        UsageError: an unknown kind.
    """
    from edgelm.tasks.table import TASKS

    return TASKS[_choose("--task", task, tuple(TASKS))].schema


def schema_of_model(path: Path) -> str:
    """What the rows of a bundle or checkpoint are; texts for a plain graph.

    Raises:
        InputError: there is none.
    """
    from edgelm.checkpoint import open_checkpoint
    from edgelm.profile.subject import find_subject
    from edgelm.runtime import open_bundle

    kind = find_subject(path).kind
    if kind == "onnx":
        return "text"
    return (open_bundle(path).manifest.task if kind == "bundle" else open_checkpoint(path).task).schema


def read_samples(path: Path, data: str | None, *, columns: Columns) -> Dataset | None:
    """Rows without labels, of the kind that a bundle or checkpoint reads; None where no data are named.

    Raises:
        InputError: there is no such bundle or checkpoint, or as `load_dataset`.
    """
    return None if data is None else read_unlabelled(data, columns=columns, schema=schema_of_model(path))


def read_texts(path: Path, sources: Sequence[str], *, columns: Columns) -> list[Dataset]:
    """Rows that a bundle or checkpoint that writes is judged by: texts, prompts with completions, or sources with
    targets; one data set a source.

    Raises:
        InputError: there is no such bundle or checkpoint, or as `load_dataset`.
    """
    schema = schema_of_model(path)
    return [
        load_dataset(source, columns=columns, need_labels=schema == "targets", split="validation", schema=schema)
        for source in sources
    ]


def read_train_and_eval(
    data: str,
    evaluation: str,
    *,
    columns: Columns = Columns(),
    labels: tuple[str, ...] | None = None,
    problem: Problem | None = None,
    need_labels: bool = True,
    schema: str = "text",
    null_answers: bool = True,
    screen: Screen | None = None,
) -> tuple[Dataset, Dataset]:
    """Training and evaluation rows, shown before work begins; those of evaluation must use the labels of training (or
    of the model).

    Args:
        data: training rows, as `load_dataset` takes a source.
        evaluation: evaluation rows.
        columns: which columns to read, and how.
        labels: the labels or tags of a model; None: those of the training rows.
        problem: how labels of texts exclude each other; None: told from them.
        need_labels: refuse rows without a target.
        schema: what a row is, as `Task.schema` names it.
        null_answers: whether the model can say that a question has no answer; if not, such questions are left out where
            bad rows are.
        screen: where to show what was read.

    Raises:
        DataError: as `load_dataset`.
    """
    dataset = load_dataset(
        data, columns=columns, labels=labels, problem=problem, need_labels=need_labels, schema=schema
    )
    known = labels if labels is not None else (dataset.label_names or None)
    same = _as_read(columns, dataset, numbers_of_model=labels is not None or schema == "choices")
    judged = load_dataset(
        evaluation,
        columns=same,
        labels=known,
        problem=problem or dataset.problem,
        need_labels=need_labels,
        split="validation",
        schema=schema,
    )
    if columns.skip_bad_rows and not null_answers:
        dataset, judged = answered(dataset), answered(judged)
    if screen is not None:
        show_rows(screen, dataset, judged)
    warn_of_shared(dataset, judged)
    return dataset, judged


def _as_read(columns: Columns, rows: Dataset, *, numbers_of_model: bool) -> Columns:
    """The same reading for further rows of the same kind: what the first ones told need not be told again."""
    if rows.origin is None or rows.schema in ("words", "answers"):
        return columns
    found = replace(columns, label_format=columns.label_format or rows.origin.label_format)
    if not numbers_of_model or columns.first_label is not None:
        return found
    counted = [(int(name), rows.label_names.index(known)) for name, known in rows.origin.matched if is_whole(name)]
    first = next(
        (first for first in (0, 1) if counted and all(number - first == place for number, place in counted)), None
    )
    return replace(found, first_label=first)


def read_rows_of(
    task: Task, data: str, evaluation: str, *, columns: Columns, screen: Screen | None = None
) -> tuple[Dataset, Dataset]:
    """Training and evaluation rows for a model of this task, shown before work begins; rows without labels will do.

    Raises:
        DataError: as `load_dataset`.
    """
    return read_train_and_eval(
        data,
        evaluation,
        columns=columns,
        labels=_labels(task),
        problem=task.problem if isinstance(task, TextClassification) else None,
        need_labels=False,
        schema=task.schema,
        null_answers=_null_answers(task),
        screen=screen,
    )


def read_judged(
    task: Task, evaluation: str | None, *, columns: Columns, screen: Screen | None = None
) -> Dataset | None:
    """Labelled rows to measure a model of this task on, shown before work begins.

    Raises:
        DataError: as `load_dataset`.
    """
    if evaluation is None:
        return None
    problem: Problem | None = "regression" if task.schema == "text" else None
    rows = load_dataset(
        evaluation,
        columns=columns,
        labels=_labels(task),
        problem=task.problem if isinstance(task, TextClassification) else problem,
        need_labels=task.output in ("classes", "binary") and not task.own_targets,
        split="validation",
        schema=task.schema,
    )
    if columns.skip_bad_rows and not _null_answers(task):
        rows = answered(rows)
    if screen is not None:
        show_rows(screen, rows)
    return rows


def _labels(task: Task) -> tuple[str, ...] | None:
    """The labels or tags of a model; None where its rows have none by name."""
    return (task.labels or None) if task.output in ("classes", "binary") else None


def _null_answers(task: Task) -> bool:
    return not isinstance(task, QuestionAnswering) or task.null_answers


def read_unlabelled(source: str | None, *, columns: Columns = Columns(), schema: str = "text") -> Dataset | None:
    """Rows without targets, such as texts, words, or questions and contexts; a column of targets is left unread.

    Raises:
        DataError: as `load_dataset`.
    """
    if source is None:
        return None
    inputs = Columns(columns.text, columns.text_pair, skip_bad_rows=columns.skip_bad_rows)
    return load_dataset(source, columns=inputs, need_labels=False, read="texts", schema=schema)


def read_calibration(source: str | None, *, columns: Columns, by_label: bool, schema: str = "text") -> Dataset | None:
    """Rows to calibrate on; a column of labels is read only where they are chosen by it.

    Raises:
        DataError: as `load_dataset`.
    """
    if source is not None and by_label:
        return load_dataset(source, columns=columns, need_labels=False, schema=schema)
    return read_unlabelled(source, columns=columns, schema=schema)


def read_budget(
    max_latency: str | None,
    speedup: str | None,
    max_size: str | None,
    max_memory: str | None,
    max_drop: float | None,
    max_first_token: str | None = None,
) -> Budget:
    """A budget from command-line options.

    Raises:
        UsageError: an amount that is none, or that nothing can meet.
    """
    return Budget(
        max_latency_ms=None if max_latency is None else parse_milliseconds(max_latency),
        speedup=None if speedup is None else parse_factor(speedup),
        max_size_mb=None if max_size is None else parse_megabytes(max_size, "--max-size"),
        max_memory_mb=None if max_memory is None else parse_megabytes(max_memory, "--max-memory"),
        max_drop=max_drop,
        max_first_token_ms=None
        if max_first_token is None
        else parse_milliseconds(max_first_token, "--max-first-token"),
    )


def read_settings(model: type[S], *, names: Mapping[str, str] = MappingProxyType({}), **values: Any) -> S:
    """Settings from command-line options.

    Args:
        names: options that are not named after their setting.

    Raises:
        UsageError: an impossible value, named by its option.
    """
    try:
        return model(**values)
    except ValidationError as error:
        first = error.errors()[0]
        setting = str(first["loc"][0])
        option = names.get(setting, "--" + setting.replace("_", "-"))
        raise UsageError(
            f"{option} is {first['input']!r}; {first['msg'][0].lower()}{first['msg'][1:]}.",
            hint="--help lists the options.",
        ) from error
