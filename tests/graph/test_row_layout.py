"""Rows that change shape on their way to attention: ModernBERT's attention as one operator."""

import numpy as np
import onnxruntime
import pytest
import torch
from models import TEXTS, make_checkpoint
from onnx import TensorProto, helper, numpy_helper

from edgelm.anatomy import TaskModel, load_checkpoint, load_tokenizer, model_outputs
from edgelm.checkpoint import open_checkpoint
from edgelm.export.trace import export_graph
from edgelm.graph.row_layout import plain_rows


def test_windows_and_rotary_positions_leave_one_operator_a_layer(tmp_path):
    """Layers whose tokens see all others, and layers that see a window; the last one asks for its first token alone."""
    checkpoint = open_checkpoint(make_checkpoint(tmp_path / "m", "modernbert", layers=3))
    tokenizer, model = load_tokenizer(checkpoint), load_checkpoint(checkpoint)
    source = TaskModel(model, tokenizer, checkpoint.task.read_by(tokenizer), 32)
    graph = export_graph(source, fused=True)
    operators = [node.op_type for node in graph.graph.node]
    assert operators.count("MultiHeadAttention") == 3
    assert operators.count("RotaryEmbedding") == 6
    assert not {"Softmax", "Transpose", "Slice"} & set(operators)
    inputs = dict(source.tokenizer(list(TEXTS), padding=True, return_tensors="pt"))
    assert inputs["input_ids"].shape[1] > model.config.local_attention + 1  # some tokens do not see each other
    with torch.inference_mode():
        wanted = model_outputs(source.model, source.task, inputs)[0].numpy()
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    (found,) = session.run(None, {each.name: inputs[each.name].numpy() for each in session.get_inputs()})
    np.testing.assert_allclose(found, wanted, atol=1e-5)  # kernels sum in another order


def reshaped(*shapes):
    """x of (batch, sequence, 6), reshaped again and again; a shape of words is that of the input and then numbers."""
    nodes = [
        helper.make_node("Shape", ["x"], ["batch"], start=0, end=1),
        helper.make_node("Shape", ["x"], ["sequence"], start=1, end=2),
    ]
    constants, last = [], "x"
    for index, shape in enumerate(shapes):
        name = f"shape{index}"
        if shape[:2] == ("batch", "sequence"):
            constants.append(numpy_helper.from_array(np.array(shape[2:]), f"rest{index}"))
            nodes.append(helper.make_node("Concat", ["batch", "sequence", f"rest{index}"], [name], axis=0))
        else:
            constants.append(numpy_helper.from_array(np.array(shape), name))
        nodes.append(helper.make_node("Reshape", [last, name], [f"r{index}"]))
        last = f"r{index}"
    nodes.append(helper.make_node("Neg", [last], ["y"]))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "reshaped",
        [value("x", TensorProto.FLOAT, ["batch", "sequence", 6])],
        [value("y", TensorProto.FLOAT, None)],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.mark.parametrize(
    ("shapes", "left"),
    [
        ([(0, 0, 2, 3), (0, 0, -1), (0, 0, 3, 2)], 1),
        ([(0, 0, 2, 3), (0, 0, -1), ("batch", "sequence", -1)], 1),
        ([(-1, 6), ("batch", "sequence", 2, 3)], 1),  # sizes that are said need not be there before
        ([(-1, 3), (0, 0, 1), (0, 0, 1)], 2),  # sizes that are copied are those of what is read
        ([("batch", "sequence", -1), (0, 0, 2, 3)], 2),
        ([(0, 0, 2, 3), (-1, 2, 3)], 2),
    ],
)
def test_reshapes_that_later_ones_undo_are_skipped(shapes, left):
    graph = reshaped(*shapes)
    x = np.arange(2 * 4 * 6, dtype=np.float32).reshape(2, 4, 6)
    (wanted,) = onnxruntime.InferenceSession(graph.SerializeToString()).run(None, {"x": x})
    plain_rows(graph)

    assert sum(node.op_type == "Reshape" for node in graph.graph.node) == left
    (found,) = onnxruntime.InferenceSession(graph.SerializeToString()).run(None, {"x": x})
    np.testing.assert_array_equal(found, wanted)
