"""DeBERTa's disentangled attention (He et al., arXiv:2006.03654) as MultiHeadAttention: what its scores have from
content to position and from position to content is what is added to them. Positions are projected here, once, instead
of for every text, and only those that the longest text has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgelm.graph.along_distance import along_distance
from edgelm.graph.names import module_of
from edgelm.graph.parts import part_before
from edgelm.graph.plain_attention import join_biases
from edgelm.graph.rewrites import MICROSOFT, add_weight, import_microsoft, remove_unused, replace_nodes, weights_of
from edgelm.graph.session import make_plain_session

_MASK = "attention_mask"
_KEYS_SEEN = "key_padding_mask"
_HIDDEN = -1e4  # what hides a key at least: nothing is left of its score
_LONGEST = 1024  # tokens, for each pair of which the position is computed once
_SHORT = 5
_HEADS_SECOND, _LAST_TWO = [0, 2, 1, 3], [0, 2, 1]


@dataclass(frozen=True)
class _Heads:
    """Rows of (batch, sequence, width) that were split into so many heads."""

    rows: str
    heads: int


@dataclass(frozen=True)
class _Term:
    """One of the two parts of scores that know positions.

    Attributes:
        content: queries, or keys where `by_key`.
        table: a row for each position, (heads, positions, numbers a head), with the scale of the term in it.
        index: the row for each query and key, by its name; or for each key and query.
    """

    content: _Heads
    table: np.ndarray
    index: str
    by_key: bool


def fuse_disentangled_attention(graph: onnx.ModelProto, *, longest: int) -> None:
    """Put MultiHeadAttention in the place of products, gathered scores, masks and softmax.

    Scores of tokens that are no padding are what they were; queries of padding, whose results nobody reads, now see the
    other tokens.

    Args:
        longest: tokens of the longest text that the graph is for.
    """
    if longest > _LONGEST or not any(node.op_type == "GatherElements" for node in graph.graph.node):
        return
    writer = _Writer(graph, _Finder(graph), longest)
    nodes = [writer.attention(node) for node in graph.graph.node if node.op_type == "Softmax"]
    fused = {node.output[0]: node for node in nodes if node is not None}
    if not fused:
        return
    import_microsoft(graph)
    made = [helper.make_node("Cast", [_MASK], [_KEYS_SEEN], to=onnx.TensorProto.INT32), *writer.nodes]
    replace_nodes(graph, [*(fused.get(node.output[0], node) for node in graph.graph.node), *made])
    remove_unused(graph)
    join_biases(graph)


class _Finder:
    """What a graph computes before a value, as far as this attention is concerned."""

    def __init__(self, graph: onnx.ModelProto) -> None:
        self._graph = graph
        self._weights = weights_of(graph)
        self._makers = {name: node for node in graph.graph.node for name in node.output}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        self._computed = {value.name for value in graph.graph.input}
        for node in graph.graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)
            if self._computed & set(node.input):
                self._computed |= set(node.output)
        self._hiding: dict[str, bool] = {}

    def maker(self, name: str, *kinds: str) -> onnx.NodeProto | None:
        """The node that computes a value, if it is of one of these kinds."""
        node = self._makers.get(name)
        return node if node is not None and node.op_type in kinds else None

    def reader(self, name: str, kind: str) -> onnx.NodeProto | None:
        """The one node that reads a value, if it is of this kind."""
        readers = self._readers.get(name, [])
        return readers[0] if len(readers) == 1 and readers[0].op_type == kind else None

    def compute(self, name: str, mask: np.ndarray | None = None) -> np.ndarray:
        """A value for inputs that are all like this one; without: one that no input changes."""
        inputs = [value.name for value in self._graph.graph.input]
        opsets, version = self._graph.opset_import, self._graph.ir_version
        part = part_before(
            self._graph.graph.node, name, inputs=inputs, constant=self._weights.get, opsets=opsets, ir_version=version
        )
        (found,) = make_plain_session(part).run(None, {each.name: mask for each in part.graph.input})
        result: np.ndarray = found
        return result

    def heads(self, name: str) -> _Heads | None:
        """What (batch * heads, sequence, numbers) is made of."""
        flat = self.maker(name, "Reshape")
        turned = self.maker(flat.input[0], "Transpose") if flat is not None else None
        split = self.maker(turned.input[0], "Reshape") if turned is not None else None
        sizes = self.maker(split.input[1], "Concat") if split is not None else None
        if turned is None or split is None or sizes is None or _order(turned) != _HEADS_SECOND:
            return None
        count = self.number(sizes.input[2]) if len(sizes.input) == 4 else None
        return _Heads(split.input[0], int(count)) if count else None

    def number(self, name: str) -> float | None:
        """A constant number."""
        values = numpy_helper.to_array(self._weights[name]) if name in self._weights else np.zeros(0)
        return float(values.reshape(-1)[0]) if values.size == 1 else None

    def divided(self, name: str) -> tuple[str, float]:
        """A value before it is divided by a constant, and the factor that this is."""
        node = self.maker(name, "Div")
        by = self.number(node.input[1]) if node is not None else None
        return (node.input[0], 1 / by) if node is not None and by else (name, 1.0)

    def unmasked(self, name: str) -> str | None:
        """The scores before padding is hidden, as (batch * heads, queries, keys)."""
        node = self.maker(name, "Where")
        shaped = self.maker(node.input[2], "Reshape") if node is not None else None
        if node is None or shaped is None or (self.number(node.input[1]) or 0.0) > _HIDDEN:
            return None
        if node.input[0] not in self._hiding:
            self._hiding[node.input[0]] = self._hides_padding(node.input[0])
        return shaped.input[0] if self._hiding[node.input[0]] else None

    def _hides_padding(self, name: str) -> bool:
        """Whether queries that are no padding see all keys that are none, and no other; which is tried."""
        random = np.random.default_rng(0)
        for tokens in (_SHORT, 2 * _SHORT):
            mask = (random.random((3, tokens)) < 0.6).astype(np.int64)
            hidden, padding = (
                self.compute(name, mask),
                np.broadcast_to(mask[:, None, None, :] == 0, (3, 1, tokens, tokens)),
            )
            if hidden.shape != padding.shape:
                return False
            asked = np.broadcast_to(mask[:, None, :, None] > 0, padding.shape)
            if np.any(hidden[asked] != padding[asked]):
                return False
        return True

    def term(self, name: str) -> _Term | None:
        """A part of the scores that knows positions."""
        name, scale = self.divided(name)
        turned = self.maker(name, "Transpose")
        if turned is not None and _order(turned) != _LAST_TWO:
            return None
        gathered = self.maker(turned.input[0] if turned is not None else name, "GatherElements")
        product = self.maker(gathered.input[0], "FusedMatMul", "MatMul") if gathered is not None else None
        index = self.maker(gathered.input[1], "Expand") if gathered is not None else None
        content = self.heads(product.input[0]) if product is not None else None
        tiled = self.maker(product.input[1], "Tile") if product is not None else None
        if product is None or index is None or content is None or tiled is None or tiled.input[0] in self._computed:
            return None
        given = {each.name: helper.get_attribute_value(each) for each in product.attribute}
        table = self.compute(tiled.input[0])
        if not given.pop("transB", 0):
            table = table.swapaxes(1, 2)
        scale *= float(given.pop("alpha", 1.0))
        if any(given.values()) or len(table) != content.heads:
            return None
        return _Term(content, table * np.float32(scale), index.input[0], turned is not None)


class _Writer:
    """Makes the operators that take the place of what was found.

    Attributes:
        nodes: those that compute what attention reads.
    """

    def __init__(self, graph: onnx.ModelProto, finder: _Finder, longest: int) -> None:
        self._graph, self._finder, self._longest = graph, finder, longest
        self.nodes: list[onnx.NodeProto] = []
        self._by_distance: dict[str, np.ndarray | None] = {}
        self._columns: np.ndarray | None = None
        self._made = set[str]()

    def attention(self, softmax: onnx.NodeProto) -> onnx.NodeProto | None:
        """The operator that gives what follows a softmax; None: that is no attention, or of another form."""
        find = self._finder
        scores, end = find.unmasked(softmax.input[0]), self._end(softmax.output[0])
        added = find.maker(scores, "Add") if scores is not None else None
        product = find.maker(added.input[0], "MatMul") if added is not None else None
        if end is None or added is None or product is None:
            return None
        keys, scale = find.divided(product.input[1])
        turned = find.maker(keys, "Transpose")
        asking = find.heads(product.input[0])
        seen = find.heads(turned.input[0]) if turned is not None and _order(turned) == _LAST_TWO else None
        both = find.maker(added.input[1], "Add")
        terms = [find.term(name) for name in (both.input if both is not None else added.input[1:])]
        values, output = end
        if asking is None or seen is None or not asking.heads == seen.heads == values.heads:
            return None
        if any(each is None or each.content != (seen if each.by_key else asking) for each in terms):
            return None
        own = module_of(softmax)
        bias = self._bias(own, [each for each in terms if each is not None])
        inputs = [asking.rows, seen.rows, values.rows, "", _KEYS_SEEN, bias]
        return bias and helper.make_node(
            "MultiHeadAttention", inputs, [output], domain=MICROSOFT, num_heads=seen.heads, scale=scale,
            name=f"{own}/MultiHeadAttention",
        )  # fmt: skip

    def _end(self, shares: str) -> tuple[_Heads, str] | None:
        """The values, and the rows that their weighted sums are in the end."""
        find = self._finder
        shaped = find.reader(shares, "Reshape")
        product = find.reader(shaped.output[0], "MatMul") if shaped is not None else None
        split = find.reader(product.output[0], "Reshape") if product is not None else None
        turned = find.reader(split.output[0], "Transpose") if split is not None else None
        joined = find.reader(turned.output[0], "Reshape") if turned is not None else None
        values = find.heads(product.input[1]) if product is not None else None
        if turned is None or joined is None or values is None or _order(turned) != _HEADS_SECOND:
            return None
        return values, joined.output[0]

    def _bias(self, own: str, terms: list[_Term]) -> str:
        """What is added to the scores, (batch, heads, queries, keys); empty: positions are not distances."""
        rows = [each for each in (self._rows(term.index) for term in terms) if each is not None]
        if len(rows) < len(terms):
            return ""
        pairs, inverse = np.unique(np.stack(rows), axis=1, return_inverse=True)
        columns = inverse.reshape(-1).astype(np.int64)
        if self._columns is None:
            self._columns = columns
        if not np.array_equal(self._columns, columns):  # in other buckets than those of the layers before
            return ""
        index = self._index(columns, terms[0].content.heads)
        parts = []
        for term, kept in zip(terms, pairs, strict=True):
            part = f"{own}.{'p2c' if term.by_key else 'c2p'}"
            heads, _, size = term.table.shape
            table = np.ascontiguousarray(term.table[:, kept].swapaxes(1, 2), dtype=np.float32)
            shape = np.array([0, 0, heads, size], dtype=np.int64)
            split = self._node(
                "Reshape", [term.content.rows, self._constant(f"{part}.shape", shape)], f"{part}/Reshape"
            )
            turned = self._node("Transpose", [split], f"{part}/Heads", perm=_HEADS_SECOND)
            product = self._node("MatMul", [turned, self._constant(f"{part}.weight", table)], f"{part}/MatMul")
            found = self._node("GatherElements", [product, index], f"{part}/GatherElements", axis=3)
            parts.append(
                self._node("Transpose", [found], f"{part}/Turned", perm=[0, 1, 3, 2]) if term.by_key else found
            )
        return parts[0] if len(parts) == 1 else self._node("Add", parts, f"{own}.positions/Add")

    def _rows(self, index: str) -> np.ndarray | None:
        """The row of the table for each distance, last axis - the one before, from 1 - longest on; None: positions are
        no distances."""
        if index not in self._by_distance:
            found, short = (
                self._finder.compute(index, np.ones((1, tokens), dtype=np.int64)).squeeze()
                for tokens in (self._longest, min(_SHORT, self._longest))
            )
            along = along_distance(found)
            few = along_distance(short)
            last, reach = self._longest - 1, len(short) - 1
            same = along is not None and few is not None and np.array_equal(few, along[last - reach : last + reach + 1])
            self._by_distance[index] = along if same else None
        return self._by_distance[index]

    def _index(self, columns: np.ndarray, heads: int) -> str:
        """The column for each query and key, (batch, heads, queries, keys); or for each key and query."""
        tokens = self._node("Shape", [_MASK], "positions/tokens", start=1, end=2)
        batch = self._node("Shape", [_MASK], "positions/batch", start=0, end=1)
        zero, one = (self._constant(f"positions.{each}", np.array(each, dtype=np.int64)) for each in (0, 1))
        first, second = (self._constant(f"positions.axis{each}", np.array([each], dtype=np.int64)) for each in (0, 1))
        last = self._constant("positions.last", np.array(self._longest - 1, dtype=np.int64))
        count = self._node("Squeeze", [tokens], "positions/count")
        places = self._node("Range", [zero, count, one], "positions/places")
        across = self._node(
            "Add", [self._node("Unsqueeze", [places, first], "positions/row"), last], "positions/across"
        )
        distance = self._node(
            "Sub", [across, self._node("Unsqueeze", [places, second], "positions/column")], "positions/distance"
        )
        each = self._node("Gather", [self._constant("positions.columns", columns), distance], "positions/each")
        own = self._constant(f"positions.heads{heads}", np.array([heads], dtype=np.int64))
        shape = self._node("Concat", [batch, own, tokens, tokens], f"positions/shape{heads}", axis=0)
        return self._node("Expand", [each, shape], f"positions/index{heads}")

    def _constant(self, name: str, values: np.ndarray) -> str:
        if name not in self._made:
            self._made.add(name)
            add_weight(self._graph, name, values)
        return name

    def _node(self, kind: str, inputs: list[str], name: str, **given: Any) -> str:
        if name not in self._made:
            self._made.add(name)
            self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **given))
        return name


def _order(node: onnx.NodeProto) -> list[int]:
    return list(helper.get_node_attr_value(node, "perm"))
