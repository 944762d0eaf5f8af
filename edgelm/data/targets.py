"""Rows of a source and its target: translations and summaries, with several references where there are."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from edgelm.data.cells import parse_list, text_of
from edgelm.data.content import BadRows, Content
from edgelm.data.schemas import SCHEMAS, Found
from edgelm.data.table import Table
from edgelm.errors import DataError

_LANGUAGE = re.compile(r"[a-z]{2,3}([_-][A-Za-z]{2,4})?")
_HINT = "Correct the row, or choose other columns with --text-column and --label-column."
_ASIDE = ("id", "idx", "index", "")


def find_sides(table: Table, text: str | None, label: str | None) -> tuple[Table, str | None, str | None]:
    """The columns of source and target where their names do not say it: two columns that are named by languages, or the
    only two that there are, in the order of the table. A column `translation` of objects, such as
    {"en": ..., "de": ...}, counts as a column for each language.

    Args:
        text, label: as the user named them.

    Returns:
        the table with such columns, and the names; None: by their usual names.
    """
    table = _spread(table)
    lower = {name.strip().lower() for name in table.names}
    if text is not None or label is not None or all(lower & set(column.names) for column in SCHEMAS["targets"].columns):
        return table, text, label
    spoken = [name for name in table.names if _LANGUAGE.fullmatch(name) and name.lower() not in _ASIDE]
    names = spoken if len(spoken) == 2 else [name for name in table.names if name.strip().lower() not in _ASIDE]
    return (table, names[0], names[1]) if len(names) == 2 else (table, None, None)


def _spread(table: Table) -> Table:
    name = next((name for name in table.names if name.lower() == "translation"), None)
    if name is None or not table.rows or not all(isinstance(cell, dict) for cell in table.column(name)):
        return table
    languages = tuple(dict.fromkeys(key for row in table.rows for key in row[name]))
    others = tuple(other for other in table.names if other != name)
    rows = tuple({key: value for key, value in row.items() if key != name} | row[name] for row in table.rows)
    return replace(table, names=(*languages, *others), rows=rows)


def read_targets(table: Table, columns: Found, *, skip_bad_rows: bool) -> Content:
    """Sources, and per row a tuple of one or several targets.

    Args:
        table: the rows.
        columns: where they are; a target is a text, or a list of references.
        skip_bad_rows: leave rows out that cannot be read, and warn of them.

    Raises:
        DataError: an empty source or target, or a cell of another form, with file and line.
    """
    bad = BadRows(table, skip=skip_bad_rows)
    cells = table.column(columns.text)
    sources = bad.read(range(len(cells)), lambda row: _source(table, row, columns.text, cells[row]))
    if columns.label is None:
        bad.tell()
        return Content(tuple(sources.values()))
    name, given = columns.label, table.column(columns.label)
    targets = bad.read(sources, lambda row: _targets(table, row, name, given[row]))
    bad.tell()
    return Content(tuple(sources[row] for row in targets), None, tuple(targets.values()))


def _source(table: Table, row: int, name: str, cell: Any) -> str:
    parts = cell if isinstance(cell, list) and all(isinstance(part, str) for part in cell) else [cell]
    text = " ".join(text_of(part, table.place(row), f"column {name!r}", hint=_HINT) for part in parts)
    if not text.strip():
        raise DataError(f"{table.place(row)}: the source in column {name!r} is empty.", hint=_HINT)
    return text


def _targets(table: Table, row: int, name: str, cell: Any) -> tuple[str, ...]:
    listed = parse_list(cell) if isinstance(cell, str) and cell.strip()[:2] in ("['", '["') else cell
    found = listed if isinstance(listed, (list, tuple)) else [cell]
    texts = tuple(text_of(text, table.place(row), f"column {name!r}", hint=_HINT) for text in found)
    if not texts or not all(text.strip() for text in texts):
        raise DataError(f"{table.place(row)}: a target in column {name!r} is empty.", hint=_HINT)
    return texts
