"""What was read of rows: labels with counts, the first texts, and rows that two sets share."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgelm.data.dataset import Dataset
from edgelm.errors import DataWarning

_SAMPLES = 3


@dataclass(frozen=True)
class Reading:
    """What was read of a source.

    Attributes:
        source: as the user named it.
        rows: how many were read.
        columns: the columns of text, second text and label, by what they hold.
        problem: how labels exclude each other; None without labels.
        label_format: what lists of labels held; None without lists.
        labels: how many rows have each label, in the order of the logits; empty for regression and without labels.
        matched: the label of the model that each label stands for which the data writes otherwise.
        samples: the first rows: texts, and labels by name.
    """

    source: str
    rows: int
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
    found = {} if origin is None else {"text": origin.text, "second text": origin.text_pair, "label": origin.label}
    counts = (
        Counter(name for label in rows.labels or () for name in _names(rows, label))
        if rows.problem != "regression"
        else Counter()
    )
    return Reading(
        source=rows.source,
        rows=len(rows),
        columns={what: name for what, name in found.items() if name is not None},
        problem=rows.problem,
        label_format=None if origin is None else origin.label_format,
        labels={name: counts[name] for name in rows.label_names} if rows.problem != "regression" else {},
        matched={} if origin is None else dict(origin.matched),
        samples=tuple(_sample(rows, row) for row in range(min(_SAMPLES, len(rows)))),
    )


def count_shared(rows: Dataset, others: Dataset) -> int:
    """How many of `rows` have the same text, or pair of texts, as one of `others`, whatever the white space."""
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
    for text in rows.inputs():
        yield tuple(" ".join(part.split()) for part in ((text,) if isinstance(text, str) else text))


def _sample(rows: Dataset, row: int) -> dict[str, Any]:
    sample: dict[str, Any] = {"text": rows.texts[row]}
    if rows.pairs is not None:
        sample["second text"] = rows.pairs[row]
    if rows.labels is not None and rows.labels[row] is not None:
        label = rows.labels[row]
        sample["label"] = label if rows.problem == "regression" else ", ".join(_names(rows, label))
    return sample


def _names(rows: Dataset, label: Any) -> list[str]:
    """The names of a row's labels."""
    if label is None:
        return []
    if isinstance(label, tuple):
        return [rows.label_names[place] for place, value in enumerate(label) if value]
    return [rows.label_names[label]]
