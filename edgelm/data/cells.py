"""Cells of a label column as the words and numbers that they stand for, whatever kind of file they come from."""

from __future__ import annotations

import ast
import json
import math
import re
from typing import Any

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
    lists = [cell if is_empty(cell) else _parse(cell.strip()) for cell in cells]
    return (
        lists
        if all(isinstance(found, list) or is_empty(cell) for cell, found in zip(cells, lists, strict=True))
        else cells
    )


def _parse(text: str) -> list[Any] | None:
    """The list that a text writes, in JSON, in Python or as numpy prints arrays; None if it is none."""
    if (found := _NUMPY.fullmatch(text)) and len(parts := _PART.findall(found[1])) > 1:
        return [ast.literal_eval(part) for part in parts]
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        try:
            values = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            return None
    return (
        sorted(values, key=str)
        if isinstance(values, set)
        else list(values)
        if isinstance(values, (list, tuple))
        else None
    )
