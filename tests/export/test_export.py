"""Bundles of every family and precision answer as PyTorch does; what cannot be exported is refused and leaves
nothing."""

import json
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from models import ANATOMIES, TEXTS, make_checkpoint
from typer.testing import CliRunner

import edgelm.runtime
from edgelm.anatomy import load_checkpoint, load_tokenizer, model_layers, model_outputs, save_checkpoint
from edgelm.checkpoint import open_checkpoint
from edgelm.cli.main import app
from edgelm.data.dataset import Dataset
from edgelm.device import load_device
from edgelm.errors import CalibrationError, OutputExistsError, ParityError, UsageError
from edgelm.export.parity import check_parity
from edgelm.export.pipeline import export
from edgelm.export.precision import largest_pair
from edgelm.export.samples import encode
from edgelm.quantize.settings import Quantization
from edgelm.runtime import open_bundle
from edgelm.runtime.verify import verify
from edgelm.tasks.text import TextClassification

CALIBRATION = Dataset("memory", texts=TEXTS * 4)
WIDE = {"hidden": 128, "heads": 4, "ffn": 256, "spread": 0.1}  # matrices large enough to be worth integers


def wide_pruned(folder, family, **options):
    """A checkpoint whose two layers have shapes of their own."""
    make_checkpoint(folder / "full", family, **WIDE, **options)
    checkpoint = open_checkpoint(folder / "full")
    model, tokenizer = load_checkpoint(checkpoint), load_tokenizer(checkpoint)
    model_layers(model)[0].cut(heads=[0, 2, 3], ffn=range(192))
    model_layers(model)[1].cut(heads=[1], ffn=range(128, 256))
    save_checkpoint(folder / "cut", model, tokenizer, checkpoint.record)
    return folder / "cut"


def torch_outputs(folder, texts):
    checkpoint = open_checkpoint(folder)
    model, tokenizer = load_checkpoint(checkpoint), load_tokenizer(checkpoint)
    with torch.inference_mode():
        return np.concatenate(
            [
                model_outputs(model, checkpoint.task, dict(tokenizer(text, return_tensors="pt")))[0].numpy()
                for text in texts
            ]
        )


@pytest.mark.parametrize("kind", ["text-classification", "sentence-embedding"])
@pytest.mark.parametrize("family", ANATOMIES)
def test_fp32_bundles_of_pruned_models_compute_what_pytorch_computes(tmp_path, family, kind):
    folder = wide_pruned(tmp_path, family, kind=kind)
    export(folder, output=tmp_path / "b", device=load_device("cpu"), precision="fp32", calibration=CALIBRATION)
    model = edgelm.runtime.load(tmp_path / "b")
    wanted = torch_outputs(folder, TEXTS)
    alone = np.concatenate([model.infer(model.tokenize([text])) for text in TEXTS])
    together = model.infer(model.tokenize(list(TEXTS)))
    np.testing.assert_allclose(alone, wanted, atol=1e-4, rtol=1e-4)  # float32, other kernels
    np.testing.assert_allclose(together, wanted, atol=1e-4, rtol=1e-4)  # padding changes nothing
    assert verify(tmp_path / "b").ok


@pytest.mark.parametrize("precision", ["int8", "int8-dynamic", "int8-weights", "int4", "fp16"])
@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_smaller_precisions_stay_close_and_get_smaller(tmp_path, family, precision):
    # A value, since random classes are near ties; a model whose values 4 bits keep within what parity allows.
    folder = wide_pruned(tmp_path, family, labels=("score",), problem="regression", seed=1)
    result = export(
        folder, output=tmp_path / "b", device=load_device("cpu"), precision=precision, calibration=CALIBRATION
    )
    wanted = torch_outputs(folder, TEXTS)
    model = edgelm.runtime.load(tmp_path / "b")
    found = model.infer(model.tokenize(list(TEXTS)))
    bound = {"fp16": 0.02, "int4": 0.5}.get(
        precision, 0.15
    )  # share of the outputs' spread: ten, four and eight bits in two layers
    assert np.abs(found - wanted).max() < bound * np.ptp(wanted)
    products = {"int8": ("MatMulIntegerToFloat", "QAttention"), "int8-dynamic": ("DynamicQuantizeMatMul",)}
    products |= {"int8-weights": ("MatMulNBits",), "int4": ("MatMulNBits",)}
    if precision in products:
        # Of at least 16,384 weights: the first layer's query, key and value in one, both layers' FFNs, the pooler or
        # the head's dense.
        assert sum(result.operators[name] for name in products[precision]) == 6
    assert verify(tmp_path / "b").ok


def test_graphs_for_other_runtimes_use_standard_signed_operators_only(tmp_path):
    folder = wide_pruned(tmp_path, "bert")
    export(
        folder, output=tmp_path / "b", device=load_device("jetson-orin-nano"), precision="int8", calibration=CALIBRATION
    )
    graph = onnx.load(tmp_path / "b" / "model.onnx").graph
    assert {node.domain for node in graph.node} == {""}
    zero_points = [tensor for tensor in graph.initializer if tensor.name.endswith("_zero")]
    assert zero_points
    assert all(
        tensor.data_type == onnx.TensorProto.INT8 and not onnx.numpy_helper.to_array(tensor).any()
        for tensor in zero_points
    )


@pytest.mark.parametrize(
    ("name", "instructions", "pair"),
    [
        ("x86-vnni", ("avx2", "avx512f", "avx512_vnni"), None),
        ("x86-vnni", ("avx2", "avx_vnni"), None),
        ("x86-vnni", ("avx2", "avx512f"), 128),
        ("x86-vnni", (), 128),
        ("cpu", (), 128),
        ("arm64", ("asimddp",), None),
        ("rtx-4090", (), None),
    ],
    ids=["avx512-vnni", "avx-vnni", "avx512", "before-avx2", "any-cpu", "arm", "gpu"],
)
def test_weights_leave_room_only_where_sums_would_overflow(name, instructions, pair):
    assert largest_pair(load_device(name).model_copy(update={"instructions": instructions})) == pair


def test_the_manifest_has_parity_quality_calibration_and_lineage(tmp_path):
    folder = make_checkpoint(tmp_path / "m", **WIDE)
    rows = "".join(
        json.dumps({"text": text, "label": ["negative", "positive"][index % 2]}) + "\n"
        for index, text in enumerate(TEXTS * 2)
    )
    (tmp_path / "dev.jsonl").write_text(rows)
    command = [
        "export",
        str(folder),
        "--calibration",
        str(tmp_path / "dev.jsonl"),
        "--eval",
        str(tmp_path / "dev.jsonl"),
        "--calibration-method",
        "minmax",
    ]
    result = CliRunner().invoke(app, [*command, "--output", str(tmp_path / "b.edgelm"), "--json"])
    assert result.exit_code == 0, result.output
    manifest = open_bundle(tmp_path / "b.edgelm").manifest
    assert manifest.to_json() == json.dumps(json.loads(result.stdout)["manifest"], indent=2) + "\n"
    assert manifest.graph().parity.samples == 16
    assert set(manifest.quality["checkpoint"]) == {"accuracy", "macro_f1", "f1"}
    calibration = manifest.calibration
    assert {name: calibration[name] for name in ("method", "samples", "source")} == {
        "method": "minmax",
        "samples": 12,  # the other four judged what was made of them
        "source": f"{tmp_path.name}/dev.jsonl",  # no place of the maker's machine
    }
    assert [site["option"] for site in calibration["sites"]] == ["minmax"] * len(calibration["sites"])
    assert manifest.lineage["task"]["labels"] == ["negative", "positive"]
    assert [spec.name for spec in manifest.inputs] == ["input_ids", "attention_mask"]  # single texts have no types
    assert [spec.shape for spec in manifest.inputs] == [("batch", "sequence")] * 2
    assert verify(tmp_path / "b.edgelm").ok


def test_pair_models_get_pairs(tmp_path):
    folder = make_checkpoint(tmp_path / "m", labels=("score",), problem="regression")
    pairs = Dataset("memory", texts=TEXTS, pairs=TEXTS[::-1])
    export(folder, output=tmp_path / "b", device=load_device("cpu"), precision="fp32", calibration=pairs)
    model = edgelm.runtime.load(tmp_path / "b")
    assert model((TEXTS[0], TEXTS[1]))["score"] != model((TEXTS[0], TEXTS[2]))["score"]
    with pytest.raises(UsageError, match="two texts"):
        model(TEXTS[0])


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"device": load_device("jetson-xavier-nx"), "precision": "int8-dynamic"}, UsageError),
        ({"precision": "int3"}, UsageError),
        ({"precision": "fp16", "quantization": Quantization(max_drop=0.5)}, UsageError),
        ({"quantization": Quantization(max_drop=0.5)}, UsageError),
        ({"calibration": Dataset("memory", texts=TEXTS[:3])}, CalibrationError),
    ],
)
def test_impossible_exports_are_refused_and_leave_nothing(tmp_path, options, error):
    folder = make_checkpoint(tmp_path / "m")
    values = {"device": load_device("cpu"), "precision": "int8", "calibration": CALIBRATION} | options
    with pytest.raises(error):
        export(folder, output=tmp_path / "b", **values)
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_an_output_that_exists_is_refused(tmp_path):
    (tmp_path / "b").mkdir()
    with pytest.raises(OutputExistsError):
        export(make_checkpoint(tmp_path / "m"), output=tmp_path / "b", device=load_device("cpu"))


class Liar:
    """A session that answers the opposite."""

    def __init__(self, wanted):
        self.wanted = wanted

    def get_inputs(self):
        return [SimpleNamespace(name="input_ids"), SimpleNamespace(name="attention_mask")]

    def run(self, names, feeds):
        return [np.repeat(-self.wanted, len(feeds["input_ids"]), axis=0)]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_graph_that_computes_something_else_is_not_bundled(tmp_path, precision):
    folder = make_checkpoint(tmp_path / "m")
    task = TextClassification(labels=("negative", "positive"))
    session = Liar(torch_outputs(folder, TEXTS[:1]))
    with pytest.raises(ParityError):
        check_parity(
            session,
            torch_outputs(folder, TEXTS),
            encode(load_tokenizer(folder), task, TEXTS, max_length=64),
            precision=precision,
        )


@pytest.mark.parametrize(
    ("family", "kind", "precision"),
    [("bert", "text-classification", "int8"), ("roberta", "sentence-embedding", "fp16")],
)
def test_a_bundle_for_one_text_at_a_time_asks_for_tokens_alone(tmp_path, family, kind, precision):
    """No mask, fewer nodes; the same answers, and lists of texts are taken one by one."""
    folder = make_checkpoint(tmp_path / "m", family, kind=kind, hidden=128, ffn=256, spread=0.1)
    options = {
        "device": load_device("cpu"),
        "precision": precision,
        "calibration": CALIBRATION,
        "quantization": Quantization(method="minmax"),
    }
    whole = export(folder, output=tmp_path / "whole", **options)
    lean = export(folder, output=tmp_path / "lean", single=True, **options)
    assert [spec.name for spec in lean.manifest.inputs] == ["input_ids"]
    assert sum(lean.operators.values()) < sum(whole.operators.values()) + (
        4 if kind == "sentence-embedding" else 0
    )  # pooling counts tokens
    models = [edgelm.runtime.load(tmp_path / name) for name in ("whole", "lean")]
    outputs = [np.concatenate([model.infer(model.tokenize([text])) for text in TEXTS]) for model in models]
    np.testing.assert_allclose(outputs[1], outputs[0], atol=1e-5)
    assert len(models[1](list(TEXTS))) == len(TEXTS)
    with pytest.raises(UsageError, match="one text at a time"):
        models[1].tokenize(list(TEXTS))
    assert verify(tmp_path / "lean").ok
