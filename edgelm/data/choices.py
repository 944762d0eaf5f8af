"""Rows of a text, several endings, and which of them is right (SWAG, HellaSwag, CommonsenseQA)."""

from __future__ import annotations

import string
from typing import Any

from edgelm.data.cells import is_missing, list_of, parse_value, simple_key, text_of
from edgelm.data.content import BadRows, Content
from edgelm.data.label_matching import match_labels
from edgelm.data.schemas import Found
from edgelm.data.table import Table
from edgelm.errors import DataError

_HINT = "Correct the row, or choose other columns with --text-column, --pair-column and --label-column."


def read_choices(
    table: Table, columns: Found, *, first: int | None, missing: str | None, skip_bad_rows: bool
) -> Content:
    """Texts, endings and the place of the right one. SWAG's endings go on from its column `sent2`, which is put before
    each where `sent1` is the text.

    Args:
        table: the rows.
        columns: where texts, endings (one column of lists, or a column for each) and labels are.
        first: the number of the first ending, where labels are numbers; None: told from them.
        missing: the label of rows that have none, which are left out.
        skip_bad_rows: leave rows out that cannot be read, and warn of them.

    Raises:
        DataError: an empty text or ending, fewer than two endings, more or fewer than in the first row, a label that is
            the place or letter of none, with file and line.
    """
    bad = BadRows(table, skip=skip_bad_rows)
    goes_on = "sent2" if columns.text.lower() == "sent1" and "sent2" in table.names else None
    cells = [] if columns.label is None else table.column(columns.label)
    rows = [row for row in range(len(table.rows)) if not cells or not is_missing(cells[row], missing)]
    texts = bad.read(rows, lambda row: _text(table, row, columns.text))
    found = bad.read(texts, lambda row: _endings(table, row, columns.pair, goes_on))
    usual = len(next(iter(found.values()))[0]) if found else 0
    found = bad.read(found, lambda row: _as_many(table, row, found[row], usual))
    letters = tuple(string.ascii_uppercase[:usual]) if usual <= 26 else tuple(map(str, range(usual)))
    endings = {row: values for row, (values, _) in found.items()}
    if columns.label is None:
        bad.tell()
        return Content(tuple(texts[row] for row in endings), tuple(endings.values()))
    name = columns.label
    keys = bad.read(found, lambda row: _key(table, row, name, cells[row], found[row][1], letters))
    places = match_labels(sorted(set(keys.values())), letters, first=first, source=table.source)
    labels = bad.read(keys, lambda row: _place(table, row, keys[row], places, usual))
    bad.tell()
    if not labels:
        raise DataError(f"{table.source}: no row has a label in column {name!r}.", hint="Give rows with labels.")
    return Content(
        tuple(texts[row] for row in labels),
        tuple(endings[row] for row in labels),
        tuple(labels.values()),
        letters,
        {key: letters[place] for key, place in places.items() if key != letters[place]},
    )


def _text(table: Table, row: int, name: str) -> str:
    text = text_of(table.rows[row].get(name), table.place(row), f"column {name!r}", hint=_HINT)
    if not text.strip():
        raise DataError(f"{table.place(row)}: the text in column {name!r} is empty.", hint=_HINT)
    return text


def _endings(
    table: Table, row: int, names: tuple[str, ...], goes_on: str | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The endings of a row, and the letters that it gives them itself, if it does."""
    cell = table.rows[row].get(names[0])
    marks: Any = None
    if len(names) > 1:
        values: Any = [table.rows[row].get(name) for name in names]
    else:
        value = parse_value(cell.strip()) if isinstance(cell, str) and cell.strip().startswith("{") else cell
        if isinstance(value, dict):  # CommonsenseQA: {"label": ["A", "B"], "text": ["one", "other"]}
            values, marks = value.get("text"), value.get("label")
        else:
            values = list_of(value)
    if not isinstance(values, list) or len(values) < 2:
        raise DataError(
            f"{table.place(row)}: column {names[0]!r} is {cell!r:.60}; expected a list of endings.", hint=_HINT
        )
    before = "" if goes_on is None else f"{_text(table, row, goes_on)} "
    endings = []
    for place, value in enumerate(values, start=1):
        ending = text_of(value, table.place(row), f"ending {place}", hint=_HINT)
        if not ending.strip():
            raise DataError(f"{table.place(row)}: ending {place} is empty.", hint=_HINT)
        endings.append(before + ending)
    same = isinstance(marks, list) and len(marks) == len(endings)
    return tuple(endings), tuple(str(mark) for mark in marks) if same else ()


def _as_many(
    table: Table, row: int, found: tuple[tuple[str, ...], tuple[str, ...]], usual: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if len(found[0]) != usual:
        raise DataError(
            f"{table.place(row)}: {len(found[0])} endings; the rows before have {usual}.",
            hint="Every row needs as many. Correct or remove the row.",
        )
    return found


def _key(table: Table, row: int, name: str, cell: Any, marks: tuple[str, ...], letters: tuple[str, ...]) -> str:
    """A label as a letter where the row itself has letters, else as the data writes it."""
    key = None if isinstance(cell, bool) else simple_key(cell, whole=True)
    if not key:
        hint = f'{_HINT} --missing-label says which label rows without one have, such as "" or -1.'
        raise DataError(f"{table.place(row)}: the label in column {name!r} is {cell!r:.60}.", hint=hint)
    return letters[marks.index(key)] if key in marks else key


def _place(table: Table, row: int, key: str, places: dict[str, int], usual: int) -> int:
    if key not in places:
        raise DataError(
            f"{table.place(row)}: label {key!r:.60} is none of {usual} endings.",
            hint=f"Give its place, or its letter. {_HINT}",
        )
    return places[key]
