"""FP16: weights and most of the arithmetic in half precision; what could overflow or lose its meaning stays in FP32."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

# Sums of squares, exponentials and norms leave FP16's range or eat its ten bits; lookups of indices are no arithmetic.
KEPT_IN_FP32 = (
    "LayerNormalization",
    "SkipLayerNormalization",
    "EmbedLayerNormalization",
    "Softmax",
    "MultiHeadAttention",
    "LpNormalization",
    "ReduceSum",
    "ReduceMean",
    "Pow",
    "Sqrt",
    "Range",
)
_LARGEST = 65504.0  # the largest finite FP16 number
MASK_VALUE = -10000.0  # stands for minus infinity in a mask: large enough for softmax, small enough for FP16


def to_half(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Convert a graph to FP16 with FP32 inputs and outputs.

    Constants beyond FP16's range (masks of the most negative float) become `MASK_VALUE`.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    result = onnx.ModelProto()
    result.CopyFrom(graph)
    _bound_constants(result)
    return convert_float_to_float16(result, keep_io_types=True, op_block_list=list(KEPT_IN_FP32), disable_shape_infer=True)


def _bound_constants(graph: onnx.ModelProto) -> None:
    for tensor in graph.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        if np.abs(values).max(initial=0) > _LARGEST:
            tensor.CopyFrom(numpy_helper.from_array(np.clip(values, MASK_VALUE, -MASK_VALUE).astype(np.float32), tensor.name))
