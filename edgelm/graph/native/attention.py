"""Attention: of one product for queries, keys and values, or with queries of a product of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import onnx

from edgelm.graph.native.disentangled import position_words
from edgelm.graph.native.distance import biases_by_distance
from edgelm.graph.native.ending import first_row
from edgelm.graph.native.halving import mask_level
from edgelm.graph.native.layers import bytes_words, integer_head, product_of_floats, same_grid
from edgelm.graph.native.rotary import rotate
from edgelm.graph.native.state import State
from edgelm.graph.native.values import FirstQuery, Memory, Product, Rotated, Rows, Value
from edgelm.graph.native.view import Unsupported, attributes, need
from edgelm.graph.native.writer import bits


def integer_attention(state: State, node: onnx.NodeProto) -> Value:
    """QAttention: queries, keys and values by one product of integers, then attention in floats."""
    names = [*node.input, "", ""][:9]
    source, weights, bias, scale, weight_scale, mask, zero, weight_zero, past = names
    need(not past, f"{node.name}: a past")
    head, width, rows = integer_head(state, source, weights, weight_scale, weight_zero)
    same_grid(state, rows, scale, zero)
    return _attention(state, node, Product(head, width, rows.per_token, bias or None), mask)


def float_attention(state: State, node: onnx.NodeProto) -> Value:
    """Attention: the same with a product of floats."""
    names = [*node.input, "", "", "", ""][:7]
    source, weights, bias, mask, past, added, more = names
    need(not past and not more, f"{node.name}: a past")
    product = product_of_floats(state.rows(source), state.view.constant(weights), weights, bias or None)
    return _attention(state, node, product, mask, added)


def multi_head(state: State, node: onnx.NodeProto) -> Value:
    """MultiHeadAttention: of queries, keys and values by one product; or of the queries of some rows, by a product of
    their own, with the keys and values of all."""
    names = [*node.input, "", "", ""][:7]
    queries, keys, values, bias, mask, added, past = names
    parts = [state.values.get(name) for name in (queries, keys, values)]
    if any(isinstance(part, Rotated) for part in parts):
        need(not bias and not past, f"{node.name}: a bias or a past")
        return _rotated(state, node, parts, mask, added)
    first, alone = parts[1], isinstance(parts[0], FirstQuery)
    parts[0] = parts[0].memory if isinstance(parts[0], FirstQuery) else parts[0]
    if not isinstance(first, Memory) or bias or past:
        raise Unsupported(f"{node.name}: keys and values of another kind, or a bias")
    wanted = [Memory(first.product, part, first.parts) for part in range(first.parts)]
    need(parts[3 - first.parts :] == wanted, f"{node.name}: keys and values of two products")
    if first.parts == len(parts):
        return _attention(state, node, first.product, mask, added, first=alone)
    rows, width = state.rows(queries), first.product.width // 2
    need(rows.width == width, f"{node.name}: queries of another width")
    level = first.product.per_token
    keys, values = (state.writer.buffer(kind, width, per_token=level) for kind in ("keys", "floats"))
    for buffer in (keys, values):
        state.writer.pin(buffer)
    state.finish(first.product, f"memory {keys} {values}")
    return _attend(state, node, rows, Rows(keys, width, level), values, mask, added)


def _rotated(state: State, node: onnx.NodeProto, parts: Sequence[Value | None], mask: str, added: str) -> Value:
    queries, keys, values = parts
    if not isinstance(queries, Rotated) or not isinstance(keys, Rotated) or not isinstance(values, Memory):
        raise Unsupported(f"{node.name}: queries or keys alone are rotated")
    product, heads = values.product, attributes(node)["num_heads"]
    wanted = [Memory(product, part, 3) for part in range(3)]
    need([queries.memory, keys.memory, values] == wanted, f"{node.name}: queries, keys and values of other products")
    need(queries.angles == keys.angles and not keys.first, f"{node.name}: keys are rotated in another way")
    need(product.per_token == 1 and product.width % (3 * heads) == 0, f"{node.name}: attention")
    rows = Rows("", product.width // 3, per_token=1)
    buffers = _kept(state, rows.width, 1)
    state.finish(product, "heads " + " ".join(buffers))
    rotate(state, queries.angles, heads, rows.width // heads, buffers[:2])
    rows, kept = replace(rows, buffer=buffers[0]), replace(rows, buffer=buffers[1])
    return _attend(state, node, first_row(state, rows) if queries.first else rows, kept, buffers[2], mask, added)


def _attention(
    state: State, node: onnx.NodeProto, product: Product, mask: str, added: str = "", *, first: bool = False
) -> Value:
    width = product.width // 3
    need(product.per_token > 0 and product.width == 3 * width, f"{node.name}: attention")
    queries, keys, values = _kept(state, width, product.per_token)
    state.finish(product, f"heads {queries} {keys} {values}")
    rows, kept = Rows(queries, width, product.per_token), Rows(keys, width, product.per_token)
    return _attend(state, node, first_row(state, rows) if first else rows, kept, values, mask, added)


def _attend(state: State, node: onnx.NodeProto, queries: Rows, keys: Rows, values: str, mask: str, added: str) -> Value:
    found = attributes(node)
    width, heads = queries.width, found["num_heads"]
    known = {"num_heads", "scale", "mask_filter_value"}
    plain = set(found) <= known and found.get("mask_filter_value", -10000.0) == -10000.0
    need(plain and width % heads == 0, f"{node.name}: attention")
    if mask:
        need(mask_level(state, mask) == keys.per_token, f"{node.name}: another mask")
        state.writer.reads_mask = True
    need(bool(mask) or not state.padding_stays, f"{node.name}: padding is seen")
    made = state.new_rows(width, per_token=queries.per_token)
    scale = found.get("scale") or 1.0 / math.sqrt(width // heads)
    words: list[object] = ["attention", heads, width // heads]
    asked = state.view.maker(node.input[0], "Gather")
    queries_all = asked.input[0] if asked is not None else node.input[0]
    need(not added or keys.per_token == 1, f"{node.name}: distances of tokens that were halved")
    positions = position_words(state, added, queries_all, node.input[1], heads, scale) if added else []
    if positions:
        words = ["disentangled-attention", *words[1:], *positions]
    elif added:
        reach = state.writer.longest
        key = (added, reach, heads)
        if key not in state.biases:  # most layers share one
            state.biases[key] = state.writer.place(biases_by_distance(state.view, *key))
        words = ["near-attention", *words[1:], reach, state.biases[key]]
    words += [queries.buffer, keys.buffer, values, bits(scale), int(bool(mask)), made.buffer]
    state.writer.step(*words, bytes_words(state, state.bytes_wanted(node.output[0]), made))
    return made


def _kept(state: State, width: int, level: int) -> tuple[str, str, str]:
    """Buffers of attention. A thread may be in the next layer while another still reads the keys of this one; but not
    two layers on, since all threads meet between the two."""
    for buffers in state.kept[-2:-1]:
        if state.widths[buffers[0]] == (width, level):
            state.kept.append(buffers)
            return buffers
    made = [state.writer.buffer(kind, width, per_token=level) for kind in ("floats", "keys", "floats")]
    for buffer in made:
        state.writer.pin(buffer)
    state.widths[made[0]] = (width, level)
    state.kept.append((made[0], made[1], made[2]))
    return state.kept[-1]
