"""Cells of a label column as the words and numbers that they stand for, whatever kind of file they come from."""

from __future__ import annotations

import ast
import json
import math
import re
from typing import Any

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
    """A cell as the name of a label: true and false in small letters, `1.0` as `1` if `whole`; None if it can be no name."""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() else str(cell)
    if isinstance(cell, int):
        return str(cell) if abs(cell) < 10**18 else None
    if not isinstance(cell, str):
        return None
    text = cell.strip()
    if whole and (found := _WHOLE_FLOAT.fullmatch(text)):
        return found[1]
    return text


def unpack_lists(cells: list[Any]) -> list[Any]:
    """The cells with lists that were written as text (`[0, 1]`, `['a', 'b']`) as lists, if every cell is one."""
    if not all(isinstance(cell, str) and cell.strip().startswith("[") and cell.strip().endswith("]") for cell in cells):
        return cells
    lists = [_parse(cell.strip()) for cell in cells]
    return lists if all(isinstance(cell, list) for cell in lists) else cells


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
