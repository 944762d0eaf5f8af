"""Rows by column name, and which columns hold the text and the label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgelm.errors import DataError

_TEXT_NAMES = (
    "text",
    "sentence",
    "content",
    "review",
    "utterance",
    "query",
    "question",
    "source",
    "body",
    "message",
    "comment",
    "title",
)
_PAIR_NAMES = (
    ("text", "text_pair"),
    ("text_a", "text_b"),
    ("text1", "text2"),
    ("text_1", "text_2"),
    ("sentence_a", "sentence_b"),
    ("sentence_1", "sentence_2"),
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("query", "passage"),
    ("question", "passage"),
)
LABEL_NAMES = ("label", "labels", "intent", "category", "class", "target", "sentiment", "score", "stars", "rating")


@dataclass(frozen=True)
class Table:
    """Rows by column name, and on which line each began.

    Attributes:
        source: what was read, as the user gave it.
        names: of the columns, in order.
        rows: one cell a column; a column may be missing in a row.
        lines: where each row began, counted from 1; None for formats without lines.
        label_names: the names of whole numbers in a column of labels, from `labels.json` beside the file.
        class_names: the same by column, from the features of a data set.
    """

    source: str
    names: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]
    lines: tuple[int, ...] | None = None
    label_names: tuple[str, ...] | None = None
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def column(self, name: str) -> list[Any]:
        """The values of a column; None where a row does not have it."""
        return [row.get(name) for row in self.rows]

    def place(self, row: int) -> str:
        """Where a row stands, for people: `file:line`, or the row's number."""
        return f"{self.source}:{self.lines[row]}" if self.lines else f"{self.source}, row {row + 1}"


def find_columns(
    table: Table, text: str | None, pair: str | None, label: str | None
) -> tuple[str, str | None, str | None]:
    """The names of the text, pair and label columns; those that are not given are guessed by their usual names.

    Raises:
        DataError: a given column is not there, or no text column can be guessed.
    """
    by_lower = {name.strip().lower(): name for name in table.names}
    for name, option in ((text, "--text-column"), (pair, "--pair-column"), (label, "--label-column")):
        if name is not None and name not in table.names:
            raise DataError(
                f"{table.source}: no column {name!r}; there are: {', '.join(table.names)}.",
                hint=f"Choose one of them with {option}.",
            )
    if text is None and pair is None:
        for first, second in _PAIR_NAMES:
            if first in by_lower and second in by_lower:
                text, pair = by_lower[first], by_lower[second]
                break
    if text is None:
        text = next((by_lower[name] for name in _TEXT_NAMES if name in by_lower), None)
    if text is None:
        named = ", ".join(table.names)
        hint = "Name it with --text-column. The first line of a .csv or .tsv file must be the names of its columns."
        raise DataError(f"{table.source}: no column looks like text; there are: {named:.300}.", hint=hint)
    if label is None:
        label = next((by_lower[name] for name in LABEL_NAMES if name in by_lower and by_lower[name] != text), None)
    return text, pair, label
