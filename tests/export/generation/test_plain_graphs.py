"""Graphs in standard operators, in plain onnxruntime, against transformers on the same weights."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from generator_bundles import make_model
from generators import DECODERS, ENCODER_DECODERS

from edgelm.errors import UsageError
from edgelm.export.generation.builder import GeneratorGraph
from edgelm.export.generation.dialect import PLAIN
from edgelm.export.generation.graphs import generator_graphs
from edgelm.export.generation.plain.products import PLAIN_BLOCK, PlainProducts
from edgelm.export.generation.products import Product
from edgelm.graph.rewrites import weights_of
from edgelm.graph.session import make_plain_session
from edgelm.runtime.generation.reading import Reading
from edgelm.runtime.graph_spec import GraphSpec
from edgelm.tasks.generation import GenerationSettings

PROMPTS = ([5, 9, 11, 3, 4, 8, 7, 2, 10], [7, 8, 2], [3] * 14)  # the last is longer than Gemma's windows
NEW = 10
SUMS = 1e-4  # logits are below 20, and FP32 sums of other orders differ in the sixth digit
FAMILIES = (*DECODERS, *ENCODER_DECODERS)


@functools.cache
def graphs_of(family: str, precision: str = "fp32") -> dict[str, GeneratorGraph]:
    return generator_graphs(make_model(family)[0], precision=precision, positions=64, dialect=PLAIN)


def reading_of(family: str, precision: str = "fp32") -> Reading:
    model, _ = make_model(family)
    graphs = {
        name: (
            make_plain_session(graph.model, threads=1),
            GraphSpec(name, f"{name}.onnx", graph.inputs, graph.outputs, 20),
        )
        for name, graph in graphs_of(family, precision).items()
    }
    start = model.generation_config.decoder_start_token_id
    return Reading.of(graphs, GenerationSettings(decoder_start_id=start), context=64)


def continuation(model: Any, prompt: list[int]) -> list[int]:
    """What transformers writes, where nothing but the logits decides."""
    from transformers import GenerationConfig

    own = model.generation_config
    model.generation_config = GenerationConfig(
        pad_token_id=own.pad_token_id or 0, decoder_start_token_id=own.decoder_start_token_id
    )
    ids = torch.tensor([prompt])
    written = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW, do_sample=False)
    model.generation_config = own
    found: list[int] = written[0, 1 if model.config.is_encoder_decoder else len(prompt) :].tolist()
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_texts_of_different_lengths_are_written_as_transformers_does(family: str) -> None:
    reading, model = reading_of(family), make_model(family)[0]

    rows = reading.write(PROMPTS, GenerationSettings(max_new_tokens=NEW))

    assert [row.written for row in rows] == [continuation(model, prompt) for prompt in PROMPTS]


@pytest.mark.parametrize("family", FAMILIES)
def test_only_operators_of_the_standard_are_used(family: str) -> None:
    for precision in ("fp32", "fp16", "int8-weights", "int4"):
        for graph in graphs_of(family, precision).values():
            onnx.checker.check_model(graph.model, full_check=True)
            assert [entry.domain for entry in graph.model.opset_import] == [""]
            assert {node.domain for node in graph.model.graph.node} == {""}


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma3_text", "t5", "marian"])
@pytest.mark.parametrize("precision", ["fp16", "int8-weights", "int4"])
def test_smaller_precisions_are_near_fp32(family: str, precision: str) -> None:
    exact, small = (
        reading_of(family, name)(PROMPTS[:1], GenerationSettings(max_new_tokens=1))[1].copy()
        for name in ("fp32", precision)
    )
    # Ten bits; 254 steps a column; 15 steps a block: random weights let small differences grow, T5s most.
    assert (
        np.abs(small - exact).max() < {"fp16": 0.03, "int8-weights": 0.3, "int4": 0.8}[precision] * np.abs(exact).max()
    )


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_weights_lie_in_integers_and_keys_in_fp16(family: str) -> None:
    for precision, kind in (("int8-weights", onnx.TensorProto.INT8), ("int4", onnx.TensorProto.INT4)):
        graph = graphs_of(family, precision)["decoder"]
        matrices = [each for each in weights_of(graph.model).values() if each.data_type == kind]
        assert sum(int(np.prod(each.dims)) for each in matrices) > 10_000
        assert {spec.dtype for spec in graph.inputs if spec.role == "past-key"} == {"float16"}


def product_graph(weight: np.ndarray, precision: str) -> onnx.ModelProto:
    """One product in FP32, of an input (1, 1, in)."""
    graph = PLAIN.graph("test")
    graph.input("x", np.float32, (1, 1, len(weight)), "tokens")
    graph.output("y", np.float32, (1, 1, weight.shape[1]), "logits")
    given = PlainProducts(graph, precision).linear("x", Product("p", weight))
    graph.node_giving(["y"], "Identity", [given], "y")
    return graph.finish().model


def test_four_bits_have_positive_scales_in_blocks_that_tensorrt_reads() -> None:
    weight = np.random.default_rng(0).normal(size=(128, 24)).astype(np.float32)

    model = product_graph(weight, "int4")

    scale = onnx.numpy_helper.to_array(weights_of(model)["p.weight.T_scale"])
    assert scale.shape == (128 // PLAIN_BLOCK, 24)
    assert (scale > 0).all()
    (found,) = make_plain_session(model, optimize=False).run(None, {"x": np.eye(128, dtype=np.float32)[None, :1]})
    assert np.abs(found[0, 0] - weight[0]).max() < scale.max()  # a step; half of one where nothing is clipped


def test_a_matrix_that_is_no_whole_blocks_has_eight_bits() -> None:
    weight = np.random.default_rng(0).normal(size=(96, 24)).astype(np.float32)

    kinds = {each.data_type for each in weights_of(product_graph(weight, "int4")).values()}

    assert onnx.TensorProto.INT8 in kinds
    assert onnx.TensorProto.INT4 not in kinds


@pytest.mark.parametrize("precision", ["int8-dynamic", "bf16"])
def test_a_precision_that_the_dialect_lacks_is_refused(precision: str) -> None:
    with pytest.raises(UsageError, match=f"not exported in {precision} for TensorRT"):
        graphs_of("gpt2", precision)
