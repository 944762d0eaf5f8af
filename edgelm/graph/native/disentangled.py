"""Disentangled attention (He et al., arXiv:2006.03654): scores from content to position and from position to content,
which the graph adds to those of the content."""

from __future__ import annotations

import numpy as np
import onnx

from edgelm.graph.along_distance import along_distance
from edgelm.graph.native.state import State
from edgelm.graph.native.view import GraphView, Unsupported, attributes, need
from edgelm.graph.native.writer import bits

_HEADS_SECOND, _LAST_TWO = [0, 2, 1, 3], [0, 1, 3, 2]
_LONGEST = 1024  # tokens, for each distance of which a table has a column
_SHORT = 5


def position_words(state: State, added: str, queries: str, keys: str, heads: int, scale: float) -> list[object]:
    """The words for what positions add to scores; none: what is added has nothing to do with queries and keys.

    Args:
        added: to the scores, by its name; and the queries and keys that they are of.
        scale: of the scores, which what is added has in it.

    Raises:
        Unsupported: it is computed of queries or keys in another way.
    """
    view = state.view
    first = view.maker(added, "Gather")  # of the first query alone
    total = view.maker(first.input[0] if first is not None else added, "Add")
    parts = [_part(view, name) for name in total.input] if total is not None else []
    if not parts or any(part is None for part in parts):
        return []
    reach, words = state.writer.longest, list[object]()
    need(reach <= _LONGEST, f"{added}: sequences of more than {_LONGEST} tokens")
    found = sorted((part for part in parts if part is not None), key=lambda part: part[0])
    need([by_key for by_key, *_ in found] == [False, True], f"{added}: other terms")
    for (by_key, rows, weights, index), content in zip(found, (queries, keys), strict=True):
        table = view.constant(weights)
        need(rows == content and table.ndim == 3 and len(table) == heads, f"{added}: positions of other rows")
        columns = _columns(state, index)
        need(columns.min() >= 0 and columns.max() < table.shape[2], f"{index}: no column")
        if not words:
            words = [reach, table.shape[2], bits(1 / scale)]
        need(words[1] == table.shape[2], f"{added}: tables of unlike widths")
        words += [state.writer.place(weights), state.writer.place(columns[::-1] if by_key else columns)]
    return words


def _part(view: GraphView, name: str) -> tuple[bool, str, str, str] | None:
    """Whether scores are of each key (they are turned then), the rows that they are of, the table, and the column for
    each pair of tokens."""
    turned = view.maker(name, "Transpose")
    gathered = view.maker(turned.input[0] if turned is not None else name, "GatherElements")
    product = view.maker(gathered.input[0], "MatMul") if gathered is not None else None
    content = view.maker(product.input[0], "Transpose") if product is not None else None
    shaped = view.maker(content.input[0], "Reshape") if content is not None else None
    if gathered is None or product is None or shaped is None or _order(content) != _HEADS_SECOND:
        return None
    if (turned is not None and _order(turned) != _LAST_TWO) or not view.is_constant(product.input[1]):
        return None
    return turned is not None, shaped.input[0], product.input[1], gathered.input[1]


def _order(node: onnx.NodeProto | None) -> list[int]:
    return list(attributes(node)["perm"]) if node is not None else []


def _columns(state: State, index: str) -> np.ndarray:
    """The column for each distance, last axis - the one before, from 1 - longest on; as the graph computes it for the
    longest sequence, and checked on a short one."""
    repeated = state.view.maker(index, "Expand")  # for all texts and heads
    index = repeated.input[0] if repeated is not None else index
    if index not in state.columns:
        reach = state.writer.longest
        along = _along_distance(state.view, index, reach)
        few = _along_distance(state.view, index, min(_SHORT, reach))
        middle = len(few) // 2
        need(np.array_equal(few, along[reach - 1 - middle : reach + middle]), f"{index}: other columns in short texts")
        state.columns[index] = along
    return state.columns[index]


def _along_distance(view: GraphView, index: str, tokens: int) -> np.ndarray:
    found, other = (view.compute(index, np.full((1, tokens), value)) for value in (0, 1))
    need(np.array_equal(found, other) and found.shape == (tokens, tokens), f"{index} depends on more than places")
    along = along_distance(found)
    if along is None:
        raise Unsupported(f"{index} depends on more than the distance")
    return along.astype(np.float32)
