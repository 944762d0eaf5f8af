"""Small graphs by the compiler and the library, against onnxruntime."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgelm.graph.external_data import save_graph
from edgelm.graph.native import compile_program
from edgelm.graph.native.writer import ProgramWriter, Quantizer, bits
from edgelm.graph.session import DISABLED_OPTIMIZERS
from edgelm.graph.synthetic import encoder_graph
from edgelm.graph.unpadded import for_one_text
from edgelm.quantize.blocks import pack, round_blocks
from edgelm.quantize.embeddings import quantize_embeddings
from edgelm.quantize.without_data import quantize_blindly
from edgelm.runtime.saturation import EXACT_ENTRY
from edgelm.shapes import LayerShape, ModelSizes

WORDS, WIDTH, LABELS = 40, 32, 3
CONTRIB = "com.microsoft"


def test_pooled_rows_are_scaled_before_they_are_bytes(native, tmp_path):
    """What smoothing (arXiv:2211.10438) divides a pooler's weights by multiplies its input, which no norm makes."""
    random = np.random.default_rng(0)
    constants = {
        "table": random.normal(size=(WORDS, WIDTH)).astype(np.float32),
        "first": np.array(0, np.int64),
        "factors": random.uniform(0.5, 2, WIDTH).astype(np.float32),
        "scale": np.float32(0.04),
        "zero": np.uint8(128),
        "weights": random.integers(-60, 61, (WIDTH, LABELS)).astype(np.int8),
        "weight_scales": random.uniform(0.01, 0.02, LABELS).astype(np.float32),
        "weight_zeros": np.zeros(LABELS, np.int8),
    }
    product = ["bytes", "weights", "scale", "weight_scales", "zero", "weight_zeros"]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["words"]),
        helper.make_node("LayerNormalization", ["words", "ones", "zeros"], ["normed"]),
        helper.make_node("Gather", ["normed", "first"], ["pooled"], axis=1),
        helper.make_node("Mul", ["pooled", "factors"], ["scaled"]),
        helper.make_node("QuantizeLinear", ["scaled", "scale", "zero"], ["bytes"]),
        helper.make_node("MatMulIntegerToFloat", product, ["logits"], domain=CONTRIB),
    ]
    constants |= {"ones": np.ones(WIDTH, np.float32), "zeros": np.zeros(WIDTH, np.float32)}
    graph = helper.make_graph(
        nodes,
        "pooled",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", LABELS])],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(CONTRIB, 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path / "model.onnx")
    program = compile_program(tmp_path / "model.onnx", "weights.bin")
    assert program is not None
    feeds = {"input_ids": random.integers(0, WORDS, (4, 7))}
    (expected,) = onnxruntime.InferenceSession(tmp_path / "model.onnx").run(None, feeds)
    assert np.allclose(native.Encoder(program, b"\0")(feeds)["logits"], expected, atol=1e-5)


@pytest.mark.parametrize("shape", [LayerShape(0, 0), LayerShape(0, 32), LayerShape(2, 0), LayerShape(3, 200)])
def test_layers_of_every_shape_answer_as_by_onnxruntime(native, tmp_path, shape):
    """Those without heads or channels are their biases alone; products of few channels stay floats."""
    sizes = ModelSizes(layers=2, hidden=128, heads=4, ffn=256, vocabulary=200, positions=64)
    graph = quantize_blindly(encoder_graph(sizes, [shape] * 2), "int8")
    save_graph(graph, tmp_path / "model.onnx", "weights.bin")
    program = compile_program(tmp_path / "model.onnx", "weights.bin")
    assert program is not None
    ids = np.random.default_rng(0).integers(0, 200, (6, 9))
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry(EXACT_ENTRY, "1")  # without it some CPUs cut sums off
    session = onnxruntime.InferenceSession(
        tmp_path / "model.onnx", options, disabled_optimizers=list(DISABLED_OPTIMIZERS)
    )
    (expected,) = session.run(None, {value.name: feeds[value.name] for value in session.get_inputs()})
    found = native.Encoder(program, (tmp_path / "weights.bin").read_bytes())(feeds)["logits"]
    distance = np.abs(found - expected).max(-1) / np.ptp(expected)
    assert np.median(distance) < 1e-5
    assert distance.max() < 0.05  # a byte that is rounded the other way


@pytest.mark.parametrize("padded", [True, False])
def test_halved_tokens_answer_as_by_onnxruntime(native, tmp_path, padded):
    """Of every length, behind two layers of four; padding changes nothing, nor do threads or instruction sets."""
    sizes = ModelSizes(layers=4, hidden=128, heads=4, ffn=256, vocabulary=200, positions=64, types=0)
    first, third = LayerShape(4, 256, halves=True), LayerShape(3, 64, halves=True)
    graph = encoder_graph(sizes, [first, LayerShape(0, 32), third, LayerShape(4, 256)])
    if not padded:
        for_one_text(graph)
    save_graph(quantize_blindly(graph, "int8"), tmp_path / "model.onnx", "weights.bin")
    program = compile_program(tmp_path / "model.onnx", "weights.bin")
    assert program is not None and program.startswith(b"edgelm-native 2")
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry(EXACT_ENTRY, "1")
    session = onnxruntime.InferenceSession(
        tmp_path / "model.onnx", options, disabled_optimizers=list(DISABLED_OPTIMIZERS)
    )
    weights, random = (tmp_path / "weights.bin").read_bytes(), np.random.default_rng(0)
    encoders = [native.Encoder(program, weights, instruction_set=name) for name in native.instruction_sets()]
    distances = []
    for tokens in (1, 2, 3, 4, 5, 8, 17, 32, 33, 63):
        ids = random.integers(0, 200, (3, tokens))
        lengths = [max(1, tokens - 3 * row * padded) for row in range(3)]
        mask = (np.arange(tokens) < np.array(lengths)[:, None]).astype(np.int64)
        feeds = {"input_ids": ids, "attention_mask": mask}
        found = [encoder(feeds, threads=threads)["logits"] for encoder in encoders for threads in (1, 2, 5)]
        assert all(np.array_equal(found[0], other) for other in found[1:])
        for row, length in enumerate(lengths):
            alone = {name: values[row : row + 1, :length] for name, values in feeds.items()}
            assert np.array_equal(encoders[0](alone)["logits"][0], found[0][row])
        (expected,) = session.run(None, {value.name: feeds[value.name] for value in session.get_inputs()})
        distances += (np.abs(found[0] - expected).max(-1) / np.ptp(expected)).tolist()
    assert np.median(distances) < 1e-5
    assert max(distances) < 0.05  # a byte that is rounded the other way


def test_halving_of_other_rows_is_refused(native, tmp_path):
    """A damaged program whose rows are of other tokens than its step says would be read beyond its memory."""
    writer = ProgramWriter(None)  # type: ignore[arg-type]
    table = np.zeros((8, 16), np.float32)
    rows, left, pooled = (writer.buffer("floats", 16, per_token=level) for level in (1, 2, 0))
    writer.step("embed", 16, rows, 1, f"ids 8 0 -1 floats {writer.place(table)}")
    writer.step("halve", 16, rows, 0, f"from 1 {left} bytes 0")
    writer.step("first", 16, left, pooled, 0)
    writer.output("pooled", pooled)
    program = writer.text()
    assert native.Encoder(program, b"\0")({"input_ids": np.zeros((2, 5), np.int64)})["pooled"].shape == (2, 16)
    for old, new in ((b"floats 2", b"floats 1"), (b"floats 2", b"floats 3"), (b"floats 1", b"floats 0")):
        with pytest.raises(native.NativeError):
            native.Encoder(program.replace(old, new), b"\0")
    with pytest.raises(native.NativeError, match="newer"):
        native.Encoder(program.replace(b"edgelm-native 2", b"edgelm-native 9"), b"\0")


@pytest.mark.parametrize("width", [2, 32, 46, 384])
def test_tables_of_4_bits_hold_what_their_blocks_say(native, width):
    """Every number times the scale of its block of 32, in every instruction set; a scale that is no number is
    refused."""
    random = np.random.default_rng(width)
    table = round_blocks(random.normal(size=(width, WORDS)).astype(np.float32), 4)
    packed = pack(table).reshape(WORDS, -1)[:, : width // 2]
    ids = random.permutation(WORDS)[None]
    for name in native.instruction_sets():
        encoder = native.Encoder(_table_of_4_bits(packed, table.scale.T), b"\0", instruction_set=name)
        assert np.array_equal(encoder({"input_ids": ids})["rows"][0], table.floats().T[ids[0]])
    scales = table.scale.T.copy()
    scales[-1, -1] = np.inf
    with pytest.raises(native.NativeError, match="scale that is not finite"):
        native.Encoder(_table_of_4_bits(packed, scales), b"\0")


def _table_of_4_bits(packed: np.ndarray, scales: np.ndarray) -> bytes:
    """A program that gives the row of each id."""
    writer = ProgramWriter(None)  # type: ignore[arg-type]  # no constant of a graph is named
    width = 2 * packed.shape[1]
    rows = writer.buffer("floats", width, per_token=True)
    places = f"{writer.place(packed, np.uint8)} {writer.place(scales, np.float16)}"
    writer.step("embed", width, rows, 1, f"ids {len(packed)} 0 -1 nibbles {places}")
    writer.output("rows", rows)
    return writer.text()


@pytest.mark.parametrize("inputs", [1, 6, 8, 12, 40, 300])
def test_no_sum_is_cut_off(native, inputs):
    """Bytes of 255 times weights of all sizes, up to those whose pairs or fours exceed 16 bits: the sums are exact in
    every instruction set, whichever groups of four inputs share one."""
    random = np.random.default_rng(inputs)
    outputs = 48
    weights = random.integers(-128, 128, (inputs, outputs))
    weights[:, :16] //= 4  # a panel where all fours fit; one where most do; one where few do
    weights[:, 16:32] //= 2
    weights[: inputs // 2, 16] = 127
    weights[: inputs // 2, 17] = -128
    levels = random.choice([0, 1, 128, 254, 255], (WORDS, inputs))
    levels[0] = 255
    ids = np.arange(WORDS)[None]
    program = _product(levels, weights.astype(np.int8))
    for name in native.instruction_sets():
        encoder = native.Encoder(program, b"\0", instruction_set=name)
        for tokens in (1, 3, WORDS):
            found = encoder({"input_ids": ids[:, :tokens]})["sums"][0]
            assert np.array_equal(found, (levels[:tokens] @ weights).astype(np.float32)), name


def _product(levels: np.ndarray, weights: np.ndarray) -> bytes:
    """A program that gives the sums of bytes, one row for each id, times weights."""
    (rows, inputs), outputs = levels.shape, weights.shape[1]
    writer = ProgramWriter(None)  # type: ignore[arg-type]  # no constant of a graph is named
    writer.longest, grid = rows, Quantizer(1.0, 0)
    floats, sums = (writer.buffer("floats", width, per_token=True) for width in (inputs, outputs))
    raw = writer.buffer("bytes", inputs, per_token=True)
    writer.step("embed", inputs, floats, 1, f"ids {rows} 0 -1 floats {writer.place(levels)}")
    writer.step("quantize", inputs, floats, writer.quantized(grid, raw))
    place, scales = writer.place(weights, np.int8), writer.place(np.ones(1))
    words = (raw, place, 0, scales, bits(1.0), 0, "-", "none", "from 0", f"rows {sums}")
    writer.step("linear", inputs, outputs, *words)
    writer.output("sums", sums)
    return writer.text()


@pytest.mark.parametrize("table_bits", [8, 4])
def test_a_model_without_layers_answers_as_by_onnxruntime(native, tmp_path, table_bits):
    """A table of bytes, or of two numbers a byte; the mean of its rows without padding, a norm and a head."""
    random = np.random.default_rng(0)
    constants = {
        "table": random.normal(size=(600, WIDTH)).astype(np.float32),
        "axis": np.array([2], np.int64),
        "tokens": np.array([1], np.int64),
        "weights": random.normal(size=(WIDTH, LABELS)).astype(np.float32),
        "ones": np.ones(WIDTH, np.float32),
    }
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["words"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "axis"], ["wide"]),
        helper.make_node("Mul", ["words", "wide"], ["real"]),
        helper.make_node("ReduceSum", ["real", "tokens"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["wide", "tokens"], ["count"], keepdims=0),
        helper.make_node("Div", ["sum", "count"], ["mean"]),
        helper.make_node("LayerNormalization", ["mean", "ones"], ["normed"]),
        helper.make_node("MatMul", ["normed", "weights"], ["logits"]),
    ]
    inputs = ("input_ids", "attention_mask")
    graph = helper.make_graph(
        nodes,
        "static",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"]) for name in inputs],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", LABELS])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    save_graph(quantize_embeddings(model, bits=table_bits), tmp_path / "model.onnx", "weights.bin")
    program = compile_program(tmp_path / "model.onnx", "weights.bin")
    assert program is not None
    mask = np.array([[1] * 7, [1] * 3 + [0] * 4])
    feeds = {"input_ids": random.integers(0, 600, (2, 7)), "attention_mask": mask}
    (expected,) = onnxruntime.InferenceSession(tmp_path / "model.onnx").run(None, feeds)
    found = native.Encoder(program, (tmp_path / "weights.bin").read_bytes())(feeds)["logits"]
    assert np.allclose(found, expected, atol=1e-5)  # sums in another order
