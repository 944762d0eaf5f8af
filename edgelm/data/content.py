"""What readers of rows give, and the rows that cannot be read: refused at the first, or counted and left out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from edgelm.data.table import Table
from edgelm.errors import DataError, DataWarning

T = TypeVar("T")


@dataclass(frozen=True)
class Content:
    """Rows as `Dataset` has them.

    Attributes:
        texts: the first input of each row.
        pairs: the second input of each row; None without.
        labels: the target of each row; None without.
        label_names: the names of the labels, in the order of the logits.
        matched: the model's name of each label that the data writes otherwise.
    """

    texts: tuple[Any, ...]
    pairs: tuple[Any, ...] | None = None
    labels: tuple[Any, ...] | None = None
    label_names: tuple[str, ...] = ()
    matched: dict[str, str] = field(default_factory=dict)


class BadRows:
    """The rows of a table that cannot be read.

    Args:
        table: the rows.
        skip: whether they are left out; if not, the first one is an error.
    """

    def __init__(self, table: Table, *, skip: bool) -> None:
        self._table, self._skip = table, skip
        self._errors: dict[int, DataError] = {}

    def read(self, rows: Iterable[int], read: Callable[[int], T]) -> dict[int, T]:
        """What a function reads of each row, for the rows that it can read.

        Raises:
            DataError: as `read` raises it, unless such rows are left out.
        """
        found = {}
        for row in rows:
            try:
                found[row] = read(row)
            except DataError as error:
                if not self._skip:
                    raise
                self._errors[row] = error
        return found

    def tell(self) -> None:
        """Warn of the rows that were left out.

        Raises:
            DataError: all of them were.
        """
        count, rows = len(self._errors), len(self._table.rows)
        if not count:
            return
        first = self._errors[min(self._errors)].message
        if count == rows:
            raise DataError(
                f"{self._table.source}: none of the {rows} rows can be read. The first: {first}",
                hint="Check the columns (--text-column, --pair-column, --label-column).",
            )
        text = f"{self._table.source}: {count} of {rows} rows cannot be read and are left out. The first: {first}"
        warnings.warn(DataWarning(text), stacklevel=2)
