"""Rows of several labels: names with | between them, and lists of names, of indices, or of a 0 or 1 for each label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgelm.choices import LabelFormat
from edgelm.data.cells import number_of, simple_key
from edgelm.data.table import Table
from edgelm.errors import DataError


def splits_at_bars(table: Table, name: str, words: Sequence[str], known: Sequence[str] | None) -> bool:
    """Whether | stands between labels, and not inside the name of one.

    Raises:
        DataError: it can be both.
    """
    barred = list(dict.fromkeys(word.strip() for word in words if "|" in word))
    if known is not None:
        if all(word in known for word in barred):
            return False
        if all(part in known for word in barred for part in _parts(word)):
            return True
    where: dict[str, set[str]] = {}
    for word in {word.strip() for word in words}:
        for part in _parts(word):
            where.setdefault(part, set()).add(word)
    if any(len(where[part]) > 1 for word in barred for part in _parts(word)) or any(
        not _parts(word) for word in barred
    ):
        return True
    raise DataError(
        f"{table.source}: {barred[0]!r:.60} in column {name!r} can be one label or {len(_parts(barred[0]))}.",
        hint="Say which with --problem single-label or --problem multi-label.",
    )


def read_lists(
    table: Table,
    name: str,
    cells: Sequence[Any],
    rows: Sequence[int],
    *,
    known: Sequence[str] | None,
    given: Sequence[str] | None,
    wanted: LabelFormat | None,
) -> tuple[dict[int, list[str]], LabelFormat | None, tuple[str, ...] | None]:
    """The labels of each row by name or number, what its lists held, and the names that a vector without names makes.

    Raises:
        DataError: a cell that is no list, a list of mixed kinds, or lists that can be read in two ways.
    """
    if not any(isinstance(cells[row], (list, tuple)) for row in rows):
        return {row: _bars(table, row, name, cells[row], known) for row in rows}, None, None
    lists = {row: _list(table, row, name, cells[row], known) for row in rows}
    found = wanted or _format(table, name, lists, known)
    if found != "vectors":
        return {row: [_part(table, row, name, part) for part in parts] for row, parts in lists.items()}, found, None
    width = len(known) if known is not None else len(next(iter(lists.values())))
    for row, parts in lists.items():
        if len(parts) != width or not all(_is_bit(part) for part in parts):
            raise DataError(
                f"{table.place(row)}: the label in column {name!r} is {list(parts)!r:.60}; expected {width} values of "
                "0 or 1.",
                hint="Give one for each label, in the order of the model's; or say what the lists hold with "
                "--label-format.",
            )
    names = tuple(known) if known is not None else tuple(f"label_{place}" for place in range(width))
    return (
        {row: [names[place] for place, part in enumerate(parts) if float(part)] for row, parts in lists.items()},
        found,
        names,
    )


def _format(table: Table, name: str, lists: dict[int, list[Any]], known: Sequence[str] | None) -> LabelFormat:
    """What lists hold, as far as they say it themselves."""
    parts = [part for values in lists.values() for part in values]
    numbers = [part for part in parts if not isinstance(part, str)]
    lengths = {len(values) for values in lists.values()}
    width = len(known) if known is not None else None
    bits = bool(parts) and len({isinstance(part, str) for part in parts}) == 1 and all(_is_bit(part) for part in parts)
    if not numbers and (not bits or len(lengths) > 1 or any(part in (known or ()) for part in parts)):
        return "names"
    alike = bits and len(lengths) == 1
    vectors = alike and width in (None, *lengths)
    indices = all(type(part) in (int, str) for part in parts) and all(
        len(set(map(str, values))) == len(values) for values in lists.values()
    )
    if alike and indices:
        row, values = next(iter(lists.items()))
        if len(values) == 1 and width != 1:
            return "indices"
        labels = "each label" if vectors else f"each of {len(values)} labels, though the model has {width}"
        raise DataError(
            f"{table.place(row)}: {list(values)!r:.60} in column {name!r} can be a 0 or 1 for {labels}, or the "
            "numbers of labels.",
            hint="Say which with --label-format vectors or --label-format indices.",
        )
    if vectors:
        return "vectors"
    if indices:
        return "indices"
    row = next(row for row, values in lists.items() if values)
    raise DataError(
        f"{table.place(row)}: lists in column {name!r} such as {list(lists[row])!r:.60} are neither names, nor the "
        "numbers of labels, nor a 0 or 1 " + ("for each label." if width is None else f"for each of {width} labels."),
        hint="Write the names of the labels, or say what the lists hold with --label-format.",
    )


def _is_bit(part: Any) -> bool:
    return isinstance(part, bool) or (isinstance(part, (int, float, str)) and number_of(part) in (0.0, 1.0))


def _list(table: Table, row: int, name: str, cell: Any, known: Sequence[str] | None) -> list[Any]:
    return list(cell) if isinstance(cell, (list, tuple)) else list(_bars(table, row, name, cell, known))


def _bars(table: Table, row: int, name: str, cell: Any, known: Sequence[str] | None) -> list[str]:
    """The labels of a cell such as `a|b`."""
    if not isinstance(cell, str):
        raise DataError(
            f"{table.place(row)}: the label in column {name!r} is {cell!r:.60}; expected a list.",
            hint='Write multi-label rows as ["a", "b"] or a|b.',
        )
    whole = cell.strip()
    return [whole] if known is not None and whole in known else _parts(whole)


def _part(table: Table, row: int, name: str, part: Any) -> str:
    key = simple_key(part, whole=False)
    if key is None or (isinstance(part, float) and not part.is_integer()):
        raise DataError(
            f"{table.place(row)}: the label in column {name!r} holds {type(part).__name__} {str(part)[:40]!r}; "
            "expected names or numbers.",
            hint="Correct the row, or choose another column with --label-column.",
        )
    return key


def _parts(word: str) -> list[str]:
    return [part.strip() for part in word.split("|") if part.strip()]
