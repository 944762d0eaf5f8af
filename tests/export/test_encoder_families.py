"""MPNet, ModernBERT, DeBERTa and ALBERT in every precision: one by one, in padded batches, and on texts longer than
those that a graph was traced with."""

import numpy as np
import pytest
import torch
from models import TEXTS, make_checkpoint, make_sharing_checkpoint

import edgelm.runtime
from edgelm.anatomy import load_checkpoint, load_tokenizer, model_layers, model_outputs, save_checkpoint
from edgelm.checkpoint import open_checkpoint
from edgelm.data.dataset import Dataset
from edgelm.device import load_device
from edgelm.export.pipeline import export
from edgelm.runtime.verify import verify

CALIBRATION = Dataset("memory", texts=TEXTS * 4)
LONG = (*TEXTS, " ".join(TEXTS[:5]))
# Largest distance of unit vectors: sixteen, ten, eight and four bits in two layers of random weights.
BOUNDS = {"fp16": 5e-3, "int8": 0.05, "int8-dynamic": 0.05, "int8-weights": 0.05, "int4": 0.3}
PRODUCTS = {"int8": ("MatMulIntegerToFloat", "QAttention"), "int8-dynamic": ("DynamicQuantizeMatMul",)}
PRODUCTS |= {"int8-weights": ("MatMulNBits",), "int4": ("MatMulNBits",)}


def vectors(folder, texts=LONG):
    checkpoint = open_checkpoint(folder)
    model, tokenizer = load_checkpoint(checkpoint), load_tokenizer(checkpoint)
    with torch.inference_mode():
        found = [model_outputs(model, checkpoint.task, dict(tokenizer(text, return_tensors="pt")))[0] for text in texts]
    return torch.cat(found).numpy()


@pytest.fixture(scope="module")
def pruned(tmp_path_factory):
    """Makes the pruned encoder of a family once; its layers have shapes of their own."""
    made = {}

    def make(family):
        if family not in made:
            folder = tmp_path_factory.mktemp(family)
            checkpoint = open_checkpoint(
                make_checkpoint(folder / "full", family, hidden=128, ffn=256, spread=0.1, kind="sentence-embedding")
            )
            model, tokenizer = load_checkpoint(checkpoint), load_tokenizer(checkpoint)
            model_layers(model)[0].cut(heads=[0, 2, 3], ffn=range(192))
            model_layers(model)[1].cut(heads=[1], ffn=range(128, 256))
            save_checkpoint(folder / "cut", model, tokenizer, checkpoint.record)
            made[family] = folder / "cut"
        return made[family]

    return make


@pytest.mark.parametrize(
    ("family", "precision"),
    [
        *(("mpnet", precision) for precision in BOUNDS),
        # By default test_export.py has cut ones in FP32, and tests/native whole ones in INT8.
        *(pytest.param("modernbert", precision, marks=pytest.mark.slow) for precision in BOUNDS),
        *((family, precision) for family in ("deberta-v2", "albert") for precision in ("int8", "int4")),
    ],
)
def test_pruned_encoders_answer_as_pytorch_in_every_precision(tmp_path, pruned, family, precision):
    folder = pruned(family)
    result = export(
        folder, output=tmp_path / "b", device=load_device("cpu"), precision=precision, calibration=CALIBRATION
    )
    wanted = vectors(folder)
    bundle = edgelm.runtime.load(tmp_path / "b")
    together = bundle.infer(bundle.tokenize(list(LONG)))
    alone = np.concatenate([bundle.infer(bundle.tokenize([text])) for text in LONG])
    for found in (together, alone):
        assert np.linalg.norm(found - wanted, axis=1).max() < BOUNDS[precision]
    if family == "deberta-v2":  # one operator a layer, although positions are added to its scores
        assert result.operators["MultiHeadAttention"] == 2
    if precision in PRODUCTS:
        # Query, key and value in one, and both matrices of the first FFN, at least, have 16,384 weights.
        assert sum(result.operators.get(name, 0) for name in PRODUCTS[precision]) >= 4
    assert verify(tmp_path / "b").ok


@pytest.mark.slow
def test_bf16_graphs_of_every_family_are_written(tmp_path, pruned):
    """No CPU runs them: what is proven is that they can be made."""
    for family in ("mpnet", "modernbert"):
        export(
            pruned(family),
            output=tmp_path / family,
            device=load_device("rtx-4090"),
            precision="bf16",
            calibration=CALIBRATION,
        )
        assert (tmp_path / family / "model.onnx").is_file()


def test_layers_that_share_their_weights_share_them_in_the_bundle(tmp_path):
    folder = make_sharing_checkpoint(tmp_path / "m", kind="sentence-embedding", layers=4)
    export(folder, output=tmp_path / "b", device=load_device("cpu"), precision="fp32", calibration=CALIBRATION)
    bundle = edgelm.runtime.load(tmp_path / "b")
    np.testing.assert_allclose(bundle.infer(bundle.tokenize(list(LONG))), vectors(folder), atol=1e-5)  # other kernels
    weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    assert (tmp_path / "b" / "model.onnx").stat().st_size < 1.5 * weights  # and the graph itself
