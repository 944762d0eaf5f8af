"""A head that reads the first token alone: the last layer computes that one, and the outputs stay what they were."""

import numpy as np
import onnx
import onnxruntime
import pytest
import sentence_folders
from models import ANATOMIES, TEXTS, make_checkpoint
from sentence_folders import make_sentence_folder

from edgelm.anatomy import TaskModel, load_checkpoint, load_tokenizer, model_layers
from edgelm.checkpoint import open_checkpoint
from edgelm.export import trace
from edgelm.graph.rewrites import weights_of


def export_both(folder, monkeypatch, *, cut=False):
    """The graph as it is exported, and one that computes all rows; texts for both."""
    checkpoint, tokenizer = open_checkpoint(folder), load_tokenizer(folder)
    model = load_checkpoint(folder)
    if cut:
        model_layers(model)[-1].cut(heads=[0, 2], ffn=range(24))
    source = TaskModel(model, tokenizer, checkpoint.task.read_by(tokenizer), 32)
    made = trace.export_graph(source, fused=True)
    with monkeypatch.context() as patched:
        patched.setattr(trace, "read_first_rows", lambda graph: None)
        whole = trace.export_graph(source, fused=True)
    return made, whole, dict(tokenizer(list(TEXTS), padding=True, return_tensors="np"))


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
def test_the_outputs_stay_and_one_row_is_computed(tmp_path, monkeypatch, family):
    made, whole, inputs = export_both(make_checkpoint(tmp_path / "m", family), monkeypatch)
    (found,), (wanted,) = run(made, inputs), run(whole, inputs)
    np.testing.assert_allclose(found, wanted, atol=3e-6)  # kernels sum one row and many in another order
    assert rows_of(made, inputs, last_product(made)) == 1
    assert rows_of(whole, inputs, last_product(whole)) == inputs["input_ids"].shape[1]


def test_queries_of_the_last_layer_are_of_one_row(tmp_path, monkeypatch):
    made, _, inputs = export_both(make_checkpoint(tmp_path / "m", "bert"), monkeypatch, cut=True)
    attention = [node for node in made.graph.node if node.op_type == "MultiHeadAttention"][-1]
    tokens = inputs["input_ids"].shape[1]
    assert [rows_of(made, inputs, name) for name in attention.input[:3]] == [1, tokens, tokens]


def test_a_cut_last_layer_gives_the_same(tmp_path, monkeypatch):
    made, whole, inputs = export_both(make_checkpoint(tmp_path / "m", "bert"), monkeypatch, cut=True)
    np.testing.assert_allclose(run(made, inputs)[0], run(whole, inputs)[0], atol=3e-6)


@pytest.mark.parametrize("kind", ["token-classification", "question-answering"])
def test_heads_that_read_every_token_keep_every_row(tmp_path, monkeypatch, kind):
    made, whole, _ = export_both(make_checkpoint(tmp_path / "m", "bert", kind=kind), monkeypatch)
    assert [node.op_type for node in made.graph.node] == [node.op_type for node in whole.graph.node]


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_sentence_embeddings_are_cut_where_they_are_the_first_token(tmp_path, monkeypatch, pooling):
    folder = make_sentence_folder(tmp_path / "m", sentence_folders.pooling(pooling))
    made, whole, inputs = export_both(folder, monkeypatch)
    np.testing.assert_allclose(run(made, inputs)[0], run(whole, inputs)[0], atol=3e-6)
    assert rows_of(made, inputs, last_product(made)) == (1 if pooling == "cls" else inputs["input_ids"].shape[1])
