"""What a model sees: rows of text, and labels where there are any.

Reads CSV, TSV, JSON lines, Parquet, and (through `datasets`) a saved folder or a hub id.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from edgelm._labels import read_labels
from edgelm._tables import Table, find_columns, read_table
from edgelm.errors import DataError
from edgelm.task import Problem, Task


@dataclass(frozen=True)
class Columns:
    """Which columns to read; None means: guess by the usual names."""

    text: str | None = None
    text_pair: str | None = None
    label: str | None = None


@dataclass(frozen=True)
class Dataset:
    """Rows in the order of the source.

    Attributes:
        source: the path or hub id, as the user gave it.
        texts: one text a row.
        pairs: the second text of each row, or None.
        labels: per row an index into `label_names` (single-label), a tuple of 0/1 (multi-label), a float (regression), or, in rows
            that `join` added without one, None; None for the whole if no row has a label.
        label_names: the names, in the order of the logits.
        problem: how labels exclude each other; None without labels.
    """

    source: str
    texts: tuple[str, ...]
    pairs: tuple[str, ...] | None = None
    labels: tuple[Any, ...] | None = None
    label_names: tuple[str, ...] = ()
    problem: Problem | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def inputs(self) -> list[str] | list[tuple[str, str]]:
        """What a tokenizer takes: texts, or pairs of texts."""
        if self.pairs is None:
            return list(self.texts)
        return list(zip(self.texts, self.pairs, strict=True))

    def take(self, indices: Sequence[int]) -> Dataset:
        """The rows at these indices."""

        def pick(values: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
            return None if values is None else tuple(values[index] for index in indices)

        return replace(self, texts=pick(self.texts) or (), pairs=pick(self.pairs), labels=pick(self.labels))

    def sample(self, count: int, *, seed: int = 0) -> Dataset:
        """`count` rows drawn without replacement by `seed` (all rows, in order, if there are fewer)."""
        if count >= len(self):
            return self
        return self.take(sorted(random.Random(seed).sample(range(len(self)), count)))

    def without_labels(self) -> Dataset:
        """The same texts alone."""
        return replace(self, labels=None, label_names=(), problem=None)

    def join(self, other: Dataset) -> Dataset:
        """These rows, then the texts of `other`, which count as unlabelled.

        Raises:
            DataError: one has pairs of texts, the other single ones.
        """
        if (self.pairs is None) != (other.pairs is None):
            kinds = [("single texts" if rows.pairs is None else "pairs of texts") for rows in (other, self)]
            raise DataError(f"{other.source}: {kinds[0]}, but {self.source} has {kinds[1]}.", hint="Both need the same columns of text.")
        return replace(
            self,
            texts=self.texts + other.texts,
            pairs=None if self.pairs is None else self.pairs + (other.pairs or ()),
            labels=None if self.labels is None else self.labels + (None,) * len(other),
        )

    def for_task(self, task: Task) -> Dataset:
        """The same rows, with labels as a model of this task has them: by name, in the order of its logits.

        Raises:
            DataError: a label that the task does not know, or labels of another kind.
        """
        if self.labels is None:
            return self
        if task.kind == "sentence-embedding" and self.pairs is None:
            return self.without_labels()  # a label says how alike two texts are
        if task.metric == "spearman":
            return self._with_numbers()
        if self.problem != task.problem:
            raise DataError(
                f"{self.source}: the labels are {self.problem}, the model's are {task.problem}.", hint="Check the column with --label-column."
            )
        if self.label_names == task.labels:
            return self
        known = ", ".join(task.labels[:10]) + (", ..." if len(task.labels) > 10 else "")
        by_number = not set(self.label_names) & set(task.labels)  # plain class indices, in the order of the logits
        place = []
        for name in self.label_names:
            if name in task.labels:
                place.append(task.labels.index(name))
            elif by_number and name.isdigit() and int(name) < len(task.labels):
                place.append(int(name))
            else:
                raise DataError(f"{self.source}: label {name!r} is none of the model's.", hint=f"Known labels: {known}.")
        if task.problem == "single-label":
            return replace(self, labels=tuple(place[label] for label in self.labels), label_names=task.labels)
        rows = [{place[index] for index, value in enumerate(row) if value} for row in self.labels]
        labels = tuple(tuple(int(index in row) for index in range(len(task.labels))) for row in rows)
        return replace(self, labels=labels, label_names=task.labels)

    def _with_numbers(self) -> Dataset:
        if self.problem == "regression":
            return self
        try:
            values = [float(name) for name in self.label_names]
            labels = tuple(values[label] for label in self.labels or ())
        except (TypeError, ValueError) as error:
            raise DataError(
                f"{self.source}: the labels are not numbers, as the model needs them.", hint="Check the column with --label-column."
            ) from error
        return replace(self, labels=labels, label_names=("score",), problem="regression")

    def fingerprint(self) -> str:
        """SHA-256 over every row: equal exactly when the content is equal."""
        content = [self.texts, self.pairs, self.labels, self.label_names, self.problem]
        return hashlib.sha256(json.dumps(content, ensure_ascii=True).encode()).hexdigest()


def load_dataset(
    source: str | Path,
    *,
    columns: Columns = Columns(),
    labels: Sequence[str] | None = None,
    problem: Problem | None = None,
    need_labels: bool = True,
    read: Literal["all", "texts"] = "all",
    split: str = "train",
) -> Dataset:
    """Read rows of text.

    Args:
        source: a file, a folder that `datasets` saved, or a hub id.
        columns: which columns to read; None in it means: guess.
        labels: the known label names, such as a model's; None: they are taken from the rows.
        problem: how labels exclude each other; None: guessed from their type.
        need_labels: refuse rows without labels.
        read: "texts" leaves a column of labels unread, whatever is in it.
        split: which split of a hub data set.

    Raises:
        DataError: missing or empty source, missing columns, rows of a wrong type, labels outside `labels`.
    """
    table = read_table(source, split=split)
    text, pair, label = find_columns(table, columns.text, columns.text_pair, columns.label)
    texts = _texts(table, text, "--text-column")
    pairs = None if pair is None else _texts(table, pair, "--pair-column")
    if not any(value.strip() for value in texts):
        raise DataError(f"{source}: every text in column {text!r} is empty.", hint="Give the column that holds the text with --text-column.")
    if label is None or read == "texts":
        if need_labels and read == "all":
            raise DataError(f"{source}: no column with labels; there are: {', '.join(table.names)}.", hint="Name it with --label-column.")
        return Dataset(str(source), texts, pairs)
    values, names, found = read_labels(table, label, labels=labels, problem=problem)
    if need_labels and labels is None and found == "single-label" and len(set(values)) < 2:
        raise DataError(
            f"{source}: all rows have the label {names[values[0]]!r}; a classifier needs at least two classes.",
            hint="Check the column with --label-column.",
        )
    return Dataset(str(source), texts, pairs, values, names, found)


def _texts(table: Table, name: str, option: str) -> tuple[str, ...]:
    texts = []
    for row, value in enumerate(table.column(name)):
        if not isinstance(value, str):
            raise DataError(
                f"{table.place(row)}: column {name!r} is {value!r:.60}; expected text.", hint=f"Mend the row, or choose another column with {option}."
            )
        texts.append(value)
    return tuple(texts)
