"""Cells of a label column as what a model learns: class indices, 0/1 for each name, or values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from edgelm._tables import Table
from edgelm.errors import DataError
from edgelm.task import Problem


def read_labels(
    table: Table, name: str, *, labels: Sequence[str] | None, problem: Problem | None
) -> tuple[tuple[Any, ...], tuple[str, ...], Problem]:
    """The labels of every row, the label names in the order of the logits, and how labels exclude each other.

    Raises:
        DataError: an empty label, one of a wrong type, or one that is not among `labels`; with its line.
    """
    cells = table.column(name)
    for row, cell in enumerate(cells):
        if cell is None or cell == "" or (isinstance(cell, float) and math.isnan(cell)):
            raise DataError(f"{table.place(row)}: the label in column {name!r} is empty.", hint="Mend or remove the row.")
    problem = problem or _guess(cells)
    if problem == "regression":
        return tuple(_number(table, row, name, cell) for row, cell in enumerate(cells)), ("score",), problem
    keys = [_keys(table, row, name, cell) if problem == "multi-label" else [_key(table, row, name, cell)] for row, cell in enumerate(cells)]
    names = tuple(labels) if labels is not None else _all_names(table, keys)
    index = {label: position for position, label in enumerate(names)}
    by_number = labels is not None and table.label_names is None
    found: list[Any] = []
    for row, row_keys in enumerate(keys):
        positions = [_position(table, row, key, index, names, numbers=by_number) for key in row_keys]
        found.append(positions[0] if problem == "single-label" else tuple(int(position in positions) for position in range(len(names))))
    return tuple(found), names, problem


def _guess(cells: list[Any]) -> Problem:
    if any(isinstance(cell, (list, tuple)) or (isinstance(cell, str) and "|" in cell) for cell in cells):
        return "multi-label"
    if all(_is_number(cell) for cell in cells) and any(not float(cell).is_integer() for cell in cells):
        return "regression"
    return "single-label"


def _is_number(cell: Any) -> bool:
    if isinstance(cell, bool):
        return False
    if isinstance(cell, (int, float)):
        return True
    try:
        float(cell)
    except (TypeError, ValueError):
        return False
    return True


def _number(table: Table, row: int, name: str, cell: Any) -> float:
    if not _is_number(cell) or not math.isfinite(float(cell)):
        raise DataError(
            f"{table.place(row)}: the label in column {name!r} is {cell!r:.60}; expected a number.", hint="Regression needs a number in every row."
        )
    return float(cell)


def _keys(table: Table, row: int, name: str, cell: Any) -> list[str]:
    """The labels of one multi-label row: a list, or names with | between them."""
    if isinstance(cell, str):
        return [part.strip() for part in cell.split("|") if part.strip()]
    if not isinstance(cell, (list, tuple)):
        raise DataError(
            f"{table.place(row)}: the label in column {name!r} is {cell!r:.60}; expected a list.", hint='Write multi-label rows as ["a", "b"] or a|b.'
        )
    return [_key(table, row, name, part) for part in cell]


def _key(table: Table, row: int, name: str, cell: Any) -> str:
    """A label's name; whole numbers are looked up in labels.json where there is one."""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    if isinstance(cell, int):
        if table.label_names is None:
            return str(cell)
        if not 0 <= cell < len(table.label_names):
            raise DataError(
                f"{table.place(row)}: label {cell}, but labels.json has {len(table.label_names)} names.", hint="Mend the row or labels.json."
            )
        return table.label_names[cell]
    if isinstance(cell, str):
        return cell
    raise DataError(
        f"{table.place(row)}: the label in column {name!r} is {cell!r:.60}; expected a name or a number.",
        hint="Mend the row, or choose another column with --label-column.",
    )


def _all_names(table: Table, keys: list[list[str]]) -> tuple[str, ...]:
    used = {key for row in keys for key in row}
    if table.label_names is not None and used <= set(table.label_names):
        return table.label_names
    if all(key.lstrip("-").isdigit() for key in used):
        return tuple(sorted(used, key=int))
    return tuple(sorted(used))


def _position(table: Table, row: int, key: str, index: dict[str, int], names: Sequence[str], *, numbers: bool) -> int:
    if key in index:
        return index[key]
    if numbers and key.isdigit() and int(key) < len(names):
        return int(key)  # a plain class index, in the order of the model's logits
    known = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    raise DataError(f"{table.place(row)}: label {key!r} was never seen in training.", hint=f"Known labels: {known}.")
