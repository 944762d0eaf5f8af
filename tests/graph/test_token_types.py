"""Token types that are all 0: no input, no lookup and no sum of their own."""

import numpy as np
import onnxruntime
import pytest
import torch
from models import TEXTS, make_checkpoint
from onnx import TensorProto, helper, numpy_helper

from edgelm.anatomy import TaskModel, load_checkpoint, load_tokenizer, model_outputs
from edgelm.checkpoint import open_checkpoint
from edgelm.export.trace import export_graph
from edgelm.graph.token_types import drop_token_types, fold_token_types


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_single_texts_are_looked_up_in_two_tables(tmp_path, family):
    """RoBERTa's types are zeros of its own making."""
    checkpoint = open_checkpoint(make_checkpoint(tmp_path / "m", family))
    tokenizer, model = load_tokenizer(checkpoint), load_checkpoint(checkpoint)
    source = TaskModel(model, tokenizer, checkpoint.task.read_by(tokenizer), 32)
    graph = export_graph(source, fused=True)
    fold_token_types(graph, given=False)
    drop_token_types(graph)
    assert [value.name for value in graph.graph.input] == ["input_ids", "attention_mask"]
    tables = {tensor.name for tensor in graph.graph.initializer if tensor.name.endswith("embeddings.weight")}
    assert len([node for node in graph.graph.node if node.op_type == "Gather" and node.input[0] in tables]) == 2
    assert not any("token_type" in name for node in graph.graph.node for name in (*node.input, *node.output))
    inputs = dict(tokenizer(list(TEXTS), padding=True, return_tensors="pt"))
    with torch.inference_mode():
        wanted = model_outputs(model, source.task, inputs)[0].numpy()
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    (found,) = session.run(None, {each.name: inputs[each.name].numpy() for each in session.get_inputs()})
    np.testing.assert_allclose(found, wanted, atol=1e-5)  # kernels sum in another order


def embedding_graph(*, positions=True, twice=False):
    """y = words[ids] + types[token types] (+ positions[0, 1, 2]); `twice`: the types' rows are an output, too."""
    rng = np.random.default_rng(0)
    tables = {"words": (9, 4), "types": (2, 4), "places": (5, 4)}
    constants = [numpy_helper.from_array(rng.normal(size=shape).astype("f"), name) for name, shape in tables.items()]
    constants.append(numpy_helper.from_array(np.arange(3), "numbers"))
    nodes = [
        helper.make_node("Gather", ["words", "input_ids"], ["word"]),
        helper.make_node("Gather", ["types", "token_type_ids"], ["type"]),
        helper.make_node("Add", ["word", "type"], ["sum" if positions else "y"]),
    ]
    if positions:
        nodes.append(helper.make_node("Gather", ["places", "numbers"], ["place"]))
        nodes.append(helper.make_node("Add", ["place", "sum"], ["y"]))
    inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, [1, 3]) for n in ("input_ids", "token_type_ids")]
    names = ["y", "type"] if twice else ["y"]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]
    graph = helper.make_graph(nodes, "embedding", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def run(graph, types):
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    given = {"input_ids": np.array([[4, 0, 8]]), "token_type_ids": np.array([types])}
    return session.run(["y"], {each.name: given[each.name] for each in session.get_inputs()})[0]


@pytest.mark.parametrize(("positions", "nodes"), [(True, 3), (False, 2)])
def test_the_row_goes_into_the_positions_or_is_added_itself(positions, nodes):
    """Where there are no positions the tokens' vectors get the row, and the table of tokens stays as it is."""
    graph = embedding_graph(positions=positions)
    wanted = run(graph, [0, 0, 0])
    fold_token_types(graph, given=False)
    drop_token_types(graph)
    assert len(graph.graph.node) == nodes
    np.testing.assert_allclose(run(graph, [0, 0, 0]), wanted, atol=1e-6)  # one sum in another order


def test_types_of_pairs_stay():
    """What may be 1 is looked up."""
    graph = embedding_graph()
    wanted = run(graph, [0, 1, 1])
    fold_token_types(graph, given=True)
    assert np.array_equal(run(graph, [0, 1, 1]), wanted)


def test_rows_that_are_read_elsewhere_are_left_in_place():
    """An output of the types' rows themselves is still one."""
    graph = embedding_graph(twice=True)
    wanted = run(graph, [0, 0, 0])
    fold_token_types(graph, given=False)
    np.testing.assert_allclose(run(graph, [0, 0, 0]), wanted, atol=1e-6)
