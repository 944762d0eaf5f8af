"""Each target before its real consumer: onnxruntime's own optimized graph; TensorRT's builder is in tests/engines."""

import numpy as np
import onnx
import pytest
from graphs import make_feeds, make_graph, optimized_graph
from models import ANATOMIES, FEW, make_wide

from edgelm.data.dataset import Dataset
from edgelm.device import load_device
from edgelm.export.pipeline import export
from edgelm.graph.rewrites import operator_counts
from edgelm.graph.session import make_plain_session
from edgelm.quantize.integers import QuantizationPlan, quantize_dynamic, quantize_qdq, quantize_static
from edgelm.quantize.settings import Quantization
from edgelm.quantize.weight_only import quantize_weights

RANGES = {"x": (-4.5, 4.5), "h": (-1.0, 7.0)}
TEXTS = Dataset(
    "memory",
    texts=tuple(
        f"turn the {word} on in room {index}" for index, word in enumerate(["lights", "film", "heat", "music"] * 8)
    ),
)


def exported(folder, family, cut):
    """The graph of an INT8 bundle for a CPU, as a file."""
    output, model = folder / "bundle", make_wide(folder, family, cut=cut)
    export(
        model,
        output=output,
        device=load_device("cpu"),
        precision="int8",
        calibration=TEXTS,
        quantization=Quantization(method="minmax"),
    )
    return output / "model.onnx"


@pytest.mark.parametrize(
    ("quantize", "operator"),
    [
        (lambda graph: quantize_static(graph, QuantizationPlan(ranges=RANGES)), "MatMulIntegerToFloat"),
        (lambda graph: quantize_dynamic(graph, QuantizationPlan()), "DynamicQuantizeMatMul"),
        (lambda graph: quantize_weights(graph, bits=4), "MatMulNBits"),
        (lambda graph: quantize_weights(graph, bits=8), "MatMulNBits"),
    ],
    ids=["static", "dynamic", "int4", "int8-weights"],
)
def test_onnxruntime_keeps_every_integer_product(quantize, operator):
    """Read back from the session: what it runs, not what we wrote."""
    counts = operator_counts(optimized_graph(quantize(make_graph())))
    assert counts[operator] == 2
    assert not {"MatMul", "Gemm", "MatMulInteger", "DequantizeLinear"} & counts.keys()


def test_both_dialects_compute_the_same_within_their_grids():
    graph, feeds = make_graph(), make_feeds(8)
    outputs = []
    for made in (
        graph,
        quantize_static(graph, QuantizationPlan(ranges=RANGES)),
        quantize_qdq(graph, QuantizationPlan(ranges=RANGES)),
    ):
        session = make_plain_session(made, exact=True)
        outputs.append(np.concatenate([session.run(None, feed)[0] for feed in feeds]))
    for found in outputs[1:]:
        assert np.abs(found - outputs[0]).max() < 0.05 * np.ptp(outputs[0])  # eight bits in two products


@pytest.mark.parametrize(
    ("family", "cut"),
    [
        pytest.param(family, cut, marks=[] if family in FEW or not cut else pytest.mark.slow)
        for family in ANATOMIES
        for cut in (False, True)
    ],
)
def test_onnxruntime_runs_a_whole_encoder_in_integers(tmp_path, family, cut):
    counts = operator_counts(optimized_graph(onnx.load(exported(tmp_path, family, cut))))
    integers = counts.get("MatMulIntegerToFloat", 0) + counts.get("QAttention", 0)
    # Query, key and value in one, the attention's output, both FFN matrices; twice. Then what the head has.
    assert integers >= 8 - 3 * cut  # cut, three matrices fall below 16,384 weights
    assert counts.get("SkipLayerNormalization", 0) + counts["LayerNormalization"] >= 4
