"""What a model sees: rows of text, words, questions or endings, and their targets where there are any.

Reads CSV, TSV, JSON lines, Parquet, plain text (one text a line), CoNLL files, SQuAD's JSON, and (through `datasets`) a
saved folder or a hub id.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from edgelm.choices import LabelFormat
from edgelm.data.alignment import align
from edgelm.data.answers import read_answers
from edgelm.data.cells import text_of
from edgelm.data.choices import read_choices
from edgelm.data.content import BadRows, Content
from edgelm.data.labels import LabelOptions, Labels, read_labels
from edgelm.data.prompts import read_prompts
from edgelm.data.schemas import SCHEMAS, Found, find_columns, schema_of
from edgelm.data.sources import read_table
from edgelm.data.table import Table
from edgelm.data.targets import find_sides, read_targets
from edgelm.data.words import read_words
from edgelm.errors import DataError, UsageError
from edgelm.limits import door
from edgelm.tasks.task import Problem, Task


@dataclass(frozen=True)
class Columns:
    """Which columns to read, and how to read labels that can be meant in two ways.

    Attributes:
        text: the column of the first input (texts, words, questions); None: guessed by the usual names, as the next
            two are.
        text_pair: the column of the second input (second texts, contexts, endings).
        label: the column of the target (labels, tags, answers).
        label_format: what lists of labels hold: names, indices (counted from 0), or vectors of a 0 or 1 for each label;
            None: told from them.
        first_label: the number of a model's first label, where labels are numbers: -1, 0 or 1; None: told from them.
        missing_label: the label of rows that have none, which are left out; None: told from the labels, if it is a -1.
        skip_bad_rows: leave rows out that cannot be read, such as an answer that is not in its context, and warn of
            them; if not, the first one is an error.
    """

    text: str | None = None
    text_pair: str | None = None
    label: str | None = None
    label_format: LabelFormat | None = None
    first_label: int | None = None
    missing_label: str | None = None
    skip_bad_rows: bool = False


@dataclass(frozen=True)
class Origin:
    """How rows were read.

    Attributes:
        text: the column of the first input.
        text_pair: the column of the second input, or all of them with commas between; None without.
        label: the column of the target; None if none was read.
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

    What a row is depends on the task:

        schema   texts                     pairs               labels
        text     a text                    a second text       class index, tuple of 0/1, or number
        words    a tuple of words, or a    None                a tuple of tag indices, one a word
                 text where there are
                 no tags
        answers  a question                its context         a tuple of (answer, first character in the context),
                                                               empty where the question has no answer
        choices  a text                    a tuple of endings  index of the right ending
        prompts  a text, a prompt, or a    None                a prompt's completion
                 tuple of messages (role,
                 content)
        targets  a source                  None                a tuple of references, the first one to learn

    Attributes:
        source: the path or hub id, as the user gave it.
        texts: the first input of each row.
        pairs: the second input of each row; None where rows have none.
        labels: the target of each row: for texts an index into `label_names` (single-label), a tuple of 0/1
            (multi-label), a float (regression); None in rows that `join` added without one; None for the whole if no
            row has a target.
        label_names: the names of labels or tags, in the order of the logits; letters of endings.
        problem: how the labels of texts exclude each other; None without labels, and for other schemas.
        origin: how they were read; None for rows that were not. Equal rows are equal whatever it is.
        schema: text, words, answers, choices, prompts or targets, as `Task.schema` names it.
    """

    source: str
    texts: tuple[Any, ...]
    pairs: tuple[Any, ...] | None = None
    labels: tuple[Any, ...] | None = None
    label_names: tuple[str, ...] = ()
    problem: Problem | None = None
    origin: Origin | None = field(default=None, compare=False)
    schema: str = "text"

    def __len__(self) -> int:
        return len(self.texts)

    def inputs(self) -> list[Any]:
        """What a model reads of each row: a text or words; or a pair: two texts, question and context, or a text and a
        tuple of endings."""
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
        """The same inputs alone."""
        return replace(self, labels=None, label_names=(), problem=None)

    def join(self, other: Dataset) -> Dataset:
        """These rows, then the inputs of `other`, which count as unlabelled.

        Raises:
            DataError: the rows are of unlike kinds: another schema, pairs of texts and single ones, or another number
                of endings.
        """
        kinds = [rows.kind() for rows in (other, self)]
        if kinds[0] != kinds[1]:
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

    def kind(self) -> str:
        """What the rows are, for a message."""
        if self.schema == "choices":
            return f"texts with {len((self.pairs or ((),))[0])} endings"
        if self.schema != "text":
            return SCHEMAS[self.schema].what
        return "single texts" if self.pairs is None else "pairs of texts"

    def for_task(self, task: Task, *, first_label: int | None = None) -> Dataset:
        """The same rows, with labels as a model of this task has them: labels and tags by name, in the order of its
        logits; answers as they are.

        Args:
            task: of the model.
            first_label: the number of its first label, where labels are numbers; None: as it was said when they were
                read, or told from them.

        Raises:
            DataError: a label or tag that the task does not know, labels of another kind, numbers that can be counted
                from 0 and from 1, questions without an answer for a model that always gives one, or more or fewer
                endings than the model was made for.
        """
        return align(self, task, first_label=first_label)

    def fingerprint(self) -> str:
        """SHA-256 over every row: equal exactly when the content is equal."""
        content: list[Any] = [self.texts, self.pairs, self.labels, self.label_names, self.problem]
        content += [] if self.schema == "text" else [self.schema]
        return hashlib.sha256(json.dumps(content, ensure_ascii=True).encode()).hexdigest()


def as_text(sample: Any) -> str:
    """One text of a sample: words and endings, and the parts of a pair, with blanks between them."""
    return sample if isinstance(sample, str) else " ".join(as_text(part) for part in sample)


@door(DataError, "Look at the rows; docs/how-to/tasks.md shows how they are written for each task.")
def load_dataset(
    source: str | Path,
    *,
    columns: Columns = Columns(),
    labels: Sequence[str] | None = None,
    problem: Problem | None = None,
    need_labels: bool = True,
    read: Literal["all", "texts"] = "all",
    split: str = "train",
    schema: str = "text",
) -> Dataset:
    """Read rows for a task.

    Args:
        source: a file, a folder that `datasets` saved, or a hub id; the last two with `@split` after them, a hub id
            with `:config` before that.
        columns: which columns to read; None in it means: guess.
        labels: the known label names or tags, such as a model's; None: they are taken from the rows.
        problem: how labels of texts exclude each other; None: guessed from their type.
        need_labels: refuse rows without a target.
        read: "texts" leaves the column of the target unread, whatever is in it.
        split: which split, where the source has several and names none: "train" or "validation" by any of their usual
            names, or exactly another.
        schema: what a row is, as `Task.schema` names it.

    Raises:
        DataError: missing or empty source, missing columns, rows of a wrong type, labels outside `labels`.
        UsageError: an unknown schema, or options of labels for rows that have none.
    """
    wanted = schema_of(schema)
    _check_options(schema, columns, problem)
    table = read_table(source, split=split, documents=schema == "prompts")
    text, label = columns.text, columns.label
    if schema == "targets":
        table, text, label = find_sides(table, text, label)
    found = find_columns(table, wanted, text=text, pair=columns.text_pair, label=label)
    if found.label is None and need_labels and read == "all":
        what = "labels" if schema in ("text", "choices") else str(getattr(wanted.column("label"), "what", "labels"))
        raise DataError(
            f"{source}: no column with {what}; there are: {', '.join(table.names)}.",
            hint="Name it with --label-column.",
        )
    found = replace(found, label=None) if read == "texts" else found
    origin = Origin(found.text, ", ".join(found.pair) or None, found.label, first_label=columns.first_label)
    if schema == "text":
        return _read_texts(table, found, columns, origin, labels=labels, problem=problem, need_labels=need_labels)
    content = _read_content(table, schema, found, columns, labels)
    return Dataset(
        str(source),
        content.texts,
        content.pairs,
        content.labels,
        content.label_names,
        origin=replace(origin, matched=tuple(content.matched.items())),
        schema=schema,
    )


def _check_options(schema: str, columns: Columns, problem: Problem | None) -> None:
    """Refuse what says how labels of texts are read where rows have none."""
    names = ("--problem", "--label-format", "--first-label", "--missing-label")
    given = dict(zip(names, (problem, columns.label_format, columns.first_label, columns.missing_label), strict=True))
    used = {"text": tuple(given), "choices": ("--first-label", "--missing-label")}.get(schema, ())
    wrong = next((name for name, value in given.items() if value is not None and name not in used), None)
    if wrong is not None:
        raise UsageError(f"{wrong} says nothing about rows of {schema}.", hint=f"Leave {wrong} out.")


def _read_content(table: Table, schema: str, found: Found, columns: Columns, labels: Sequence[str] | None) -> Content:
    """The rows of a task whose rows are no texts with labels."""
    if schema == "words":
        return read_words(table, found, labels=labels, skip_bad_rows=columns.skip_bad_rows)
    if schema == "answers":
        return read_answers(table, found, skip_bad_rows=columns.skip_bad_rows)
    if schema in ("prompts", "targets"):
        read = read_prompts if schema == "prompts" else read_targets
        return read(table, found, skip_bad_rows=columns.skip_bad_rows)
    return read_choices(
        table,
        found,
        first=columns.first_label,
        missing=columns.missing_label,
        skip_bad_rows=columns.skip_bad_rows,
    )


def _read_texts(
    table: Table,
    found: Found,
    columns: Columns,
    origin: Origin,
    *,
    labels: Sequence[str] | None,
    problem: Problem | None,
    need_labels: bool,
) -> Dataset:
    """Texts with labels."""
    bad = BadRows(table, skip=columns.skip_bad_rows)
    texts = bad.read(range(len(table.rows)), lambda row: _text(table, row, found.text, "--text-column"))
    pairs = bad.read(texts, lambda row: _text(table, row, found.pair[0], "--pair-column")) if found.pair else None
    bad.tell()
    rows = tuple(texts if pairs is None else pairs)
    table = table if len(rows) == len(table.rows) else table.take(rows)
    if not any(texts[row].strip() for row in rows):
        raise DataError(
            f"{table.source}: every text in column {found.text!r} is empty.",
            hint="Give the column that holds the text with --text-column.",
        )
    dataset = Dataset(
        table.source,
        tuple(texts[row] for row in rows),
        None if pairs is None else tuple(pairs.values()),
        origin=origin,
    )
    if found.label is None:
        return dataset
    options = LabelOptions(columns.label_format, columns.first_label, columns.missing_label)
    read = read_labels(table, found.label, labels=labels, problem=problem, options=options)
    _check_classes(table.source, read, found.label, need_two=need_labels and labels is None)
    origin = replace(origin, label_format=read.format, matched=tuple(read.matched.items()))
    dataset = dataset if len(read.rows) == len(dataset) else dataset.take(read.rows)
    return replace(dataset, labels=read.values, label_names=read.names, problem=read.problem, origin=origin)


def _text(table: Table, row: int, name: str, option: str) -> str:
    hint = f"Correct the row, or choose another column with {option}."
    return text_of(table.rows[row].get(name), table.place(row), f"column {name!r}", hint=hint)


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
