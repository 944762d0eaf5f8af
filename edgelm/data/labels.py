"""Cells of a label column as what a model learns: class indices, 0/1 for each name, or values."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from edgelm.choices import LabelFormat
from edgelm.data.cells import is_empty, is_missing, number_of, simple_key, unpack_lists
from edgelm.data.label_lists import read_lists, splits_at_bars
from edgelm.data.label_matching import is_whole, match_labels, shorten
from edgelm.data.table import Table
from edgelm.errors import DataError, DataWarning
from edgelm.tasks.task import Problem


@dataclass(frozen=True)
class LabelOptions:
    """What a user says about labels that can be read in two ways.

    Attributes:
        format: what lists hold: names, indices, or a 0 or 1 for each label; None: told from them.
        first: the number of a model's first label, where labels are numbers; None: told from them.
        missing: the cell of a row without a label; None: told from the labels, if it is a -1.
    """

    format: LabelFormat | None = None
    first: int | None = None
    missing: str | None = None


@dataclass(frozen=True)
class Labels:
    """The labels of the rows that have one.

    Attributes:
        rows: which rows of the table have a label, in order.
        values: a label of each: class index, 0/1 for each name, or value.
        names: the label names in the order of the logits.
        problem: how labels exclude each other.
        format: what lists held; None without lists.
        matched: the name, in the order of the logits, of each label that the data writes otherwise.
    """

    rows: tuple[int, ...]
    values: tuple[Any, ...]
    names: tuple[str, ...]
    problem: Problem
    format: LabelFormat | None = None
    matched: dict[str, str] = field(default_factory=dict)


def read_labels(
    table: Table,
    name: str,
    *,
    labels: Sequence[str] | None,
    problem: Problem | None,
    options: LabelOptions = LabelOptions(),
) -> Labels:
    """The labels of a column.

    Raises:
        DataError: an empty label, one of a wrong type, one that is not among `labels`, with its line; or one that can
            be read in two ways.
    """
    given = table.class_names.get(name) or table.label_names
    cells = table.column(name)
    cells = unpack_lists([None if is_missing(cell, options.missing) else cell for cell in cells])
    rows = [row for row, cell in enumerate(table.column(name)) if not is_missing(cell, options.missing)]
    for row in rows:
        if is_empty(cells[row]):
            hint = 'Correct or remove the row, or say with --missing-label "" that such rows have no label.'
            raise DataError(f"{table.place(row)}: the label in column {name!r} is empty.", hint=hint)
    known = tuple(labels) if labels is not None else given
    problem = problem or _guess(table, name, [cells[row] for row in rows], known)
    if problem == "regression":
        _tell_dropped(table, name, len(cells) - len(rows))
        return Labels(tuple(rows), tuple(_number(table, row, name, cells[row]) for row in rows), ("score",), problem)
    whole = all(number_of(cells[row]) is not None and number_of(cells[row]).is_integer() for row in rows)  # type: ignore[union-attr]
    fmt = None
    if problem == "multi-label":
        wanted = options.format or (
            "indices" if name in table.class_names else None
        )  # a feature of classes holds their numbers
        keys, fmt, made = read_lists(table, name, cells, rows, known=known, given=given, wanted=wanted)
        known = known or made
    else:
        keys = {
            row: [_key(table, row, name, cells[row], whole=whole or known is not None, known=known)] for row in rows
        }
        rows = _without_minus_one(table, name, rows, keys, known, options)
    _tell_dropped(table, name, len(cells) - len(rows))
    renamed = {key: key for row in rows for key in keys[row]}
    if given is not None and fmt != "vectors":
        renamed = {key: _named(table, row, key, given) for row in rows for key in keys[row]}
    names = tuple(labels) if labels is not None else _all_names(table, list(renamed.values()), known)
    first = 0 if options.first is None and options.format == "indices" else options.first
    places = match_labels(renamed.values(), names, first=first, source=table.source)
    found = [_places(table, row, [renamed[key] for key in keys[row]], places, names) for row in rows]
    values = tuple(
        row[0] if problem == "single-label" else tuple(int(place in row) for place in range(len(names)))
        for row in found
    )
    matched = {key: names[places[name]] for key, name in renamed.items() if key != names[places[name]]}
    return Labels(tuple(rows), values, names, problem, fmt, matched)


def _places(table: Table, row: int, keys: list[str], places: dict[str, int], names: Sequence[str]) -> list[int]:
    for key in keys:
        if key not in places:
            raise DataError(
                f"{table.place(row)}: label {key!r:.60} was never seen in training.",
                hint=f"Known labels: {shorten(names)}.",
            )
    return [places[key] for key in keys]


def _guess(table: Table, name: str, cells: list[Any], known: Sequence[str] | None) -> Problem:
    if any(isinstance(cell, (list, tuple)) for cell in cells):
        return "multi-label"
    words = [cell for cell in cells if isinstance(cell, str)]
    if any("|" in cell for cell in words):
        return "multi-label" if splits_at_bars(table, name, words, known) else "single-label"
    numbers = [number_of(cell) for cell in cells]
    if (
        numbers
        and all(number is not None for number in numbers)
        and any(not number.is_integer() for number in numbers if number is not None)
    ):
        return "regression"
    return "single-label"


def _number(table: Table, row: int, name: str, cell: Any) -> float:
    value = number_of(cell)
    if value is None or not math.isfinite(value):
        raise DataError(
            f"{table.place(row)}: the label in column {name!r} is {_shown(cell)}; expected a number.",
            hint="Regression needs a number in every row.",
        )
    return value


def _shown(cell: Any) -> str:
    return "a number of more than 18 digits" if isinstance(cell, int) and abs(cell) >= 10**18 else f"{cell!r:.60}"


def _key(table: Table, row: int, name: str, cell: Any, *, whole: bool, known: Sequence[str] | None) -> str:
    """A label's name."""
    if known is not None and isinstance(cell, str) and cell.strip() in known:
        return cell.strip()
    key = simple_key(cell, whole=whole)
    if key is None:
        raise DataError(
            f"{table.place(row)}: the label in column {name!r} is {_shown(cell)}; expected a name or a number.",
            hint="Correct the row, or choose another column with --label-column.",
        )
    if key.lower() in ("true", "false") and not (known is not None and key in known):
        return key.lower()
    return key


def _named(table: Table, row: int, key: str, given: Sequence[str]) -> str:
    """The name that labels.json, or the features of a data set, give a label: a whole number's, or one in other
    capitals."""
    if key in given:
        return key
    if not is_whole(key):
        alike = [known for known in given if known.casefold() == key.casefold()]
        return alike[0] if len(alike) == 1 else key
    if not 0 <= int(key) < len(given):
        what = f"{table.source} has {len(given)} names" if table.class_names else f"labels.json has {len(given)} names"
        raise DataError(f"{table.place(row)}: label {key}, but {what}.", hint="Correct the row or labels.json.")
    return given[int(key)]


def _without_minus_one(
    table: Table,
    name: str,
    rows: list[int],
    keys: dict[int, list[str]],
    known: Sequence[str] | None,
    options: LabelOptions,
) -> list[int]:
    """The rows but those whose -1 says that they have no label, as in the test rows of GLUE."""
    used = {keys[row][0] for row in rows}
    if "-1" not in used or options.missing is not None or options.first == -1 or not all(is_whole(key) for key in used):
        return rows
    if used == {"-1"}:
        raise DataError(
            f"{table.source}: every label in column {name!r} is -1, which marks rows without one.",
            hint="Give rows with labels.",
        )
    count = sum(keys[row][0] == "-1" for row in rows)
    if known is not None:
        if "-1" in known:
            return rows
        if options.first is None and max(map(int, used)) - -1 < len(known):
            raise DataError(
                f"{table.source}: {count} labels in column {name!r} are -1: {known[0]!r} (counted from -1), or the "
                "mark of rows without a label.",
                hint="Say --first-label -1 if they are a class, or --missing-label -1 to leave these rows out.",
            )
        return [row for row in rows if keys[row][0] != "-1"]
    if min(map(int, used)) < -1 or used == {"-1", "1"}:
        return rows
    raise DataError(
        f"{table.source}: {count} labels in column {name!r} are -1: a class, or the mark of rows without a label.",
        hint='Say --missing-label -1 to leave these rows out, or --missing-label "" if -1 is a class.',
    )


def _tell_dropped(table: Table, name: str, count: int) -> None:
    if count:
        warnings.warn(
            DataWarning(f"{table.source}: {count} row{'s' * (count > 1)} without a label in column {name!r} left out."),
            stacklevel=3,
        )


def _all_names(table: Table, used: Sequence[str], known: Sequence[str] | None) -> tuple[str, ...]:
    if known is not None and set(used) <= set(known):
        return tuple(known)
    if all(is_whole(key) for key in used):
        return tuple(sorted(used, key=int))
    lower = Counter(key.casefold() for key in used)
    alike = sorted(key for key in used if lower[key.casefold()] > 1)
    if alike:
        text = f"{table.source}: labels that differ in capitals alone count as labels of their own: {shorten(alike)}."
        warnings.warn(DataWarning(text), stacklevel=3)
    return tuple(sorted(used))
