"""Texts that leave early, by the compiler and the library, against onnxruntime."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from edgelm.graph.external_data import save_graph
from edgelm.graph.native import compile_program
from edgelm.graph.native.writer import ProgramWriter, bits
from edgelm.graph.rewrites import add_weight, rename_value, replace_nodes
from edgelm.graph.session import DISABLED_OPTIMIZERS
from edgelm.graph.synthetic import encoder_graph
from edgelm.quantize.without_data import quantize_blindly
from edgelm.runtime.saturation import EXACT_ENTRY
from edgelm.shapes import LayerShape, ModelSizes

SIZES = ModelSizes(layers=4, hidden=128, heads=4, ffn=256, vocabulary=200, positions=64, types=0, outputs=3)


def with_exits(graph, thresholds):
    """Heads behind layers, as an export has them, of random numbers."""
    random, answer = np.random.default_rng(0), "last_logits"
    rename_value(graph, "logits", answer)
    nodes = list(graph.graph.node)
    for name, value in (("two", 2), ("tokens", 1), ("last", -1)):
        add_weight(graph, f"exit.{name}", np.array([value], dtype=np.int64))
    nodes += [
        helper.make_node("Cast", ["attention_mask"], ["exit.real"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["exit.real", "exit.last"], ["exit.mask"]),
    ]
    for layer, threshold in sorted(thresholds.items(), reverse=True):
        own = f"layer.{layer}.exit"
        states = next(node.output[0] for node in nodes if node.name.startswith(f"layer.{layer}/"))
        add_weight(graph, f"{own}.weight", random.normal(0, 0.3, (SIZES.hidden, SIZES.outputs)).astype(np.float32))
        add_weight(graph, f"{own}.bias", random.normal(0, 0.3, SIZES.outputs).astype(np.float32))
        add_weight(graph, f"{own}.threshold", np.array(threshold, dtype=np.float32))
        chosen = f"{own}.answer" if layer != min(thresholds) else "logits"
        nodes += [
            helper.make_node("Mul", [states, "exit.mask"], [f"{own}.real"]),
            helper.make_node("ReduceSum", [f"{own}.real", "exit.tokens"], [f"{own}.sum"], keepdims=0),
            helper.make_node("ReduceSum", ["exit.mask", "exit.tokens"], [f"{own}.count"], keepdims=0),
            helper.make_node("Div", [f"{own}.sum", f"{own}.count"], [f"{own}.mean"]),
            helper.make_node("Gemm", [f"{own}.mean", f"{own}.weight", f"{own}.bias"], [f"{own}.logits"]),
            helper.make_node("TopK", [f"{own}.logits", "exit.two"], [f"{own}.top", f"{own}.places"]),
            helper.make_node("Split", [f"{own}.top"], [f"{own}.largest", f"{own}.next"], axis=-1, num_outputs=2),
            helper.make_node("Sub", [f"{own}.largest", f"{own}.next"], [f"{own}.apart"]),
            helper.make_node("Greater", [f"{own}.apart", f"{own}.threshold"], [f"{own}.sure"]),
            helper.make_node("Where", [f"{own}.sure", f"{own}.logits", answer], [chosen]),
        ]
        answer = chosen
    replace_nodes(graph, nodes)
    return graph


def test_texts_leave_as_by_onnxruntime(native, tmp_path):
    """In batches and alone; threads and instruction sets change nothing, not even who leaves."""
    layers = [LayerShape(4, 256), LayerShape(0, 256), LayerShape(3, 64), LayerShape(4, 256)]
    graph = with_exits(encoder_graph(SIZES, layers), {0: 2.5, 1: 4.0, 2: 1.0})
    save_graph(quantize_blindly(graph, "int8"), tmp_path / "model.onnx", "weights.bin")
    program = compile_program(tmp_path / "model.onnx", "weights.bin")
    assert program is not None and program.startswith(b"edgelm-native 3\n")
    assert program.count(b"\nleave ") == 4
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry(EXACT_ENTRY, "1")
    session = onnxruntime.InferenceSession(
        tmp_path / "model.onnx", options, disabled_optimizers=list(DISABLED_OPTIMIZERS)
    )
    weights, random = (tmp_path / "weights.bin").read_bytes(), np.random.default_rng(1)
    encoders = [native.Encoder(program, weights, instruction_set=name) for name in native.instruction_sets()]
    distances = []
    for tokens in (1, 2, 5, 9, 33) * 4:
        ids = random.integers(0, 200, (3, tokens))
        lengths = np.maximum(1, tokens - np.arange(3) * 4)
        feeds = {"input_ids": ids, "attention_mask": (np.arange(tokens) < lengths[:, None]).astype(np.int64)}
        found = [encoder(feeds, threads=threads)["logits"] for encoder in encoders for threads in (1, 2, 5)]
        assert all(np.array_equal(found[0], other) for other in found[1:])
        for row in range(3):
            alone = {name: values[row : row + 1, : lengths[row]] for name, values in feeds.items()}
            assert np.array_equal(encoders[0](alone, threads=2)["logits"][0], found[0][row])
        (expected,) = session.run(None, {value.name: feeds[value.name] for value in session.get_inputs()})
        distances += np.abs(found[0] - expected).max(-1).tolist()
    assert np.median(distances) < 1e-5
    assert np.mean(np.array(distances) < 0.2) > 0.9  # else a byte that is rounded the other way decides who leaves


def test_who_is_sure_is_known_to_the_last_bit(native):
    """Against the rule in numpy: further above the next than the threshold, by the first head that is."""
    writer = ProgramWriter(None)  # type: ignore[arg-type]
    random = np.random.default_rng(0)
    tables = random.normal(size=(3, 50, 16)).astype(np.float32)
    tables[:, 0] = 1.0  # no logit is above another
    tables[0, 1, 3] = np.inf
    answer = writer.buffer("floats", 16, per_token=0)
    for table, threshold in zip(tables, (0.5, 0.25, -1.0), strict=True):
        rows, first = (writer.buffer("floats", 16, per_token=level) for level in (1, 0))
        writer.step("embed", 16, rows, 1, f"ids 50 0 -1 floats {writer.place(table)}")
        writer.pin(rows)
        writer.step("first", 16, rows, first, 0)
        writer.step("leave", 16, first, bits(threshold), answer)
    writer.output("logits", answer)
    program, ids = writer.text(), np.arange(50)[:, None]
    ordered = np.sort(tables[:2], axis=-1)
    sure = ordered[..., -1] - ordered[..., -2] > np.array([[0.5], [0.25]], np.float32)
    wanted = np.where(sure[0][:, None], tables[0], np.where(sure[1][:, None], tables[1], tables[2]))
    assert 0 < sure[0].sum() < 50 and (sure[1] & ~sure[0]).any() and (~sure[0] & ~sure[1]).any()
    for name in native.instruction_sets():
        encoder = native.Encoder(program, b"\0", instruction_set=name)
        for threads in (1, 3):
            assert np.array_equal(encoder({"input_ids": ids}, threads=threads)["logits"], wanted)
        for number in range(50):
            assert np.array_equal(encoder({"input_ids": ids[number : number + 1]})["logits"][0], wanted[number])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"edgelm-native 3", b"edgelm-native 4"),
        (b"floats 0 16", b"floats 1 16"),
        (str(bits(0.5)).encode(), str(bits(float("nan"))).encode()),
        (str(bits(0.5)).encode(), str(bits(-2.0)).encode()),
    ],
)
def test_damaged_steps_are_refused(native, old, new):
    writer = ProgramWriter(None)  # type: ignore[arg-type]
    rows, first, answer = (writer.buffer("floats", 16, per_token=level) for level in (1, 0, 0))
    writer.step("embed", 16, rows, 1, f"ids 8 0 -1 floats {writer.place(np.zeros((8, 16), np.float32))}")
    writer.step("first", 16, rows, first, 0)
    writer.step("leave", 16, first, bits(0.5), answer)
    writer.step("leave", 16, first, bits(-1.0), answer)
    writer.output("logits", answer)
    program = writer.text()
    native.Encoder(program, b"\0")
    assert old in program
    with pytest.raises(native.NativeError):
        native.Encoder(program.replace(old, new), b"\0")
