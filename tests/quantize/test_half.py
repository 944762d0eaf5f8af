"""FP16 and BF16: what overflows is found by running texts, and stays in FP32."""

import numpy as np
import onnx
import pytest
from graphs import make_feeds, make_graph
from onnx import numpy_helper

from edgelm.graph.session import make_plain_session
from edgelm.precision import precision_of
from edgelm.quantize.evaluator import Evaluator
from edgelm.quantize.half import find_full, keep_precise, relative_error, to_half


def run(graph, feeds):
    session = make_plain_session(graph)
    return np.concatenate([session.run(None, feed)[0] for feed in feeds])


def loud(factor):
    """A graph whose first product reaches `factor` times further, and whose second takes it back."""
    graph = make_graph()
    for tensor in graph.graph.initializer:
        share = {"first.weight": factor, "first.bias": factor, "second.weight": 1 / factor}.get(tensor.name, 1.0)
        tensor.CopyFrom(
            numpy_helper.from_array(
                (numpy_helper.to_array(tensor) * share).astype(numpy_helper.to_array(tensor).dtype), tensor.name
            )
        )
    return graph


def test_a_calm_graph_is_half_throughout():
    graph, feeds = make_graph(), make_feeds(6)
    assert find_full(graph, feeds) == frozenset()
    half = to_half(graph, "fp16")
    floats = {tensor.data_type for tensor in half.graph.initializer} - {onnx.TensorProto.INT64}
    assert floats == {onnx.TensorProto.FLOAT16}
    assert relative_error(run(half, feeds), run(graph, feeds)) < precision_of("fp16").tolerance
    assert half.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def test_what_overflows_is_found_by_running_it():
    graph, feeds = loud(20_000.0), make_feeds(6)
    # Emulated: a kernel that lacks FP16 would run in FP32 and hide it.
    assert not np.isfinite(run(to_half(graph, "fp16", emulate=True), feeds)).all()
    full = find_full(graph, feeds)
    assert {"product", "inner", "h"} <= full
    assert "logits" not in full
    assert (
        relative_error(run(to_half(graph, "fp16", full=full, emulate=True), feeds), run(graph, feeds))
        < precision_of("fp16").tolerance
    )


def test_bf16_reaches_as_far_as_fp32():
    graph, feeds = loud(20_000.0), make_feeds(6)
    wanted = run(graph, feeds)
    emulated = run(to_half(graph, "bf16", emulate=True), feeds)
    assert relative_error(emulated, wanted) < precision_of("bf16").tolerance
    assert relative_error(emulated, wanted) > 1e-4  # it is rounded
    shipped = to_half(graph, "bf16")
    assert onnx.TensorProto.BFLOAT16 in {tensor.data_type for tensor in shipped.graph.initializer}


def test_precision_is_given_back_until_the_outputs_hold():
    graph, feeds = make_graph(), make_feeds(6)
    wanted = run(graph, feeds)
    kept = keep_precise(graph, frozenset(), Evaluator(feeds, wanted + 0.0), "bf16")
    emulated = run(to_half(graph, "bf16", full=kept, emulate=True), feeds)
    assert relative_error(emulated, wanted) <= precision_of("bf16").tolerance


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_outputs_that_are_not_finite_are_infinitely_wrong(value):
    assert relative_error(np.array([[1.0, value]]), np.array([[1.0, 2.0]])) == float("inf")
