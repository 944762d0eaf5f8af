"""What was read of rows: labels with counts, the first texts, and rows that two sets share."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgelm.data.dataset import Dataset, as_text
from edgelm.data.schemas import SCHEMAS
from edgelm.errors import DataWarning

_SAMPLES = 3
_WRITTEN = ("prompts", "targets")  # their targets are texts, not classes


@dataclass(frozen=True)
class Reading:
    """What was read of a source.

    Attributes:
        source: as the user named it.
        rows: how many were read.
        schema: what a row is, as `Task.schema` names it.
        columns: the columns of the inputs and the target, by what they hold, such as `text` and `label`.
        problem: how labels of texts exclude each other; None without labels.
        label_format: what lists of labels held; None without lists.
        labels: how many rows have each label, in the order of the logits; of words how many words have each tag, of
            questions how many are answered and unanswered. Empty for regression and without labels.
        matched: the label of the model that each label stands for which the data writes otherwise.
        samples: the first rows: inputs, and targets by name, under the names of `columns`.
    """

    source: str
    rows: int
    schema: str
    columns: dict[str, str]
    problem: str | None
    label_format: str | None
    labels: dict[str, int]
    matched: dict[str, str]
    samples: tuple[dict[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"samples": list(self.samples)}


def describe(rows: Dataset) -> Reading:
    """What was read."""
    origin = rows.origin
    names = () if origin is None else (origin.text, origin.text_pair, origin.label)
    found = dict(zip(_whats(rows), names, strict=False))
    return Reading(
        source=rows.source,
        rows=len(rows),
        schema=rows.schema,
        columns={what: name for what, name in found.items() if name is not None},
        problem=rows.problem,
        label_format=None if origin is None else origin.label_format,
        labels=_counts(rows),
        matched={} if origin is None else dict(origin.matched),
        samples=tuple(_sample(rows, row) for row in range(min(_SAMPLES, len(rows)))),
    )


def _whats(rows: Dataset) -> tuple[str, str, str]:
    """What first input, second input and target are called."""
    columns = {column.role: column.what for column in SCHEMAS[rows.schema].columns}
    return columns["text"], columns.get("pair", "second text"), columns["label"]


def _counts(rows: Dataset) -> dict[str, int]:
    if rows.problem == "regression" or rows.labels is None or rows.schema in _WRITTEN:
        return {}
    if rows.schema == "answers":
        known = [bool(answers) for answers in rows.labels if answers is not None]
        return {"answered": sum(known), "unanswered": len(known) - sum(known)}
    counts = Counter(name for label in rows.labels for name in _names(rows, label))
    return {name: counts[name] for name in rows.label_names or sorted(counts)}


def count_shared(rows: Dataset, others: Dataset) -> int:
    """How many of `rows` have the same inputs (text, words, both texts, question and context, text and endings) as one
    of `others`, whatever the white space."""
    known = set(_spaceless(others))
    return sum(key in known for key in _spaceless(rows))


def warn_of_shared(trained: Dataset, judged: Dataset, *, option: str = "--data") -> None:
    """Warn of rows that are learned from and judged by.

    Args:
        trained: rows that are learned from.
        judged: rows that figures are taken of.
        option: what the user named the first ones by.
    """
    if trained.source == judged.source or (
        _is_path(trained.source) and _is_path(judged.source) and Path(trained.source).samefile(judged.source)
    ):
        text = (
            f"{option} and --eval are the same rows ({judged.source}): every figure on them is of rows that were "
            "trained on."
        )
        warnings.warn(DataWarning(text), stacklevel=2)
    elif shared := count_shared(judged, trained):
        text = (
            f"{shared} of {len(judged)} rows ({shared / len(judged):.1%}) of {judged.source} are in {trained.source} "
            "too."
        )
        warnings.warn(DataWarning(f"{text} Figures on them are of rows that were trained on."), stacklevel=2)


def _is_path(source: str) -> bool:
    return Path(source).exists()


def _spaceless(rows: Dataset) -> Iterator[tuple[str, ...]]:
    for text, second in zip(rows.texts, rows.pairs or ((),) * len(rows), strict=True):
        first = as_text(text)  # words are the text that they make up
        parts = (first, second) if isinstance(second, str) else (first, *second)
        yield tuple(" ".join(part.split()) for part in parts)


def _sample(rows: Dataset, row: int) -> dict[str, Any]:
    first, second, target = _whats(rows)
    text = rows.texts[row]
    sample: dict[str, Any] = {first: text if isinstance(text, str) else list(text)}
    if rows.schema == "prompts" and not isinstance(text, str):
        sample[first] = [f"{role}: {content}" for role, content in text]
    if rows.pairs is not None:
        pair = rows.pairs[row]
        sample[second] = pair if isinstance(pair, str) else list(pair)
    if rows.labels is not None and rows.labels[row] is not None:
        label = rows.labels[row]
        if rows.schema == "words":
            sample[target] = _names(rows, label)
        elif rows.schema == "answers":
            sample[target] = [answer for answer, _ in label]
        elif rows.schema in _WRITTEN:
            sample[target] = label if isinstance(label, str) else list(label)
        else:
            sample[target] = label if rows.problem == "regression" else ", ".join(_names(rows, label))
    return sample


def _names(rows: Dataset, label: Any) -> list[str]:
    """The names of a row's labels, or of a tag for each word."""
    if label is None:
        return []
    if rows.schema == "words":
        return [rows.label_names[tag] for tag in label]
    if isinstance(label, tuple):
        return [rows.label_names[place] for place, value in enumerate(label) if value]
    return [rows.label_names[label] if rows.label_names else str(label)]
