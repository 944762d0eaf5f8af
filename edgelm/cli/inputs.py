"""What several commands read before their work begins: data sets, settings, lengths of time."""

from __future__ import annotations

import math
import re
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from edgelm.budget import Budget, parse_factor, parse_megabytes, parse_milliseconds
from edgelm.dataset import Columns, Dataset, load_dataset
from edgelm.errors import UsageError
from edgelm.task import Task

S = TypeVar("S", bound=BaseModel)


def read_train_and_eval(
    data: str,
    evaluation: str,
    *,
    text: str | None = None,
    pair: str | None = None,
    label: str | None = None,
    labels: tuple[str, ...] | None = None,
    problem: Any = None,
    need_labels: bool = True,
) -> tuple[Dataset, Dataset]:
    """Training and evaluation rows; the evaluation rows must use the labels of the training rows (or of the model).

    Raises:
        DataError: as `load_dataset`.
    """
    columns = Columns(text=text, text_pair=pair, label=label)
    dataset = load_dataset(data, columns=columns, labels=labels, problem=problem, need_labels=need_labels)
    known = labels if labels is not None else (dataset.label_names or None)
    judged = load_dataset(evaluation, columns=columns, labels=known, problem=problem or dataset.problem, need_labels=need_labels, split="validation")
    return dataset, judged


def read_rows_of(task: Task, data: str, evaluation: str, *, text: str | None, pair: str | None, label: str | None) -> tuple[Dataset, Dataset]:
    """Training and evaluation rows for a model of this task; rows without labels will do.

    Raises:
        DataError: as `load_dataset`.
    """
    classify = task.kind == "text-classification"
    labels = task.labels if classify and task.problem != "regression" else None
    problem = task.problem if classify else None
    return read_train_and_eval(data, evaluation, text=text, pair=pair, label=label, labels=labels, problem=problem, need_labels=False)


def read_unlabelled(source: str | None, *, text: str | None = None, pair: str | None = None) -> Dataset | None:
    """Texts without labels; a column of labels is left unread.

    Raises:
        DataError: as `load_dataset`.
    """
    return None if source is None else load_dataset(source, columns=Columns(text=text, text_pair=pair), need_labels=False, read="texts")


def read_budget(max_latency: str | None, speedup: str | None, max_size: str | None, max_memory: str | None, max_drop: float | None) -> Budget:
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
        raise UsageError(f"{option} is {first['input']!r}; {first['msg'][0].lower()}{first['msg'][1:]}.", hint="--help lists the options.") from error


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
        raise UsageError(f"{option} is {text!r}; expected a length of time.", hint=f"For instance: {option} 45m, 1h30m, 90s, or seconds.")
    return seconds
