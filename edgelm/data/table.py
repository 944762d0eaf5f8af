"""Rows by column name, as a file or a data set has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any


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

    def take(self, rows: Sequence[int]) -> Table:
        """These rows alone."""
        lines = None if self.lines is None else tuple(self.lines[row] for row in rows)
        return replace(self, rows=tuple(self.rows[row] for row in rows), lines=lines)

    def place(self, row: int) -> str:
        """Where a row stands, for people: `file:line`, or the row's number."""
        return f"{self.source}:{self.lines[row]}" if self.lines else f"{self.source}, row {row + 1}"
