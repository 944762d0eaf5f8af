"""What attention adds to its scores, where that depends on the distance between two tokens alone: relative positions
(Shaw et al., arXiv:1803.02155), in buckets (Raffel et al., arXiv:1910.10683) or not."""

from __future__ import annotations

import numpy as np
import onnx

from edgelm.graph.native.view import GraphView, need

_LONGEST = 1024  # tokens, for each pair of which what is added is computed once
_SHORT = 5


def bias_of(node: onnx.NodeProto) -> str:
    """What a node of attention adds to its scores; empty: nothing, or another node."""
    if node.op_type not in ("Attention", "MultiHeadAttention") or len(node.input) < 6:
        return ""
    return str(node.input[5])


def biases_by_distance(view: GraphView, name: str, longest: int, heads: int) -> np.ndarray:
    """What is added for each distance, key - query, from 1 - longest to longest - 1: (heads, 2 * longest - 1).

    Computed by the graph itself, for the longest sequence and checked on a short one. Where the graph has the queries
    of the first token alone, what no query asks for is 0.

    Raises:
        Unsupported: it depends on more than the distance, or sequences are too long for this.
    """
    need(longest <= _LONGEST, f"{name}: sequences of more than {_LONGEST} tokens")
    biases = _of_all(view, name, longest, heads)
    few = _of_all(view, name, min(_SHORT, longest), heads)
    middle, reach = longest - 1, few.shape[1] // 2
    need(np.array_equal(few, biases[:, middle - reach : middle + reach + 1]), f"{name}: other numbers in short texts")
    return biases


def _of_all(view: GraphView, name: str, tokens: int, heads: int) -> np.ndarray:
    found, other = (view.compute(name, np.full((1, tokens), value)) for value in (0, 1))
    need(np.array_equal(found, other), f"{name} depends on what tokens there are")
    added = found.astype(np.float32)
    need(added.ndim == 4 and added.shape[0] == 1 and added.shape[1] in (1, heads), f"{name}: other axes")
    need(added.shape[2] in (1, tokens) and added.shape[3] == tokens, f"{name}: other axes")
    added = np.broadcast_to(added, (1, heads, *added.shape[2:]))[0]
    biases = np.zeros((heads, 2 * tokens - 1), dtype=np.float32)
    biases[:, tokens - 1 :] = added[:, 0]  # the first query, and then what each further one adds
    biases[:, : tokens - 1] = added[:, 1:, 0][:, ::-1] if added.shape[1] > 1 else 0
    places = np.arange(tokens)[None, :] - np.arange(added.shape[1])[:, None] + tokens - 1
    need(np.array_equal(biases[:, places], added), f"{name} depends on more than the distance")
    return biases
