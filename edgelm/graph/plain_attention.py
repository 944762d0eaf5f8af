"""Attention that the exporter left as single operators, as MultiHeadAttention: models that add something to the scores
beside the padding mask (MPNet's relative positions, ModernBERT's windows) have no fused operator in the exporter's
patterns."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum, auto

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgelm.graph.names import module_of
from edgelm.graph.parts import part_before
from edgelm.graph.rewrites import (
    MICROSOFT,
    add_weight,
    count_readers,
    import_microsoft,
    read_instead,
    remove_unused,
    replace_nodes,
    weights_of,
)
from edgelm.graph.session import make_plain_session

_MASK = "attention_mask"
_HIDDEN = -1e4  # what a mask adds at least to the scores of padding: nothing is left of them
_HEADS_SECOND, _KEYS_LAST = (0, 2, 1, 3), (0, 2, 3, 1)


@dataclass(frozen=True)
class _Scores:
    """Queries times keys, as (batch, heads, sequence, sequence), with what is added.

    Attributes:
        queries: rows of (batch, sequence, width); and the keys.
        head_width: numbers a head.
        scale: of the products.
        added: names of values.
    """

    queries: str
    keys: str
    head_width: int
    scale: float
    added: tuple[str, ...] = ()


def fuse_plain_attention(graph: onnx.ModelProto) -> None:
    """Put one MultiHeadAttention in the place of products, scaling, additions, softmax, and changes of shape.

    What is added to the scores goes in as the operator's `attention_bias`; an addition that only hides padding, which
    is found by trying it, goes in as `key_padding_mask` instead, and one that hides other keys too as both. Biases of
    queries, keys and values that come from one product are added before it is split.
    """
    finder = _Finder(graph)
    fused = {}
    for node in graph.graph.node:
        found = finder.attention(node) if node.op_type == "Softmax" else None
        if found is not None:
            fused[found.output[0]] = found
    if not fused:
        return
    import_microsoft(graph)
    nodes = [*(fused.get(node.output[0], node) for node in graph.graph.node), *finder.without_padding]
    if any(node.input[4] for node in fused.values()) and not any("key_padding_mask" in node.output for node in nodes):
        nodes.insert(0, helper.make_node("Cast", [_MASK], ["key_padding_mask"], to=onnx.TensorProto.INT32))
    replace_nodes(graph, nodes)
    remove_unused(graph)
    join_biases(graph)


class _Hides(Enum):
    """Which keys an addition to the scores hides."""

    PADDING = auto()
    NO_PADDING = auto()
    MORE = auto()  # padding and others


class _Finder:
    """What a graph computes before a value, as far as attention is concerned.

    Attributes:
        without_padding: nodes that compute biases as if no token were padding.
    """

    def __init__(self, graph: onnx.ModelProto) -> None:
        self._graph = graph
        self._weights = weights_of(graph)
        self._makers = {name: node for node in graph.graph.node for name in node.output}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)
        self._hides: dict[str, _Hides] = {}
        self.without_padding: list[onnx.NodeProto] = []

    def attention(self, softmax: onnx.NodeProto) -> onnx.NodeProto | None:
        """The operator that gives what follows a softmax; None: that is no attention, or of another form."""
        scores = self._scores(softmax.input[0])
        product = self._reader(softmax.output[0], "MatMul")
        turned = self._reader(product.output[0], "Transpose") if product is not None else None
        end = self._reader(turned.output[0], "Reshape") if turned is not None else None
        if scores is None or product is None or turned is None or end is None or _order(turned) != _HEADS_SECOND:
            return None
        values = self._rows(product.input[1], _HEADS_SECOND)
        width = self._width(scores.queries)
        if product.input[0] != softmax.output[0] or values is None or width is None or width % scores.head_width:
            return None
        hides = {name: self._what_it_hides(name) for name in scores.added}
        padding = [name for name, found in hides.items() if found is not _Hides.NO_PADDING]
        biases = [name for name, found in hides.items() if found is not _Hides.PADDING]
        if len(padding) > 1 or len(biases) > 1:
            return None
        mask, usual = "key_padding_mask" if padding else "", 1 / math.sqrt(scores.head_width)
        bias = self._for_every_text(biases[0]) if biases else ""
        if bias and padding == biases:
            bias = self._without_padding(bias)
        return helper.make_node(
            "MultiHeadAttention",
            [scores.queries, scores.keys, values[0], "", mask, bias],
            [end.output[0]],
            domain=MICROSOFT,
            num_heads=width // scores.head_width,
            name=f"{module_of(softmax) or module_of(end)}/MultiHeadAttention",
            **({} if math.isclose(scores.scale, usual, rel_tol=1e-6) else {"scale": scores.scale}),
        )

    def _reader(self, name: str, kind: str) -> onnx.NodeProto | None:
        readers = self._readers.get(name, [])
        return readers[0] if len(readers) == 1 and readers[0].op_type == kind else None

    def _scores(self, name: str) -> _Scores | None:
        node = self._makers.get(name)
        if node is None:
            return None
        if node.op_type == "Add":
            found = [(self._scores(one), other) for one, other in (node.input, tuple(node.input)[::-1])]
            known = [(scores, other) for scores, other in found if scores is not None]
            if len(known) != 1:  # two products are added up: that is another attention
                return None
            scores, other = known[0]
            return replace(scores, added=(*scores.added, other))
        if node.op_type in ("Mul", "Div") and node.input[1] in self._weights:
            factor = numpy_helper.to_array(self._weights[node.input[1]])
            inner = self._scores(node.input[0])
            if inner is None or inner.added or factor.size != 1:
                return None
            scale = float(factor.reshape(-1)[0])
            return replace(inner, scale=inner.scale * (scale if node.op_type == "Mul" else 1 / scale))
        return self._product(node)

    def _product(self, node: onnx.NodeProto) -> _Scores | None:
        if node.op_type not in ("MatMul", "FusedMatMul") or set(node.input) & set(self._weights):
            return None
        given = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        turned = given.pop("transB", 0)
        scale = float(given.pop("alpha", 1.0))
        if any(given.values()):
            return None
        queries = self._rows(node.input[0], _HEADS_SECOND)
        keys = self._rows(node.input[1], _HEADS_SECOND if turned else _KEYS_LAST)
        if queries is None or keys is None or queries[1] != keys[1]:
            return None
        return _Scores(queries[0], keys[0], queries[1], scale)

    def _rows(self, name: str, order: tuple[int, ...]) -> tuple[str, int] | None:
        """The rows that a value of (batch, heads, sequence, numbers), in this order, is made of; and numbers a head."""
        turned = self._makers.get(name)
        shaped = self._makers.get(turned.input[0]) if turned is not None and turned.op_type == "Transpose" else None
        if turned is None or shaped is None or shaped.op_type != "Reshape" or _order(turned) != order:
            return None
        size = self._head_width(shaped)
        return None if size is None else (shaped.input[0], size)

    def _head_width(self, shaped: onnx.NodeProto) -> int | None:
        """The last size of what a Reshape makes of rows, of four: said, or left to the number of heads."""
        maker = self._makers.get(shaped.input[1])
        names = list(maker.input) if maker is not None and maker.op_type == "Concat" else [shaped.input[1]]
        if names[-1] not in self._weights or len(names) not in (1, 4):
            return None
        sizes = numpy_helper.to_array(self._weights[names[-1]]).reshape(-1)
        if len(sizes) == len(names) == 1 or len(sizes) not in (1, 4):
            return None
        if sizes[-1] > 0:
            return int(sizes[-1])
        width = self._width(shaped.input[0])
        heads = int(sizes[-2]) if len(sizes) == 4 else 0
        return width // heads if width is not None and heads > 0 and width % heads == 0 else None

    def _width(self, rows: str) -> int | None:
        """The width of rows that come from a product, with or without a bias."""
        node = self._makers.get(rows)
        if node is None:
            return None
        for name in node.input:
            if name in self._weights and node.op_type in ("Add", "MatMul"):
                return int(self._weights[name].dims[-1])
        if node.op_type == "RotaryEmbedding":
            return self._width(node.input[0])
        if node.op_type == "Split" and len(node.input) > 1 and node.input[1] in self._weights:
            return int(numpy_helper.to_array(self._weights[node.input[1]])[list(node.output).index(rows)])
        return None

    def _for_every_text(self, name: str) -> str:
        """What is repeated for every text of a batch is given once."""
        node = self._makers.get(name)
        once = self._makers.get(node.input[0]) if node is not None and node.op_type == "Expand" else None
        if once is None or once.op_type != "Unsqueeze" or once.input[1] not in self._weights:
            return name
        axes = numpy_helper.to_array(self._weights[once.input[1]]).reshape(-1).tolist()
        return once.output[0] if axes == [0] else name

    def _what_it_hides(self, name: str) -> _Hides:
        if name not in self._hides:
            self._hides[name] = self._try(name)
        return self._hides[name]

    def _part(self, name: str) -> onnx.ModelProto:
        return part_before(
            self._graph.graph.node,
            name,
            inputs=[value.name for value in self._graph.graph.input],
            constant=self._weights.get,
            opsets=self._graph.opset_import,
            ir_version=self._graph.ir_version,
        )

    def _try(self, name: str) -> _Hides:
        """Try a value on masks: it hides padding where it is what it is without any, but for padding, which it hides
        whatever asks."""
        part = self._part(name)
        if [value.name for value in part.graph.input] != [_MASK]:
            return _Hides.NO_PADDING
        session = make_plain_session(part)
        random = np.random.default_rng(0)
        more = False
        for tokens in (5, 12):
            mask = (random.random((3, tokens)) < 0.6).astype(np.int64)
            (plain,), (found,) = (session.run(None, {_MASK: each}) for each in (np.ones_like(mask), mask))
            seen = np.broadcast_to(mask[:, None, None, :] > 0, (3, 1, tokens, tokens))
            if found.shape != seen.shape or np.any(found[seen] != plain[seen]) or np.any(found[~seen] > _HIDDEN):
                return _Hides.NO_PADDING
            more = more or bool(plain.any())
        return _Hides.MORE if more else _Hides.PADDING

    def _without_padding(self, name: str) -> str:
        """A value as it is where no token is padding, once for all texts."""
        made = {node.output[0] for node in self.without_padding}
        every = f"{name}/every_token"
        if every in made:
            return every
        ones, one = f"{_MASK}/ones", f"{_MASK}/one"
        if ones not in made:
            add_weight(self._graph, one, np.ones(1, dtype=np.int64))
            value = numpy_helper.from_array(np.ones(1, dtype=np.int64))
            self.without_padding += [
                helper.make_node("Shape", [_MASK], [f"{_MASK}/tokens"], start=1, end=2),
                helper.make_node("Concat", [one, f"{_MASK}/tokens"], [f"{_MASK}/sizes"], axis=0),
                helper.make_node("ConstantOfShape", [f"{_MASK}/sizes"], [ones], value=value),
            ]
        renamed = {_MASK: ones}
        for node in self._part(name).graph.node:
            for output in node.output:
                renamed[output] = f"{output}/every_token"
            if node.output[0] not in made:
                inputs = [renamed.get(each, each) for each in node.input]
                copy = onnx.NodeProto()
                copy.CopyFrom(node)
                copy.name = f"{node.name}/every_token"
                del copy.input[:], copy.output[:]
                copy.input.extend(inputs)
                copy.output.extend(renamed[each] for each in node.output)
                self.without_padding.append(copy)
        return every


def _order(node: onnx.NodeProto) -> tuple[int, ...]:
    return tuple(helper.get_node_attr_value(node, "perm"))


def join_biases(graph: onnx.ModelProto) -> None:
    """Add the biases of queries, keys and values at once, where one product gives all three."""
    weights, readers = weights_of(graph), count_readers(graph)
    makers = {name: node for node in graph.graph.node for name in node.output}
    joined, renamed = [], dict[str, str]()
    for node in graph.graph.node:
        if node.op_type != "MultiHeadAttention":
            continue
        added = [makers[name] for name in node.input[:3] if name in makers and makers[name].op_type == "Add"]
        split = makers.get(added[0].input[0]) if len(added) == 3 else None
        if split is None or split.op_type != "Split" or [each.input[0] for each in added] != list(split.output):
            continue
        alone = all(readers[name] == 1 for name in split.output)
        if not alone or any(each.input[1] not in weights for each in added):
            continue
        own = f"{module_of(node)}.qkv"
        biases = [numpy_helper.to_array(weights[each.input[1]]) for each in added]
        bias = add_weight(graph, f"{own}.bias", np.concatenate(biases))
        joined.append(helper.make_node("Add", [split.input[0], bias], [f"{own}/joined"], name=f"{own}/Add"))
        split.input[0], split.name = f"{own}/joined", f"{own}/Split"
        renamed |= dict(zip(node.input[:3], split.output, strict=True))
    read_instead(graph, renamed)
    replace_nodes(graph, [*graph.graph.node, *joined])
    remove_unused(graph)
