"""Embedding tables in 8 and 4 bits: what onnxruntime looks up is what they stand for, and training and export mean the
same by it."""

import json

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import TEXTS, make_checkpoint
from onnx import helper, numpy_helper
from typer.testing import CliRunner

from edgelm.anatomy import load_checkpoint, word_embeddings
from edgelm.checkpoint import open_checkpoint
from edgelm.cli.main import app
from edgelm.compress.training.fake_quantize import fake_blocks, fake_quantized_embeddings
from edgelm.errors import EXIT_DONE, EXIT_USAGE
from edgelm.graph.rewrites import operator_counts
from edgelm.graph.session import make_plain_session
from edgelm.quantize.embeddings import SMALLEST_TABLE, quantize_embeddings
from edgelm.runtime import open_bundle
from edgelm.runtime.native import PROGRAM_FILE
from edgelm.runtime.verify import verify


def look_up(table, bits):
    """Every row of a table, through onnxruntime, and the bytes of the graph's constants."""
    node = helper.make_node("Gather", ["table", "ids"], ["rows"])
    ids = helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, ["tokens"])
    rows = helper.make_tensor_value_info("rows", onnx.TensorProto.FLOAT, ["tokens", table.shape[1]])
    made = helper.make_graph([node], "g", [ids], [rows], [numpy_helper.from_array(table, "table")])
    graph = quantize_embeddings(
        helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), bits=bits
    )
    found = make_plain_session(graph, exact=True).run(None, {"ids": np.arange(len(table))})[0]
    return found, sum(len(tensor.raw_data) for tensor in graph.graph.initializer)


@settings(max_examples=20, deadline=None)
@given(
    width=st.integers(1, 40).map(lambda half: 2 * half),
    spread=st.floats(1e-2, 1e3),
    seed=st.integers(0, 99),
)
def test_no_number_moves_by_more_than_a_step_of_its_block(width, spread, seed):
    table = (np.random.default_rng(seed).standard_normal((SMALLEST_TABLE // width + 1, width)) * spread).astype(
        np.float32
    )
    table[3] = 0
    found, _ = look_up(table, 4)
    assert not found[3].any()
    for start in range(0, width, 32):
        block, rounded = table[:, start : start + 32], found[:, start : start + 32]
        # Sixteen levels from the extreme to seven eighths beyond zero; the search may clip up to 0.3 of the extreme.
        assert (np.abs(rounded - block) <= 0.31 * np.abs(block).max(axis=1, keepdims=True) + 1e-6).all()
        nearest = np.abs(block).max(axis=1, keepdims=True) / 8
        # The plain grid: half a step each, but for what lies opposite the extreme, a whole one. The search brings a
        # table closer.
        plain = fake_blocks(torch.from_numpy(block)).numpy()
        assert ((rounded - block) ** 2).sum() <= ((plain - block) ** 2).sum()
        assert (np.abs(plain - block) <= nearest * 1.01).all()


def test_four_bits_are_half_of_eight():
    table = np.random.default_rng(0).standard_normal((1000, 384)).astype(np.float32)
    sizes = {bits: look_up(table, bits)[1] for bits in (4, 8)}
    assert sizes == {4: 1000 * (192 + 12 * 2), 8: 1000 * (384 + 4)}


def test_gradients_look_through_the_rounding():
    rows = torch.randn(2, 5, 48, requires_grad=True)
    found = fake_blocks(rows)
    assert not torch.equal(found, rows)
    assert torch.equal(fake_blocks(found.detach()), found)  # what is on the grid stays there
    found.sum().backward()
    assert torch.equal(rows.grad, torch.ones_like(rows))


@pytest.mark.parametrize("bits", [4, 8])
def test_only_training_sees_four_bits_and_only_inside(tmp_path, bits):
    model = load_checkpoint(make_checkpoint(tmp_path / "m", hidden=256, ffn=64))
    table, ids = word_embeddings(model), torch.arange(40)
    with fake_quantized_embeddings(model, bits):
        inside = table.train()(ids)
        judged = table.eval()(ids)
    assert torch.equal(inside, table.weight[ids]) == (bits == 8)
    assert torch.equal(judged, table.weight[ids])
    assert torch.equal(table.train()(ids), table.weight[ids])


RECIPE = """
name: four
stages:
  - stage: embeddings
    bits: 4
  - stage: recover
    train: {max_steps: 2, batch_size: 4}
"""


@pytest.fixture(scope="module")
def compressed(tmp_path_factory):
    """A checkpoint that was trained for 4-bit embeddings, beside its rows."""
    folder = tmp_path_factory.mktemp("four")
    make_checkpoint(folder / "teacher", hidden=256, ffn=64, spread=0.05)
    rows = [{"text": text, "label": index % 2} for index, text in enumerate(TEXTS)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "labels.json").write_text('["negative", "positive"]')
    (folder / "four.yaml").write_text(RECIPE, encoding="utf-8")
    found = invoke(
        "compress",
        folder / "teacher",
        "--data",
        folder / "rows.jsonl",
        "--eval",
        folder / "rows.jsonl",
        "--output",
        folder / "out",
    )("--recipe", folder / "four.yaml")
    assert found.exit_code == EXIT_DONE, found.output
    return folder


def invoke(*words):
    return lambda *more: CliRunner().invoke(app, [str(word) for word in (*words, *more)])


def test_export_keeps_the_bits_that_compress_chose(compressed):
    assert open_checkpoint(compressed / "out").record.embedding_bits == 4
    export = invoke(
        "export", compressed / "out", "--device", "cpu", "--calibration", compressed / "rows.jsonl", "--output"
    )
    sizes = {}
    for name, options in {"4": [], "8": ["--embedding-bits", 8], "int4": ["--precision", "int4"]}.items():
        path = compressed / f"{name}.edge"
        found = export(path, *options)
        assert found.exit_code == EXIT_DONE, found.output
        assert verify(path).ok
        graph = onnx.load(path / "model.onnx")
        assert operator_counts(graph).get("GatherBlockQuantized", 0) == (0 if name == "8" else 2)  # words and positions
        listed = ("manifest.json", "sbom.cdx.json", PROGRAM_FILE)  # their length says nothing of tables
        files = [file for file in path.rglob("*") if file.is_file() and file.name not in listed]
        sizes[name] = sum(file.stat().st_size for file in files)
    tokens, positions = open_checkpoint(compressed / "out").config["vocab_size"], 130
    assert sizes["8"] - sizes["4"] == pytest.approx(
        (tokens + positions) * (256 + 4 - 128 - 16), abs=2000
    )  # names of nodes
    assert open_bundle(compressed / "4.edge").manifest.lineage["embedding_bits"] == 4


@pytest.mark.parametrize(
    "options", [["--precision", "fp32"], ["--precision", "fp16", "--device", "rtx-4090"], ["--embedding-bits", "3"]]
)
def test_bits_that_cannot_be_are_refused(compressed, options):
    words = ["--device", "cpu", "--embedding-bits", "4", *options]
    found = invoke("export", compressed / "out")(*words, "--output", compressed / "no.edge")
    assert found.exit_code == EXIT_USAGE, found.output
    assert not (compressed / "no.edge").exists()
