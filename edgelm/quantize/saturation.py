"""What the INT8 weights of a finished graph ask of the sums of a CPU."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from edgelm.graph.rewrites import weights_of
from edgelm.quantize.grid import pair_sums

# Where each operator has its (in, out) weight; DequantizeLinear is how Q/DQ graphs write one.
_WEIGHTS = {"MatMulIntegerToFloat": 1, "DynamicQuantizeMatMul": 1, "QAttention": 1, "DequantizeLinear": 0}


def largest_pair_sum(graph: onnx.ModelProto) -> int:
    """The largest of `pair_sums` over the INT8 matrices that the graph multiplies with; 0: it has none."""
    weights = weights_of(graph)
    names = {node.input[_WEIGHTS[node.op_type]] for node in graph.graph.node if node.op_type in _WEIGHTS}
    matrices = [numpy_helper.to_array(weights[name]) for name in names if name in weights]
    sums = [
        int(pair_sums(matrix.astype(np.int16)).max())
        for matrix in matrices
        if matrix.ndim == 2 and matrix.dtype == np.int8
    ]
    return max(sums, default=0)
