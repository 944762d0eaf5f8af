"""Attention that adds relative positions to its scores: one operator, and biases by distance for the native library."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from models import TEXTS, make_checkpoint
from onnx import TensorProto, helper, numpy_helper

from edgelm.anatomy import TaskModel, load_checkpoint, load_tokenizer, model_outputs
from edgelm.checkpoint import open_checkpoint
from edgelm.export.trace import export_graph
from edgelm.graph.native.distance import biases_by_distance
from edgelm.graph.native.view import GraphView, Unsupported
from edgelm.graph.plain_attention import fuse_plain_attention

HEADS, SIZE, TOKENS = 2, 4, 6


def traced(folder, **options):
    checkpoint = open_checkpoint(make_checkpoint(folder / "m", "mpnet", **options))
    tokenizer, model = load_tokenizer(checkpoint), load_checkpoint(checkpoint)
    source = TaskModel(model, tokenizer, checkpoint.task.read_by(tokenizer), 32)
    return source, export_graph(source, fused=True)


@pytest.mark.parametrize("kind", ["text-classification", "token-classification"])
def test_relative_positions_go_into_the_operator(tmp_path, kind):
    source, graph = traced(tmp_path, kind=kind)
    operators = [node.op_type for node in graph.graph.node]
    assert operators.count("MultiHeadAttention") == 2
    assert "Softmax" not in operators and "GatherND" not in operators  # nor anything of the mask for every pair
    inputs = dict(source.tokenizer(list(TEXTS), padding=True, return_tensors="pt"))
    with torch.inference_mode():
        wanted = model_outputs(source.model, source.task, inputs)[0].numpy()
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    (found,) = session.run(None, {each.name: inputs[each.name].numpy() for each in session.get_inputs()})
    seen = inputs["attention_mask"].numpy() > 0 if kind == "token-classification" else slice(None)
    np.testing.assert_allclose(found[seen], wanted[seen], atol=1e-5)  # kernels sum in another order


def attention_graph(*, scale, added):
    """Softmax(q k' * scale + added) v of what a product gives, node by node, for (batch, TOKENS, HEADS * SIZE)."""
    width = HEADS * SIZE
    random = np.random.default_rng(0)
    constants = {
        "weight": random.normal(size=(width, 3 * width)).astype(np.float32),
        "shape": np.array([0, 0, HEADS, SIZE]),
        "back": np.array([0, 0, width]),
        "sizes": np.array([width] * 3),
        "scale": np.float32(scale),
        "added": added.astype(np.float32),
    }
    node = helper.make_node
    nodes = [node("MatMul", ["x", "weight"], ["packed"]), node("Split", ["packed", "sizes"], [*"qkv"], axis=-1)]
    for name, order in (("q", (0, 2, 1, 3)), ("k", (0, 2, 3, 1)), ("v", (0, 2, 1, 3))):
        nodes.append(node("Reshape", [name, "shape"], [f"{name}4"]))
        nodes.append(node("Transpose", [f"{name}4"], [f"{name}t"], perm=order))
    nodes += [
        node("MatMul", ["qt", "kt"], ["products"]),
        node("Mul", ["products", "scale"], ["scaled"]),
        node("Add", ["scaled", "added"], ["scores"]),
        node("Softmax", ["scores"], ["shares"], axis=-1),
        node("MatMul", ["shares", "vt"], ["mixed"]),
        node("Transpose", ["mixed"], ["turned"], perm=(0, 2, 1, 3)),
        node("Reshape", ["turned", "back"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "attention",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", TOKENS, width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", TOKENS, width])],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.mark.parametrize("scale", [0.5, 0.3], ids=["usual", "another scale"])
@pytest.mark.parametrize("heads", [1, HEADS])
def test_a_bias_and_a_scale_of_any_kind_are_kept(scale, heads):
    random = np.random.default_rng(1)
    graph = attention_graph(scale=scale, added=random.normal(size=(1, heads, TOKENS, TOKENS)))
    x = random.normal(size=(3, TOKENS, HEADS * SIZE)).astype(np.float32)
    (wanted,) = onnxruntime.InferenceSession(graph.SerializeToString()).run(None, {"x": x})
    fuse_plain_attention(graph)
    assert [node.op_type for node in graph.graph.node] == ["MatMul", "Split", "MultiHeadAttention"]
    (found,) = onnxruntime.InferenceSession(graph.SerializeToString()).run(None, {"x": x})
    np.testing.assert_allclose(found, wanted, atol=1e-5)  # kernels sum in another order


def by_distance(folder, formula):
    """What a graph adds for two heads, from the places of the tokens."""
    constants = {"two": np.array([[1.0], [0.5]], np.float32), "steps": np.arange(64.0, dtype=np.float32)}
    constants |= {"zero": np.array([0]), "axis": np.array([0]), "last": np.array([1]), "heads": np.array([1, 2])}
    constants |= {"square": np.float32(0.01)}
    node = helper.make_node
    nodes = [
        node("Shape", ["attention_mask"], ["tokens"], start=1, end=2),
        node("Slice", ["steps", "zero", "tokens"], ["places"]),
        node("Unsqueeze", ["places", "axis"], ["keys"]),
        node("Unsqueeze", ["places", "last"], ["queries"]),
        node(formula, ["keys", "queries"], ["pairs"]),
        node("Unsqueeze", ["pairs", "axis"], ["pairs3"]),
        node("Unsqueeze", ["two", "last"], ["two3"]),
        node("Mul", ["pairs3", "two3"], ["scaled"]),
        node("Unsqueeze", ["scaled", "axis"], ["bias"]),
    ]
    graph = helper.make_graph(
        nodes,
        "bias",
        [helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch", "sequence"])],
        [helper.make_empty_tensor_value_info("bias")],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "m.onnx")
    return GraphView(folder / "m.onnx", "weights.bin")


def test_biases_are_read_off_the_graph_for_every_distance(tmp_path):
    found = biases_by_distance(by_distance(tmp_path, "Sub"), "bias", 9, 2)
    np.testing.assert_array_equal(found, np.stack([np.arange(-8.0, 9), np.arange(-8.0, 9) / 2]))


def test_what_depends_on_more_than_the_distance_is_no_bias(tmp_path):
    with pytest.raises(Unsupported, match="more than the distance"):
        biases_by_distance(by_distance(tmp_path, "Add"), "bias", 9, 2)
