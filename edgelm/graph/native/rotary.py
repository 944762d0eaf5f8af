"""Rotary positions (Su et al., arXiv:2104.09864): pairs of numbers of queries and keys, half a head apart, are turned
by an angle for each token."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from edgelm.graph.native.state import State
from edgelm.graph.native.values import Memory, Rotated, Value
from edgelm.graph.native.view import GraphView, Unsupported, attributes, need

_SHORT = 5
_LONGEST = 8192  # tokens, for which angles are kept


def angles_of(node: onnx.NodeProto) -> tuple[str, ...]:
    """Places, cosines and sines that a RotaryEmbedding reads; nothing of another node."""
    return tuple(node.input[1:]) if node.op_type == "RotaryEmbedding" else ()


def rotary(state: State, node: onnx.NodeProto) -> Value:
    """RotaryEmbedding: queries or keys with their angles."""
    found, part = attributes(node), state.value(node.input[0])
    plain = not any(found.get(name) for name in ("interleaved", "rotary_embedding_dim", "is_packed_batching"))
    if not isinstance(part, Memory) or not plain or found.get("scale", 1.0) != 1.0 or len(node.input) != 4:
        raise Unsupported(f"{node.name}: other positions")
    return Rotated(part, angles_of(node))


def rotate(state: State, angles: tuple[str, ...], heads: int, size: int, buffers: Sequence[str]) -> None:
    """The step that turns queries and keys in their buffers.

    Args:
        angles: places, cosines and sines, by their names in the graph.
        size: numbers a head.
    """
    reach = state.writer.longest
    if angles not in state.angles:  # layers share them
        cosines, sines = _tables(state.view, angles, reach)
        need(cosines.shape == sines.shape == (reach, size // 2), f"{angles[1]}: angles of another width")
        state.angles[angles] = (state.writer.place(cosines), state.writer.place(sines))
    state.writer.step("rotate", heads, size, reach, *state.angles[angles], *buffers)


def _tables(view: GraphView, angles: tuple[str, ...], tokens: int) -> list[np.ndarray]:
    """Cosines and sines for each token, as the graph computes them, (tokens, size / 2): the same for every text, which
    is tried."""
    need(tokens <= _LONGEST, f"{angles[0]}: sequences of more than {_LONGEST} tokens")
    texts = [np.ones((2, count), dtype=np.int64) for count in (tokens, min(_SHORT, tokens))]
    places = [view.compute(angles[0], text) for text in texts]
    result = []
    for name in angles[1:]:
        rows = [view.compute(name, text)[place] for text, place in zip(texts, places, strict=True)]
        need(all(each.ndim == 3 and np.array_equal(each[0], each[1]) for each in rows), f"{angles[0]}: other places")
        need(np.array_equal(rows[0][0, : rows[1].shape[1]], rows[1][0]), f"{angles[0]}: other places in short texts")
        result.append(rows[0][0].astype(np.float32))
    return result
