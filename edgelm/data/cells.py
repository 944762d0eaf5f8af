"""Cells of a label column as the words and numbers that they stand for, whatever kind of file they come from."""

from __future__ import annotations

import ast
import json
import math
import re
from typing import Any

from edgelm.errors import DataError

_PART = re.compile(r"""'[^']*'|"[^"]*"|True|False|-?[0-9]+\.?[0-9]*""")
_NUMPY = re.compile(rf"\[\s*((?:{_PART.pattern})(?:\s+(?:{_PART.pattern}))*)\s*\]")
_WHOLE_FLOAT = re.compile(r"(-?(?:0|[1-9][0-9]{0,17}))\.0+")


def is_missing(cell: Any, marker: str | None) -> bool:
    """Whether a cell is the marker of rows without a label."""
    return marker is not None and simple_key("" if cell is None else cell, whole=True) == simple_key(marker, whole=True)


def is_empty(cell: Any) -> bool:
    """Whether a cell holds nothing: null, blank or not a number."""
    if isinstance(cell, str):
        return not cell.strip() or cell.strip().lower() == "nan"
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def number_of(cell: Any) -> float | None:
    """A cell as a number, finite or not; None if it is none."""
    if isinstance(cell, bool) or not isinstance(cell, (int, float, str)):
        return None
    try:
        return float(cell)
    except (ValueError, OverflowError):
        return None


def simple_key(cell: Any, *, whole: bool) -> str | None:
    """A cell as the name of a label: true and false in small letters, `1.0` as `1` if `whole`; None if it can be no
    name."""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() and abs(cell) < 10**18 else str(cell)
    if isinstance(cell, int):
        return str(cell) if abs(cell) < 10**18 else None
    if not isinstance(cell, str):
        return None
    text = cell.strip()
    if whole and (found := _WHOLE_FLOAT.fullmatch(text)):
        return found[1]
    return text


def unpack_lists(cells: list[Any]) -> list[Any]:
    """The cells with lists that were written as text (`[0, 1]`, `('a', 'b')`, numpy's `[0 1]`) as lists, if every cell
    that holds one is a list."""
    texts = [cell for cell in cells if not is_empty(cell)]
    if not texts or not all(
        isinstance(cell, str) and cell.strip()[0] + cell.strip()[-1] in ("[]", "()", "{}") for cell in texts
    ):
        return cells
    lists = [cell if is_empty(cell) else parse_list(cell) for cell in cells]
    return (
        lists
        if all(isinstance(found, list) or is_empty(cell) for cell, found in zip(cells, lists, strict=True))
        else cells
    )


def list_of(cell: Any) -> list[Any] | None:
    """A cell as a list, be it one or the text of one; None if it is none."""
    if isinstance(cell, (list, tuple)):
        return list(cell)
    return parse_list(cell) if isinstance(cell, str) else None


def parse_list(text: str) -> list[Any] | None:
    """The list that a text writes, in JSON, in Python or as numpy prints arrays; None if it is none."""
    text = text.strip()
    if (found := _NUMPY.fullmatch(text)) and len(parts := _PART.findall(found[1])) > 1:
        return [ast.literal_eval(part) for part in parts]
    values = parse_value(text)
    if isinstance(values, set):
        return sorted(values, key=str)
    return list(values) if isinstance(values, (list, tuple)) else None


def parse_value(text: str) -> Any:
    """The value that a text writes, in JSON or in Python; None if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            return None


def text_of(cell: Any, place: str, what: str, *, hint: str) -> str:
    """A cell that must be text.

    Args:
        cell: the cell.
        place: where it stands, such as `rows.csv:7`.
        what: what it is, such as `column 'text'`.
        hint: what to do about a cell that is no text.

    Raises:
        DataError: it is no text, or holds half of a UTF-16 character.
    """
    if not isinstance(cell, str):
        raise DataError(f"{place}: {what} is {cell!r:.60}; expected text.", hint=hint)
    if any("\ud800" <= char <= "\udfff" for char in cell):
        shown = f"{cell.encode('unicode_escape', 'surrogatepass').decode('ascii')!r:.60}"
        raise DataError(f"{place}: {what} holds half of a UTF-16 character: {shown}.", hint="Mend or remove the row.")
    return cell
