"""What several commands read before their work begins: data sets, settings, lengths of time."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from edgelm.budget import Budget, parse_factor, parse_megabytes, parse_milliseconds
from edgelm.cli.console import Screen
from edgelm.cli.rows import show_rows
from edgelm.data.dataset import Columns, Dataset, load_dataset
from edgelm.data.label_lists import LabelFormat
from edgelm.data.label_matching import is_whole
from edgelm.data.reading import warn_of_shared
from edgelm.errors import UsageError
from edgelm.tasks.task import Problem, Task
from edgelm.tasks.text import TextClassification

S = TypeVar("S", bound=BaseModel)


def read_columns(
    text: str | None,
    pair: str | None,
    label: str | None,
    *,
    label_format: str | None = None,
    first_label: int | None = None,
    missing_label: str | None = None,
) -> Columns:
    """Which columns to read, and how, from command-line options.

    Raises:
        UsageError: an unknown format of labels.
    """
    chosen = _choose("--label-format", label_format, get_args(LabelFormat))
    return Columns(text, pair, label, label_format=chosen, first_label=first_label, missing_label=missing_label)


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


def read_train_and_eval(
    data: str,
    evaluation: str,
    *,
    columns: Columns = Columns(),
    labels: tuple[str, ...] | None = None,
    problem: Problem | None = None,
    need_labels: bool = True,
    screen: Screen | None = None,
) -> tuple[Dataset, Dataset]:
    """Training and evaluation rows, shown before work begins; those of evaluation must use the labels of training (or
    of the model).

    Raises:
        DataError: as `load_dataset`.
    """
    dataset = load_dataset(data, columns=columns, labels=labels, problem=problem, need_labels=need_labels)
    known = labels if labels is not None else (dataset.label_names or None)
    same = _as_read(columns, dataset, numbers_of_model=labels is not None)
    judged = load_dataset(
        evaluation,
        columns=same,
        labels=known,
        problem=problem or dataset.problem,
        need_labels=need_labels,
        split="validation",
    )
    if screen is not None:
        show_rows(screen, dataset, judged)
    warn_of_shared(dataset, judged)
    return dataset, judged


def _as_read(columns: Columns, rows: Dataset, *, numbers_of_model: bool) -> Columns:
    """The same reading for further rows of the same kind: what the first ones told need not be told again."""
    if rows.origin is None:
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
    labels = task.labels if task.output in ("classes", "binary") else None
    problem = task.problem if isinstance(task, TextClassification) else None
    return read_train_and_eval(
        data, evaluation, columns=columns, labels=labels, problem=problem, need_labels=False, screen=screen
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
    classes = task.output in ("classes", "binary")
    problem = task.problem if isinstance(task, TextClassification) else "regression"
    labels = task.labels if classes else None
    rows = load_dataset(
        evaluation, columns=columns, labels=labels, problem=problem, need_labels=classes, split="validation"
    )
    if screen is not None:
        show_rows(screen, rows)
    return rows


def read_unlabelled(source: str | None, *, text: str | None = None, pair: str | None = None) -> Dataset | None:
    """Texts without labels; a column of labels is left unread.

    Raises:
        DataError: as `load_dataset`.
    """
    return (
        None
        if source is None
        else load_dataset(source, columns=Columns(text=text, text_pair=pair), need_labels=False, read="texts")
    )


def read_calibration(source: str | None, *, columns: Columns, by_label: bool) -> Dataset | None:
    """Texts to calibrate on; a column of labels is read only where they are chosen by it.

    Raises:
        DataError: as `load_dataset`.
    """
    if source is not None and by_label:
        return load_dataset(source, columns=columns, need_labels=False)
    return read_unlabelled(source, text=columns.text, pair=columns.text_pair)


def read_budget(
    max_latency: str | None, speedup: str | None, max_size: str | None, max_memory: str | None, max_drop: float | None
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
    )


def read_settings(model: type[S], **values: Any) -> S:
    """Settings from command-line options.

    Raises:
        UsageError: an impossible value, named by its option.
    """
    try:
        return model(**values)
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + str(first["loc"][0]).replace("_", "-")
        raise UsageError(
            f"{option} is {first['input']!r}; {first['msg'][0].lower()}{first['msg'][1:]}.",
            hint="--help lists the options.",
        ) from error


def read_duration(text: str, option: str = "--time-limit") -> float:
    """Seconds of a length of time: `90s`, `45m`, `1h30m`, `1.5h`, `2d`, or seconds as a plain number.

    Raises:
        UsageError: it is none, or no time at all.
    """
    units = {"d": 86400, "h": 3600, "m": 60, "s": 1}
    number = r"(\d+(?:\.\d+)?)"
    parts = re.fullmatch("".join(rf"(?:{number}{unit})?" for unit in units), text.strip().lower())
    plain = re.fullmatch(number, text.strip())
    seconds = 0.0
    if plain is not None:
        seconds = float(plain[1])
    elif parts is not None:
        seconds = sum(float(value) * size for value, size in zip(parts.groups(), units.values(), strict=True) if value)
    if not 0 < seconds < math.inf:
        raise UsageError(
            f"{option} is {text!r}; expected a length of time.",
            hint=f"For instance: {option} 45m, 1h30m, 90s, or seconds.",
        )
    return seconds
