"""Bias correction: what quantization shifts on average is taken back, for nothing, in the bias."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import numpy_helper

from edgelm.graph.external_data import copy_graph
from edgelm.graph.rewrites import count_readers, weights_of
from edgelm.quantize.grid import rounded
from edgelm.quantize.integers import QuantizationPlan
from edgelm.quantize.matmuls import find_matmuls
from edgelm.quantize.statistics import Statistics


def correct_biases(
    graph: onnx.ModelProto, plan: QuantizationPlan, statistics: Mapping[str, Statistics]
) -> onnx.ModelProto:
    """Add to each quantized product's bias the mean difference E[xW] - E[q(x)q(W)] over the tokens that calibration
    kept.

    Source: Nagel et al., "Data-Free Quantization" (2019), section 4.2, in its empirical form. A bias that others read
    too stays as it is.

    Args:
        statistics: by activation of this graph.
    """
    result = copy_graph(graph)
    weights = weights_of(result)
    readers = count_readers(result)
    for product in find_matmuls(result):
        if (
            not product.bias
            or product.name in plan.keep
            or product.source not in statistics
            or readers[product.bias] > 1
        ):
            continue
        rows = statistics[product.source].rows
        integers = rounded(rows, plan.ranges[product.source]) @ plan.weight_of(product).floats()
        shift = (rows @ product.weight - integers).mean(axis=0)
        tensor = weights[product.bias]
        tensor.CopyFrom(
            numpy_helper.from_array((numpy_helper.to_array(tensor) + shift).astype(np.float32), product.bias)
        )
    return result
