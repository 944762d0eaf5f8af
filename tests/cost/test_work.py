"""The work of graphs against counts by hand, and rules that hold for every shape."""

import functools

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models import make_checkpoint
from onnx import TensorProto, helper, numpy_helper

from edgelm import export, load_device
from edgelm.anatomy.sizes import sizes_of
from edgelm.budgeting.footprint import estimate as estimate_table
from edgelm.checkpoint import open_checkpoint
from edgelm.cost.synthetic import encoder_work
from edgelm.cost.work import graph_work
from edgelm.errors import InputError
from edgelm.graph.rewrites import MICROSOFT
from edgelm.graph.synthetic import encoder_graph
from edgelm.profile.estimate import estimate
from edgelm.quantize.settings import Quantization
from edgelm.quantize.without_data import quantize_blindly
from edgelm.shapes import LayerShape, ModelSizes

BATCH, TOKENS, WIDTH, HEADS, FFN = 2, 10, 128, 4, 256
LAYERS = 2
SIZES = ModelSizes(layers=1, hidden=WIDTH, heads=HEADS, ffn=FFN, vocabulary=50, positions=32)
ROWS = BATCH * TOKENS
PRODUCTS = 2 * ROWS * (4 * WIDTH**2 + 2 * WIDTH * FFN)  # of a layer, a multiplication and an addition being two
SCORES = 4 * BATCH * TOKENS**2 * WIDTH + 12 * BATCH * HEADS * TOKENS**2  # both products of attention, and its softmax
HEAD = 2 * BATCH * (WIDTH**2 + 2 * WIDTH)


def works_of(precision, *, first_rows=False):
    graph = quantize_blindly(encoder_graph(SIZES, SIZES.full(), first_rows=first_rows), precision)
    return graph_work(graph, batch=BATCH, sequence=TOKENS)


def operations(works, kind):
    return sum(work.operations for work in works if work.kind == kind)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "int8-dynamic", "int8-weights", "int4"])
def test_operations_of_a_bert_layer(precision):
    """4·d² and 2·d·f a token for its products, 4·s·d for attention; the same in every precision."""
    works = works_of(precision)
    assert operations(works, "product") == PRODUCTS + HEAD
    assert operations(works, "attention") == SCORES


@pytest.mark.parametrize("precision", ["fp32", "int8", "int4"])
def test_operations_of_a_last_layer_whose_first_token_is_read(precision):
    """Keys and values are of all tokens; queries, what is mixed and the feed-forward network of one a text."""
    works = works_of(precision, first_rows=True)
    products = 2 * ROWS * 2 * WIDTH**2 + 2 * BATCH * (2 * WIDTH**2 + 2 * WIDTH * FFN)
    assert operations(works, "product") == products + HEAD
    assert operations(works, "attention") == SCORES / TOKENS


def test_bytes_of_a_bert_layer():
    """Of one matrix: what comes in, the weights with their bias, and what goes out; an embedding: the rows that are
    looked up."""
    works = works_of("fp32")
    (projection,) = [work for work in works if work.operator == "Attention" and work.kind == "product"]
    mask = 4 * BATCH * TOKENS
    assert projection.weights == 4 * (3 * WIDTH**2 + 3 * WIDTH)
    assert projection.activations == 4 * ROWS * (WIDTH + 3 * WIDTH) + mask
    (inner,) = [work for work in works if work.kind == "attention"]
    assert inner.activations == 4 * 4 * ROWS * WIDTH
    words, places, types = [work for work in works if work.operator == "Gather"][:3]
    assert (words.weights, places.weights, types.weights) == (4 * ROWS * WIDTH, 4 * TOKENS * WIDTH, 4 * ROWS * WIDTH)


def test_integers_are_read_as_bytes():
    whole, small = works_of("fp32"), works_of("int8")
    weights = [sum(work.weights for work in works if work.kind == "product") for works in (whole, small)]
    assert weights[1] < weights[0] / 2
    products = [work for work in small if work.kind == "product" and work.operator != "Gemm"]
    assert {work.precision for work in products} == {"int8"}
    assert {work.precision for work in works_of("int4") if work.operator == "MatMulNBits"} == {"int4"}
    assert {work.precision for work in works_of("int8-weights") if work.operator == "MatMulNBits"} == {"int8-weights"}


def test_every_node_of_a_cpu_graph_is_launched():
    """Attention counts twice: its projection, and the rest. What is computed of constants alone is computed once, when
    the model is loaded."""
    graph = quantize_blindly(encoder_graph(SIZES, SIZES.full(), first_rows=False), "int4")
    casts = sum(node.op_type == "Cast" for node in graph.graph.node) - 1  # of scales; the mask's stays
    assert sum(work.launches for work in works_of("int4")) == len(graph.graph.node) - casts
    fp32 = quantize_blindly(encoder_graph(SIZES, SIZES.full(), first_rows=False), "fp32")
    assert sum(work.launches for work in works_of("fp32")) == len(fp32.graph.node) + 1


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """By precision: a checkpoint of `LAYERS`, and its bundle for a Jetson."""
    folder = tmp_path_factory.mktemp("compiled")
    checkpoint = make_checkpoint(folder / "m", hidden=256, heads=4, ffn=512, layers=LAYERS, spread=0.02)

    @functools.cache
    def make(precision):
        plain = Quantization(method="minmax") if precision == "int8" else Quantization()
        made = export(
            checkpoint,
            output=folder / precision,
            device=load_device("jetson-orin-nano"),
            precision=precision,
            quantization=plain,
        )
        return checkpoint, made.path

    return make


@pytest.mark.parametrize("precision", ["int8", "bf16"])
def test_a_compiled_layer_is_its_products_its_attention_and_its_norms(exported, precision):
    """Six products, one attention and two norms a layer; Q/DQ, biases, GELU, softmax and residuals are done inside
    them."""
    graph = onnx.load(exported(precision)[1] / "model.onnx", load_external_data=False)
    launched = [work for work in graph_work(graph, batch=1, sequence=32, fused=True) if work.launches]
    counts = {
        kind: sum(work.kind == kind for work in launched) for kind in ("product", "attention", "norm", "pointwise")
    }
    assert counts == {"product": 6 * LAYERS + 2, "attention": LAYERS, "norm": 2 * LAYERS + 1, "pointwise": 0}
    products = [work for work in launched if work.kind == "product" and work.operations > 1e6]
    assert {work.precision for work in products} == {precision}
    size = 1 if precision == "int8" else 2
    assert products[0].weights == pytest.approx(size * 256 * 256, rel=0.02)
    attention = next(work for work in launched if work.kind == "attention")
    values = 32 * 256
    # Query, key and value in FP16 or BF16, and what is mixed as the next product reads it; scores are never written.
    # The rest is the mask.
    assert attention.activations == pytest.approx(3 * 2 * values + size * values, rel=0.05)


def test_a_norm_also_writes_the_integers_of_what_it_makes(exported):
    """What a norm makes is read as FP16 by the residual and as integers by the products: one kernel reads two values
    and writes both forms."""
    graph = onnx.load(exported("int8")[1] / "model.onnx", load_external_data=False)
    norms = [
        work for work in graph_work(graph, batch=1, sequence=32, fused=True) if work.operator == "LayerNormalization"
    ]
    inner = [work.activations for work in norms[1:-1]]
    halves, integers = 32 * 256 * 2, 32 * 256
    assert inner == pytest.approx([2 * halves + integers] * len(inner), rel=0.01)


@pytest.mark.parametrize("precision", ["int8", "bf16"])
@pytest.mark.parametrize("device", ["jetson-orin-nano", "rtx-4090"])
@pytest.mark.parametrize("tokens", [16, 128])
def test_the_shape_of_a_model_says_what_its_bundle_says(exported, precision, device, tokens):
    """A budget counts shapes, `edgelm estimate` the real graph. Apart by up to a tenth: shapes have one
    product for query, key and value and a split, the graph has three products, and embeddings and masks as they were
    traced."""
    folder, bundle = exported(precision)
    checkpoint = open_checkpoint(folder)
    sizes = sizes_of(checkpoint.config, task=checkpoint.task)
    by_shape = estimate_table(load_device(device), sizes, precision, tokens).predict(sizes.full())
    (case,) = estimate(bundle, load_device(device), sequence_lengths=[tokens]).cases
    assert by_shape == pytest.approx(case.p50_ms, rel=0.1)


def test_what_lies_beside_integers_is_fp16():
    works = encoder_work(SIZES, SIZES.full(), "int8", batch=BATCH, sequence=TOKENS, compiled=True)
    assert {(work.kind == "product", work.precision) for work in works} == {(True, "int8"), (False, "fp16")}
    halves = encoder_work(SIZES, SIZES.full(), "fp16", batch=BATCH, sequence=TOKENS, compiled=True)
    assert [work.activations for work in works] == [work.activations for work in halves]
    full = encoder_work(SIZES, SIZES.full(), "fp32", batch=BATCH, sequence=TOKENS, compiled=True)
    assert {work.precision for work in full} == {"fp32"}


def test_weights_without_content_count_the_same():
    sizes = ModelSizes(layers=2, hidden=WIDTH, heads=HEADS, ffn=FFN, vocabulary=50, positions=32)
    found = [
        graph_work(encoder_graph(sizes, sizes.full(), blank=blank), batch=1, sequence=8) for blank in (False, True)
    ]
    assert found[0] == found[1]


def test_a_graph_of_other_inputs_is_refused():
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["a", "b", "c"])
    node = helper.make_node("Relu", ["x"], ["y"])
    output = helper.make_empty_tensor_value_info("y")
    graph = helper.make_model(
        helper.make_graph([node], "g", [source], [output]), opset_imports=[helper.make_opsetid("", 18)], ir_version=9
    )
    with pytest.raises(InputError, match="does not follow"):
        graph_work(graph, batch=1, sequence=4)


def test_a_graph_that_is_none_is_refused():
    node = helper.make_node("NoSuchThing", ["input_ids"], ["y"], domain=MICROSOFT)
    source = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(MICROSOFT, 1)]
    graph = helper.make_model(
        helper.make_graph([node], "g", [source], [helper.make_empty_tensor_value_info("y")]),
        opset_imports=opsets,
        ir_version=9,
    )
    with pytest.raises(InputError, match="cannot be read"):
        graph_work(graph, batch=1, sequence=4)


@pytest.mark.parametrize(
    ("quantizer", "wanted"), [("DynamicQuantizeLinear", "int8-dynamic"), ("QuantizeLinear", "int8")]
)
def test_integer_products_of_the_standard(quantizer, wanted):
    """MatMulInteger as onnxruntime's own dynamic quantization writes it, and of a static input."""
    weights = {
        "table": np.zeros((9, 8), np.float32),
        "w": np.zeros((8, 6), np.int8),
        "s": np.float32(1),
        "z": np.uint8(0),
    }
    inputs = ["x"] if quantizer.startswith("Dynamic") else ["x", "s", "z"]
    outputs = ["q", "scale", "zero"] if quantizer.startswith("Dynamic") else ["q"]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["x"]),
        helper.make_node(quantizer, inputs, outputs),
        helper.make_node("MatMulInteger", ["q", "w"], ["y"]),
    ]
    source = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"])
    constants = [numpy_helper.from_array(np.asarray(values), name) for name, values in weights.items()]
    graph = helper.make_graph(nodes, "g", [source], [helper.make_empty_tensor_value_info("y")], constants)
    works = graph_work(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), batch=1, sequence=4
    )
    assert (works[-1].precision, works[-1].operations, works[-1].weights) == (wanted, 2 * 4 * 8 * 6, 48)


@settings(max_examples=15, deadline=None)
@given(
    batch=st.integers(1, 4),
    tokens=st.integers(2, 60),
    heads=st.integers(1, 3),
    ffn=st.integers(1, 6),
    grown=st.sampled_from(["batch", "tokens", "heads", "ffn"]),
)
def test_more_is_never_less_work(batch, tokens, heads, ffn, grown):
    sizes = ModelSizes(layers=1, hidden=64, heads=4, ffn=256, vocabulary=50, positions=64)

    def count(**shape):
        layer = LayerShape(shape["heads"], 32 * shape["ffn"])
        works = encoder_work(sizes, [layer], "int8", batch=shape["batch"], sequence=shape["tokens"], compiled=True)
        return [
            sum(getattr(work, name) for work in works) for name in ("operations", "weights", "activations", "launches")
        ]

    shape = {"batch": batch, "tokens": tokens, "heads": heads, "ffn": ffn}
    more = count(**shape | {grown: shape[grown] + 1})
    assert all(large >= small for large, small in zip(more, count(**shape), strict=True))
