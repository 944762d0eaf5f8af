"""A head that reads the first token alone: the last layer computes that one, and the outputs stay what they were."""

import numpy as np
import onnx
import onnxruntime
import pytest
import sentence_folders
import torch
from models import ANATOMIES, TEXTS, make_checkpoint
from sentence_folders import make_sentence_folder

from edgelm.anatomy import TaskModel, load_checkpoint, load_tokenizer, model_layers, model_outputs
from edgelm.checkpoint import open_checkpoint
from edgelm.export import trace
from edgelm.graph.rewrites import weights_of


def export_graph(folder, *, cut=False):
    """The fused graph, what it reads, and what PyTorch gives."""
    tokenizer, model = load_tokenizer(folder), load_checkpoint(folder)
    if cut:
        model_layers(model)[-1].cut(heads=[0, 2], ffn=range(24))
    task = open_checkpoint(folder).task.read_by(tokenizer)
    graph = trace.export_graph(TaskModel(model, tokenizer, task, 32), fused=True)
    inputs = dict(tokenizer(list(TEXTS), padding=True, return_tensors="pt"))
    with torch.inference_mode():
        wanted = model_outputs(model, task, inputs)[0].numpy()
    return graph, {name: values.numpy() for name, values in inputs.items()}, wanted


def run(graph, inputs, *names):
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    given = {entry.name: inputs[entry.name].astype(np.int64) for entry in session.get_inputs()}
    return session.run(list(names) or None, given)


def rows_of(graph, inputs, name):
    """How many tokens a value inside a graph has."""
    graph.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    texts, rows, _ = run(graph, inputs, name)[0].shape
    assert texts == len(TEXTS)
    return rows


def last_product(graph):
    """What the last feed-forward network of an encoder gives."""
    weights = weights_of(graph)
    products = [node for node in graph.graph.node if node.op_type == "MatMul" and node.input[1] in weights]
    return products[-1].output[0]


@pytest.mark.parametrize("family", ANATOMIES)
def test_the_outputs_stay_and_one_row_is_computed(tmp_path, family):
    graph, inputs, wanted = export_graph(make_checkpoint(tmp_path / "m", family))
    np.testing.assert_allclose(run(graph, inputs)[0], wanted, atol=1e-5)  # kernels sum in another order
    assert rows_of(graph, inputs, last_product(graph)) == 1


def test_queries_of_the_last_layer_are_of_one_row(tmp_path):
    graph, inputs, wanted = export_graph(make_checkpoint(tmp_path / "m", "bert"), cut=True)
    np.testing.assert_allclose(run(graph, inputs)[0], wanted, atol=1e-5)
    attention = [node for node in graph.graph.node if node.op_type == "MultiHeadAttention"][-1]
    tokens = inputs["input_ids"].shape[1]
    assert [rows_of(graph, inputs, name) for name in attention.input[:3]] == [1, tokens, tokens]


def test_a_head_that_reads_every_token_keeps_every_row(tmp_path):
    graph, inputs, wanted = export_graph(make_checkpoint(tmp_path / "m", "bert", kind="token-classification"))
    np.testing.assert_allclose(run(graph, inputs)[0], wanted, atol=1e-5)
    assert rows_of(graph, inputs, last_product(graph)) == inputs["input_ids"].shape[1]


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_sentence_embeddings_are_cut_where_they_are_the_first_token(tmp_path, pooling):
    graph, inputs, wanted = export_graph(make_sentence_folder(tmp_path / "m", sentence_folders.pooling(pooling)))
    np.testing.assert_allclose(run(graph, inputs)[0], wanted, atol=1e-5)
    assert rows_of(graph, inputs, last_product(graph)) == (1 if pooling == "cls" else inputs["input_ids"].shape[1])
