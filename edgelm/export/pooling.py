"""Token vectors to sentence vectors in a graph: what `edgelm.anatomy.task_model.sentence_vectors` computes, as ONNX
operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgelm.anatomy.sentence_head import HEAD, Dense, LayerNorm
from edgelm.tasks.text import SentenceEmbedding

_TOKENS, _IDS, _MASK = "last_hidden_state", "input_ids", "attention_mask"
_ONE_NODE = {"Tanh": "Tanh", "ReLU": "Relu", "Sigmoid": "Sigmoid"}


class _Tail:
    """The end of a graph, as it grows."""

    def __init__(self, graph: onnx.ModelProto) -> None:
        self.graph, self.count, self.module = graph.graph, 0, "pooling"
        self.opset = next(entry.version for entry in graph.opset_import if entry.domain == "")

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add an operator and return the name of what it gives."""
        self.count += 1
        output = f"sentence_{self.count}_{kind.lower()}"
        name = f"{self.module}/{kind}_{self.count}"  # onnxruntime wants names of nodes to differ
        self.graph.node.append(helper.make_node(kind, list(inputs), [output], name=name, **attributes))
        return output

    def constant(self, values: Any, kind: Any = np.float32) -> str:
        """Add a constant and return its name."""
        self.count += 1
        name = f"sentence_{self.count}_constant"
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(values, dtype=kind), name))
        return name

    def largest(self, values: str) -> str:
        """The largest values over the tokens; the axis is an attribute before opset 18."""
        if self.opset < 18:
            return self.node("ReduceMax", values, axes=[1], keepdims=0)
        return self.node("ReduceMax", values, self.integers(1), keepdims=0)

    def integers(self, *values: int) -> str:
        """Add a list of whole numbers, such as axes."""
        return self.constant(values, np.int64)


def append_pooling(graph: onnx.ModelProto, task: SentenceEmbedding, layers: Sequence[Any]) -> None:
    """Put pooling, the layers behind it, length one and the cut to the first values behind a graph's token vectors.

    Args:
        graph: gives `last_hidden_state` (batch, tokens, hidden); gives `embedding` (batch, width) afterwards.
        layers: of `edgelm.anatomy.sentence_head.head_layers`.
    """
    tail = _Tail(graph)
    hidden = graph.graph.output[0].type.tensor_type.shape.dim[-1].dim_value
    ways = [_pool(tail, way) for way in task.poolings]
    vectors, width = ways[0] if len(ways) == 1 else tail.node("Concat", *ways, axis=-1), hidden * len(ways)
    for index, layer in enumerate(layers):
        tail.module = f"{HEAD}.{index}"
        vectors = _layer(tail, layer, vectors)
        width = layer.layer.outputs or width
    tail.module = "pooling"
    if task.normalize:
        vectors = _unit(tail, vectors)
    if task.dimensions is not None and task.dimensions < width:
        width = task.dimensions
        vectors = tail.node("Slice", vectors, tail.integers(0), tail.integers(width), tail.integers(1))
    (name,) = task.output_names
    graph.graph.node[-1].output[0] = name  # the last node gives the vectors
    del graph.graph.output[:]
    graph.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", width]))


def _pool(tail: _Tail, way: str) -> str:
    """One way of pooling; padding, which stands behind a text, takes no part."""
    if way == "cls":
        return tail.node("Gather", _TOKENS, tail.constant(0, np.int64), axis=1)
    mask = tail.node("Cast", _mask(tail), to=onnx.TensorProto.FLOAT)  # (batch, tokens)
    if way == "lasttoken":
        last = tail.node("ArgMax", mask, axis=1, keepdims=1, select_last_index=1)  # (batch, 1)
        return tail.node("GatherND", _TOKENS, last, batch_dims=1)
    if way == "max":
        real = tail.node("Unsqueeze", tail.node("Cast", mask, to=onnx.TensorProto.BOOL), tail.integers(2))
        return tail.largest(tail.node("Where", real, _TOKENS, tail.constant(np.finfo(np.float32).min)))
    if way == "weightedmean":
        mask = tail.node("Mul", mask, tail.node("CumSum", mask, tail.constant(1, np.int64)))
    weights = tail.node("Unsqueeze", mask, tail.integers(2))  # (batch, tokens, 1)
    axis = tail.integers(1)
    total = tail.node("ReduceSum", tail.node("Mul", _TOKENS, weights), axis, keepdims=0)
    count = tail.node("ReduceSum", weights, axis, keepdims=0)
    return tail.node("Div", total, tail.node("Sqrt", count) if way == "mean_sqrt_len_tokens" else count)


def _mask(tail: _Tail) -> str:
    """The mask; of a graph that reads none, ones for all tokens."""
    if any(value.name == _MASK for value in tail.graph.input):
        return _MASK
    shape = tail.node("Shape", _IDS)
    return tail.node("ConstantOfShape", shape, value=numpy_helper.from_array(np.array([1], dtype=np.int64)))


def _unit(tail: _Tail, vectors: str) -> str:
    return tail.node("LpNormalization", vectors, axis=-1, p=2)


def _layer(tail: _Tail, layer: Any, vectors: str) -> str:
    if isinstance(layer, Dense):
        found = _activation(tail, layer.layer.activation, _linear(tail, layer.linear, vectors))
        if not layer.layer.residual:
            return found
        return tail.node(
            "Add", found, _linear(tail, layer.residual, vectors) if hasattr(layer, "residual") else vectors
        )
    if isinstance(layer, LayerNorm):
        norm = layer.norm
        scale, shift = tail.constant(_array(norm.weight)), tail.constant(_array(norm.bias))
        return tail.node("LayerNormalization", vectors, scale, shift, axis=-1, epsilon=norm.eps)
    return _unit(tail, vectors)


def _linear(tail: _Tail, linear: Any, vectors: str) -> str:
    product = tail.node("MatMul", vectors, tail.constant(_array(linear.weight).T))
    return product if linear.bias is None else tail.node("Add", product, tail.constant(_array(linear.bias)))


def _array(parameter: Any) -> np.ndarray:
    values: np.ndarray = parameter.detach().float().cpu().numpy()
    return np.ascontiguousarray(values)


def _activation(tail: _Tail, name: str, values: str) -> str:
    """One of `edgelm.model_folder.sentence_transformers.ACTIVATIONS`, with torch's own constants."""
    if name == "Identity":
        return values
    if name in _ONE_NODE:
        return tail.node(_ONE_NODE[name], values)
    if name == "LeakyReLU":
        return tail.node("LeakyRelu", values, alpha=0.01)
    if name == "ELU":
        return tail.node("Elu", values, alpha=1.0)
    if name == "SiLU":
        return tail.node("Mul", values, tail.node("Sigmoid", values))
    share = tail.node("Erf", tail.node("Div", values, tail.constant(np.sqrt(2.0))))  # GELU
    return tail.node("Mul", tail.node("Mul", values, tail.constant(0.5)), tail.node("Add", share, tail.constant(1.0)))
