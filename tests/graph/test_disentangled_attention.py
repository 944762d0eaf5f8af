"""DeBERTa's attention: one operator a layer, positions added to its scores, and a program for the native library."""

import numpy as np
import onnxruntime
import torch
from models import TEXTS, make_checkpoint

from edgelm.anatomy import TaskModel, load_checkpoint, load_tokenizer, model_outputs
from edgelm.checkpoint import open_checkpoint
from edgelm.export.trace import export_graph
from edgelm.graph.external_data import copy_graph, save_graph
from edgelm.graph.native import compile_program
from edgelm.graph.token_types import drop_token_types
from edgelm.graph.unpadded import for_one_text
from edgelm.quantize.without_data import quantize_blindly

LONGEST = 32


def test_positions_go_into_the_operator_and_the_program(tmp_path):
    checkpoint = open_checkpoint(
        make_checkpoint(tmp_path / "m", "deberta-v2", hidden=128, heads=4, ffn=256, spread=0.1)
    )
    tokenizer, model = load_tokenizer(checkpoint), load_checkpoint(checkpoint)
    source = TaskModel(model, tokenizer, checkpoint.task.read_by(tokenizer), LONGEST)
    graph = export_graph(source, fused=True)
    operators = [node.op_type for node in graph.graph.node]
    assert operators.count("MultiHeadAttention") == 2
    assert not {"Softmax", "Tile", "Log"} & set(operators)  # nor anything of positions that no text changes
    inputs = dict(tokenizer(list(TEXTS), padding=True, return_tensors="pt"))
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    (found,) = session.run(None, {each.name: inputs[each.name].numpy() for each in session.get_inputs()})
    with torch.inference_mode():
        wanted = model_outputs(model, source.task, inputs)[0].numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-5)  # kernels sum in another order
    single = copy_graph(graph)
    drop_token_types(single)
    for_one_text(single)
    one = {"input_ids": inputs["input_ids"].numpy()[:1, : int(inputs["attention_mask"][0].sum())]}
    (alone,) = onnxruntime.InferenceSession(single.SerializeToString()).run(None, one)
    np.testing.assert_allclose(alone, wanted[:1], atol=1e-5)
    for each in (graph, single):
        save_graph(quantize_blindly(each, "int8"), tmp_path / "model.onnx", "weights.bin")
        program = compile_program(tmp_path / "model.onnx", "weights.bin", longest=LONGEST)
        assert program is not None
        assert program.count(b"\ndisentangled-attention ") == 2
