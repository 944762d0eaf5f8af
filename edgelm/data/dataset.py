"""What a model sees: rows of text, and labels where there are any.

Reads CSV, TSV, JSON lines, Parquet, plain text (one text a line), and (through `datasets`) a saved folder or a hub id.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from edgelm.data.label_lists import LabelFormat
from edgelm.data.label_matching import match_labels, shorten
from edgelm.data.labels import LabelOptions, Labels, read_labels
from edgelm.data.sources import read_table
from edgelm.data.table import Table, find_columns
from edgelm.errors import DataError
from edgelm.tasks.task import Problem, Task
from edgelm.tasks.text import SentenceEmbedding, TextClassification


@dataclass(frozen=True)
class Columns:
    """Which columns to read, and how to read labels that can be meant in two ways.

    Attributes:
        text: the column of texts; None: guessed by the usual names, as the next two are.
        text_pair: the column of second texts.
        label: the column of labels.
        label_format: what lists of labels hold: names, indices (counted from 0), or vectors of a 0 or 1 for each label;
            None: told from them.
        first_label: the number of a model's first label, where labels are numbers: -1, 0 or 1; None: told from them.
        missing_label: the label of rows that have none, which are left out; None: told from the labels, if it is a -1.
    """

    text: str | None = None
    text_pair: str | None = None
    label: str | None = None
    label_format: LabelFormat | None = None
    first_label: int | None = None
    missing_label: str | None = None


@dataclass(frozen=True)
class Origin:
    """How rows were read.

    Attributes:
        text: the column of texts.
        text_pair: the column of second texts; None without.
        label: the column of labels; None if none was read.
        label_format: what lists of labels held; None without lists.
        first_label: the number of a model's first label, as it was said; None if it was not.
        matched: the label of the model that each label stands for which the data writes otherwise.
    """

    text: str
    text_pair: str | None = None
    label: str | None = None
    label_format: LabelFormat | None = None
    first_label: int | None = None
    matched: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Dataset:
    """Rows in the order of the source.

    Attributes:
        source: the path or hub id, as the user gave it.
        texts: one text a row.
        pairs: the second text of each row, or None.
        labels: per row an index into `label_names` (single-label), a tuple of 0/1 (multi-label), a float (regression),
            or, in rows that `join` added without one, None; None for the whole if no row has a label.
        label_names: the names, in the order of the logits.
        problem: how labels exclude each other; None without labels.
        origin: how they were read; None for rows that were not. Equal rows are equal whatever it is.
    """

    source: str
    texts: tuple[str, ...]
    pairs: tuple[str, ...] | None = None
    labels: tuple[Any, ...] | None = None
    label_names: tuple[str, ...] = ()
    problem: Problem | None = None
    origin: Origin | None = field(default=None, compare=False)
    schema: str = "text"

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
            raise DataError(
                f"{other.source}: {kinds[0]}, but {self.source} has {kinds[1]}.",
                hint="Both need the same columns of text.",
            )
        return replace(
            self,
            texts=self.texts + other.texts,
            pairs=None if self.pairs is None else self.pairs + (other.pairs or ()),
            labels=None if self.labels is None else self.labels + (None,) * len(other),
        )

    def for_task(self, task: Task, *, first_label: int | None = None) -> Dataset:
        """The same rows, with labels as a model of this task has them: by name, in the order of its logits.

        Args:
            task: of the model.
            first_label: the number of its first label, where labels are numbers; None: as it was said when they were
                read, or told from them.

        Raises:
            DataError: a label that the task does not know, labels of another kind, or numbers that can be counted from
                0 and from 1.
        """
        if self.labels is None:
            return self
        if isinstance(task, SentenceEmbedding) and self.pairs is None:
            return self.without_labels()  # a label says how alike two texts are
        if task.metric == "spearman":
            return self._with_numbers(task)
        if not isinstance(task, TextClassification):
            return self
        if self.problem != task.problem:
            raise DataError(
                f"{self.source}: the labels are {self.problem}, the model's are {task.problem}.",
                hint="Check the column with --label-column.",
            )
        if self.label_names == task.labels:
            return self
        said = self.origin.first_label if first_label is None and self.origin is not None else first_label
        places = match_labels(self.label_names, task.labels, first=said, source=self.source)
        place = []
        for name in self.label_names:
            if name not in places:
                raise DataError(
                    f"{self.source}: label {name!r} is none of the model's.",
                    hint=f"Known labels: {shorten(task.labels)}.",
                )
            place.append(places[name])
        if task.problem == "single-label":
            return replace(self, labels=tuple(place[label] for label in self.labels), label_names=task.labels)
        rows = [{place[index] for index, value in enumerate(row) if value} for row in self.labels]
        labels = tuple(tuple(int(index in row) for index in range(len(task.labels))) for row in rows)
        return replace(self, labels=labels, label_names=task.labels)

    def _with_numbers(self, task: Task) -> Dataset:
        if isinstance(task, TextClassification) and len(task.labels) > 1:
            raise DataError(
                f"{self.source}: the labels are one number a row, the model gives {len(task.labels)} "
                f"({shorten(task.labels)}).",
                hint="Give texts alone; edgelm judges regressions of one value.",
            )
        if self.problem == "regression":
            return self
        try:
            values = [float(name) for name in self.label_names]
            labels = tuple(values[label] for label in self.labels or ())
        except (TypeError, ValueError) as error:
            raise DataError(
                f"{self.source}: the labels are not numbers, as the model needs them.",
                hint="Check the column with --label-column.",
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
        source: a file, a folder that `datasets` saved, or a hub id; the last two with `@split` after them, a hub id
            with `:config` before that.
        columns: which columns to read; None in it means: guess.
        labels: the known label names, such as a model's; None: they are taken from the rows.
        problem: how labels exclude each other; None: guessed from their type.
        need_labels: refuse rows without labels.
        read: "texts" leaves a column of labels unread, whatever is in it.
        split: which split, where the source has several and names none: "train" or "validation" by any of their usual
            names, or exactly another.

    Raises:
        DataError: missing or empty source, missing columns, rows of a wrong type, labels outside `labels`.
    """
    table = read_table(source, split=split)
    text, pair, label = find_columns(table, columns.text, columns.text_pair, columns.label)
    texts = _texts(table, text, "--text-column")
    pairs = None if pair is None else _texts(table, pair, "--pair-column")
    if not any(value.strip() for value in texts):
        raise DataError(
            f"{source}: every text in column {text!r} is empty.",
            hint="Give the column that holds the text with --text-column.",
        )
    if label is None or read == "texts":
        if need_labels and read == "all":
            raise DataError(
                f"{source}: no column with labels; there are: {', '.join(table.names)}.",
                hint="Name it with --label-column.",
            )
        return Dataset(str(source), texts, pairs, origin=Origin(text, pair))
    options = LabelOptions(columns.label_format, columns.first_label, columns.missing_label)
    found = read_labels(table, label, labels=labels, problem=problem, options=options)
    _check_classes(str(source), found, label, need_two=need_labels and labels is None)
    origin = Origin(text, pair, label, found.format, columns.first_label, tuple(found.matched.items()))
    rows = Dataset(str(source), texts, pairs, origin=origin)
    rows = rows if len(found.rows) == len(rows) else rows.take(found.rows)
    return replace(rows, labels=found.values, label_names=found.names, problem=found.problem)


def _check_classes(source: str, found: Labels, label: str, *, need_two: bool) -> None:
    if not found.rows or not found.names:
        raise DataError(
            f"{source}: no row has a label in column {label!r}.",
            hint="Give rows with labels, or another column with --label-column.",
        )
    if need_two and found.problem == "single-label" and len(set(found.values)) < 2:
        raise DataError(
            f"{source}: all rows have the label {found.names[found.values[0]]!r}; a classifier needs at least two "
            "classes.",
            hint="Check the column with --label-column.",
        )


def _texts(table: Table, name: str, option: str) -> tuple[str, ...]:
    texts = []
    for row, value in enumerate(table.column(name)):
        if not isinstance(value, str):
            raise DataError(
                f"{table.place(row)}: column {name!r} is {value!r:.60}; expected text.",
                hint=f"Correct the row, or choose another column with {option}.",
            )
        if any("\ud800" <= char <= "\udfff" for char in value):
            what = f"{value.encode('unicode_escape', 'surrogatepass').decode('ascii')!r:.60}"
            raise DataError(
                f"{table.place(row)}: column {name!r} holds half of a UTF-16 character: {what}.",
                hint="Mend or remove the row.",
            )
        texts.append(value)
    return tuple(texts)
