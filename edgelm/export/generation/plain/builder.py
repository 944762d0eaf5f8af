"""Norms and activations in standard operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import onnx
from onnx import helper

from edgelm.errors import ModelError
from edgelm.export.generation.builder import GraphBuilder, Norm

_INT4_OPSET = 21  # of integers in 4 bits, and of blocks that share a scale


class PlainGraphBuilder(GraphBuilder):
    """A graph that grows from its inputs to its outputs, see `GraphBuilder`.

    Norms are computed in FP32 where the graph's floats are FP16: squares overflow it.
    """

    opsets: ClassVar[dict[str, int]] = {"": 20}

    def int4_constant(self, name: str, values: np.ndarray) -> str:
        """Add integers from -8 to 7, (rows, columns) int8 with an even number of values, in 4 bits each."""
        if name not in self._used:
            flat = values.reshape(-1).astype(np.uint8) & 0xF
            packed = flat[0::2] | (flat[1::2] << 4)
            self.model.graph.initializer.append(
                helper.make_tensor(name, onnx.TensorProto.INT4, values.shape, packed.tobytes(), raw=True)
            )
            self.model.opset_import[0].version = _INT4_OPSET
            self._used.add(name)
        return name

    def norm(self, source: str, norm: Norm) -> str:
        """A norm over the last axis."""
        half, place = self.half, norm.name
        full = self.cast(source, np.float32, place) if half else source
        scale = self.raw_constant(f"{place}.weight", norm.weight.astype(np.float32))
        if norm.bias is not None:
            bias = self.raw_constant(f"{place}.bias", norm.bias.astype(np.float32))
            result = self.node("LayerNormalization", [full, scale, bias], place, axis=-1, epsilon=norm.epsilon)
        else:
            square = self.node("Mul", [full, full], place)
            mean = self.node("ReduceMean", [square, self.constant("last_axis", [-1])], place, keepdims=1)
            epsilon = self.raw_constant(f"epsilon.{norm.epsilon:g}", np.array(norm.epsilon, dtype=np.float32))
            root = self.node("Sqrt", [self.node("Add", [mean, epsilon], place)], place)
            result = self.node("Mul", [self.node("Div", [full, root], place), scale], place)
        return self.cast(result, np.float16, place) if half else result

    def add_norm(self, source: str, skip: str, norm: Norm) -> tuple[str, str]:
        """The norm of a sum, and the sum."""
        total = self.node("Add", [source, skip], norm.name)
        return self.norm(total, norm), total

    def activation(self, source: str, kind: str, place: str) -> str:
        """An activation by the name that transformers gives it.

        Raises:
            ModelError: no operator computes it.
        """
        activations: dict[str, Callable[[], str]] = {
            "gelu": lambda: self.node("Gelu", [source], place),
            "gelu_new": lambda: self.node("Gelu", [source], place, approximate="tanh"),
            "relu": lambda: self.node("Relu", [source], place),
            "silu": lambda: self._gated(source, 1.0, place),
            "quick_gelu": lambda: self._gated(source, 1.702, place),
        }
        activations |= dict.fromkeys(("gelu_fast", "gelu_pytorch_tanh"), activations["gelu_new"])
        activations["swish"] = activations["silu"]
        if kind not in activations:
            raise ModelError(
                f"{place}: the activation {kind!r} has no operator here.",
                hint=f"Known activations: {', '.join(activations)}.",
            )
        return activations[kind]()

    def _gated(self, source: str, slope: float, place: str) -> str:
        """x times the sigmoid of `slope` x."""
        steep = source
        if slope != 1:
            steep = self.node("Mul", [source, self.constant(f"slope.{slope:g}", np.float32(slope))], place)
        return self.node("Mul", [source, self.node("Sigmoid", [steep], place)], place)
