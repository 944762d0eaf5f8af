"""An encoder as a graph, made from sizes alone: it computes nothing of use, but takes the time that a real one of its
shape takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgelm.graph.halving import halve_tokens
from edgelm.graph.rewrites import MICROSOFT, add_weight
from edgelm.graph.unpadded import MASK, TOKENS, TYPES
from edgelm.shapes import LayerShape, ModelSizes

_OPSET = 20


def encoder_graph(
    sizes: ModelSizes,
    shapes: Sequence[LayerShape],
    *,
    seed: int = 0,
    blank: bool = False,
    first_rows: bool = True,
) -> onnx.ModelProto:
    """A post-norm encoder with a head, in the operators that an export has before it is fused or quantized
    (`edgelm.graph.fusion`).

    Args:
        shapes: heads and channels of each layer, 0 of either leaves its bias and norm; whether it halves the tokens.
        blank: matrices have sizes but no content: to count what the graph does, not to run it.
        first_rows: a last layer whose first token alone is classified computes that one (`edgelm.graph.first_rows`).

    Returns:
        inputs int64 (batch, sequence); output `logits`, float32 (batch, outputs), (batch, sequence, outputs) where the
        head reads every token, or (batch, hidden) where there is none.
    """
    first_rows = first_rows and sizes.outputs > 0 and not sizes.every_token
    graph = _Writer(sizes, seed, blank).write(shapes, first_rows=first_rows)
    halve_tokens(graph, [f"layer.{index}" for index, shape in enumerate(shapes) if shape.halves])
    return graph


class _Writer:
    """Adds nodes and random weights to one graph."""

    def __init__(self, sizes: ModelSizes, seed: int, blank: bool) -> None:
        self.sizes = sizes
        self._blank = blank
        self._draw = np.random.default_rng(seed)
        names = [TOKENS, MASK] + ([TYPES] if sizes.types else [])
        inputs = [helper.make_tensor_value_info(name, onnx.TensorProto.INT64, ["batch", "sequence"]) for name in names]
        width = sizes.outputs or sizes.hidden
        axes = ["batch", "sequence", width] if sizes.outputs and sizes.every_token else ["batch", width]
        output = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, axes)
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(MICROSOFT, 1)]
        self.graph = helper.make_model(
            helper.make_graph([], "encoder", inputs, [output]), opset_imports=opsets, ir_version=10
        )

    def write(self, shapes: Sequence[LayerShape], *, first_rows: bool) -> onnx.ModelProto:
        """All of it."""
        self._node("Cast", [MASK], "key_padding_mask", to=onnx.TensorProto.INT32)
        hidden = self._embed()
        for index, shape in enumerate(shapes):
            rows = hidden
            if first_rows and index == len(shapes) - 1:
                one = self._constant("first_row", np.array([0]))
                rows = self._node("Gather", [hidden, one], "first_rows", axis=1)
            attended = self._attend(f"layer.{index}.attention", hidden, shape.heads, rows)
            hidden = self._feed_forward(f"layer.{index}.ffn", attended, shape.ffn)
            self.graph.graph.node[-1].name = f"layer.{index}/{self.graph.graph.node[-1].op_type}"
        if self.sizes.outputs and self.sizes.every_token:
            product = self._matmul("classifier", hidden, self.sizes.hidden, self.sizes.outputs)
            self._node("Add", [product, self._random("classifier.bias", self.sizes.outputs)], "logits")
            return self.graph
        self.graph.graph.initializer.append(
            numpy_helper.from_array(np.array(0), "first")
        )  # a scalar, so that the axis goes
        first = self._node("Gather", [hidden, "first"], "first_token", axis=1)
        if self.sizes.outputs:
            pooled = self._node("Tanh", [self._gemm("pooler", first, self.sizes.hidden)], "pooled")
            self._gemm("classifier", pooled, self.sizes.outputs, output="logits")
        else:
            self._node("Identity", [first], "logits")
        return self.graph

    def _embed(self) -> str:
        sizes = self.sizes
        words = self._node("Gather", [self._random("words", sizes.vocabulary, sizes.hidden), TOKENS], "word_embedding")
        total = words if not sizes.position_table else self._place(words)
        if sizes.types:
            types = self._node("Gather", [self._random("types", sizes.types, sizes.hidden), TYPES], "type_embedding")
            total = self._node("Add", [total, types], "embedding_typed")
        return self._node("LayerNormalization", [total, *self._norm("embeddings")], "embedding", axis=-1, epsilon=1e-12)

    def _place(self, words: str) -> str:
        """With the embeddings of positions."""
        sizes = self.sizes
        length = self._node("Shape", [TOKENS], "length", start=1, end=2)
        start, axis = self._constant("start", np.array([0])), self._constant("axis", np.array([0]))
        ids = self._node(
            "Slice",
            [self._constant("position_ids", np.arange(sizes.positions)), start, length, axis],
            "text_position_ids",
        )
        places = self._node(
            "Gather", [self._random("positions", sizes.positions, sizes.hidden), ids], "position_embedding"
        )
        return self._node("Add", [words, places], "embedding_sum")

    def _attend(self, name: str, hidden: str, heads: int, rows: str) -> str:
        """Of these rows, over all."""
        if not heads:
            return self._constant_sublayer(name, rows)
        width = heads * self.sizes.head_size
        parts = [f"{name}.{part}" for part in ("query", "key", "value")]
        apart = [] if rows == hidden else [self._product(f"{name}.queries", rows, self.sizes.hidden, width)]
        packed = parts[len(apart) :]
        product = self._product(f"{name}.qkv", hidden, self.sizes.hidden, len(packed) * width)
        split = self._constant(f"{name}.sizes", np.array([width] * len(packed)))
        self.graph.graph.node.append(helper.make_node("Split", [product, split], packed, axis=-1))
        parts = [*apart, *packed]
        mixed = self._node(
            "MultiHeadAttention", [*parts, "", "key_padding_mask"], f"{name}.mixed", domain=MICROSOFT, num_heads=heads
        )
        return self._add_norm(name, self._matmul(f"{name}.output", mixed, width, self.sizes.hidden), rows)

    def _feed_forward(self, name: str, hidden: str, channels: int) -> str:
        if not channels:
            return self._constant_sublayer(name, hidden)
        active = self._gated(name, hidden, channels) if self.sizes.gated else self._active(name, hidden, channels)
        return self._add_norm(name, self._matmul(f"{name}.out", active, channels, self.sizes.hidden), hidden)

    def _active(self, name: str, hidden: str, channels: int) -> str:
        inner = self._matmul(f"{name}.in", hidden, self.sizes.hidden, channels)
        return self._node(
            "BiasGelu", [inner, self._random(f"{name}.in.bias", channels)], f"{name}.active", domain=MICROSOFT
        )

    def _gated(self, name: str, hidden: str, channels: int) -> str:
        """Channels and gates in one matrix, as ModernBERT has them."""
        packed = self._matmul(f"{name}.in", hidden, self.sizes.hidden, 2 * channels)
        parts = [f"{name}.channels", f"{name}.gates"]
        split = self._constant(f"{name}.in.sizes", np.array([channels] * 2))
        self.graph.graph.node.append(helper.make_node("Split", [packed, split], parts, axis=-1))
        return self._node("Mul", [self._node("Gelu", parts[:1], f"{name}.gelu"), parts[1]], f"{name}.active")

    def _constant_sublayer(self, name: str, hidden: str) -> str:
        total = self._node("Add", [hidden, self._random(f"{name}.bias", self.sizes.hidden)], f"{name}.sum")
        return self._node("LayerNormalization", [total, *self._norm(name)], f"{name}.normed", axis=-1, epsilon=1e-12)

    def _add_norm(self, name: str, source: str, skip: str) -> str:
        inputs = [source, skip, *self._norm(name), self._random(f"{name}.bias", self.sizes.hidden)]
        return self._node("SkipLayerNormalization", inputs, f"{name}.normed", domain=MICROSOFT, epsilon=1e-12)

    def _product(self, name: str, source: str, width: int, height: int) -> str:
        return self._node(
            "Add", [self._matmul(name, source, width, height), self._random(f"{name}.bias", height)], f"{name}.biased"
        )

    def _matmul(self, name: str, source: str, width: int, height: int) -> str:
        return self._node("MatMul", [source, self._random(f"{name}.weight", width, height)], f"{name}.product")

    def _gemm(self, name: str, source: str, height: int, output: str = "") -> str:
        inputs = [
            source,
            self._random(f"{name}.weight", height, self.sizes.hidden),
            self._random(f"{name}.bias", height),
        ]
        return self._node("Gemm", inputs, output or f"{name}.product", transB=1)

    def _norm(self, name: str) -> list[str]:
        ones = np.ones(self.sizes.hidden, dtype=np.float32)
        return [self._constant(f"{name}.norm.weight", ones), self._constant(f"{name}.norm.bias", 0 * ones)]

    def _random(self, name: str, *shape: int) -> str:
        if self._blank and len(shape) > 1:
            self.graph.graph.initializer.add(name=name, dims=shape, data_type=onnx.TensorProto.FLOAT)
            return name
        return self._constant(name, (0.02 * self._draw.standard_normal(shape)).astype(np.float32))

    def _constant(self, name: str, values: np.ndarray) -> str:
        return add_weight(self.graph, name, values)

    def _node(self, operator: str, inputs: Sequence[str], output: str, **attributes: object) -> str:
        self.graph.graph.node.append(helper.make_node(operator, list(inputs), [output], name=output, **attributes))
        return output
