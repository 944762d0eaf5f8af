"""INT8 bundles answer alike on CPUs whose kernels sum in 16 bits: by their weights, or by other kernels and with a
warning."""

import json
import shutil
import warnings
from dataclasses import replace

import numpy as np
import onnx
import pytest
from models import TEXTS, make_checkpoint
from onnx import TensorProto, helper
from typer.testing import CliRunner

import edgelm.runtime
from edgelm.cli.main import app
from edgelm.data.dataset import Dataset
from edgelm.device import load_device
from edgelm.export.pipeline import export
from edgelm.quantize.settings import Quantization
from edgelm.runtime import open_bundle, saturation
from edgelm.runtime.manifest import Manifest
from edgelm.runtime.session import optimizer
from edgelm.runtime.verify import verify

CALIBRATION = Dataset("memory", texts=TEXTS * 4)
OPERATORS = ("MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QAttention")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint"), hidden=128, heads=4, ffn=256, spread=0.1)


@pytest.fixture(scope="module")
def wide(checkpoint, tmp_path_factory):
    """A bundle whose weights use all of their eight bits."""
    output = tmp_path_factory.mktemp("wide") / "bundle"
    export(checkpoint, output=output, device=load_device("x86-vnni"), precision="int8-dynamic", calibration=CALIBRATION)
    return output


@pytest.fixture
def narrow_cpu(monkeypatch):
    """This CPU, as if its kernels summed in 16 bits."""
    monkeypatch.setattr(saturation, "sums_exactly", lambda: False)


def integer_weights(bundle):
    graph = onnx.load(bundle / "model.onnx").graph
    names = {node.input[1] for node in graph.node if node.op_type in OPERATORS}
    return [onnx.numpy_helper.to_array(tensor).astype(int) for tensor in graph.initializer if tensor.name in names]


def worst_sum(weights):
    """The largest magnitude that 16 bits are asked to hold: 255 times those of rows 2i and 2i + 1 that have one
    sign."""
    sums = [
        np.abs(np.where(sign * matrix > 0, matrix, 0).reshape(-1, 2, matrix.shape[1]).sum(axis=1))
        for matrix in weights
        for sign in (1, -1)
    ]
    return 255 * max(int(one.max()) for one in sums)


def check_named(path, name):
    return next((check for check in verify(path).checks if check.name == name), None)


@pytest.mark.parametrize(
    ("device", "precision", "settings"),
    [
        ("cpu", "int8", Quantization(method="minmax")),
        ("cpu", "int8", Quantization(method="minmax", rounding="adaptive")),
        ("cpu", "int8", Quantization(method="minmax", rounding="gptq")),
        ("cpu", "int8-dynamic", Quantization()),
        ("cpu", "int8-dynamic", Quantization(per_channel=False)),
        ("x86-avx2", "int8", Quantization(method="minmax")),
    ],
    ids=["nearest", "adaptive", "gptq", "dynamic", "one-scale", "avx2"],
)
def test_bundles_for_cpus_that_may_lack_vnni_cannot_overflow(checkpoint, tmp_path, device, precision, settings):
    output = tmp_path / "bundle"
    export(
        checkpoint,
        output=output,
        device=load_device(device),
        precision=precision,
        calibration=CALIBRATION,
        quantization=settings,
    )
    weights = integer_weights(output)
    assert len(weights) > 0
    assert worst_sum(weights) <= 2**15 - 1
    assert max(np.abs(matrix).max() for matrix in weights) > 64  # more than seven bits are used
    assert open_bundle(output).manifest.graph().pair_sum == worst_sum(weights) // 255
    assert check_named(output, "INT8 sums").detail.startswith("exact on every CPU")


def test_a_calibration_table_is_replayed_within_the_bound(checkpoint, tmp_path):
    settings = Quantization(method="minmax", table=tmp_path / "table.json")
    for name in ("first", "again"):
        export(
            checkpoint,
            output=tmp_path / name,
            device=load_device("cpu"),
            precision="int8",
            calibration=CALIBRATION,
            quantization=settings,
        )
    assert worst_sum(integer_weights(tmp_path / "again")) <= 2**15 - 1


def test_a_bundle_for_wide_sums_says_so(wide):
    assert worst_sum(integer_weights(wide)) > 2**15
    assert open_bundle(wide).manifest.graph().pair_sum > 128


def test_where_sums_are_narrow_such_a_bundle_warns_and_verify_says_what_it_found(wide, narrow_cpu):
    with pytest.warns(saturation.SaturationWarning, match="--device cpu") as caught:
        model = edgelm.runtime.load(wide)
    assert len(caught) == 1
    assert len(model(list(TEXTS))) == len(TEXTS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check = check_named(wide, "INT8 sums")
        assert verify(wide).ok
    assert "16 bits" in check.detail


def test_run_prints_the_warning_once(wide, narrow_cpu):
    result = CliRunner().invoke(app, ["run", str(wide), "lights on"])
    assert result.exit_code == 0, result.output
    assert result.stderr.count("16-bit") + result.stderr.count("VNNI") == 1


def test_where_sums_are_wide_nothing_is_said(wide, monkeypatch):
    monkeypatch.setattr(saturation, "sums_exactly", lambda: True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        edgelm.runtime.load(wide)
    assert "32 bits" in check_named(wide, "INT8 sums").detail


def test_a_manifest_from_before_is_read_and_trusted_with_nothing(wide):
    values = json.loads(open_bundle(wide).manifest.to_json())
    del values["graphs"][0]["pair_sum"]
    old = Manifest.from_json(json.dumps(values))
    assert old.graph().pair_sum is None
    assert not saturation.is_proven(old)
    assert saturation.is_proven(replace(old, precision="int8-weights"))
    assert "not known" in saturation.describe_sums(old)


def test_a_graph_that_was_optimized_for_wide_sums_is_not_used_where_they_are_narrow(wide, narrow_cpu, tmp_path):
    copy = shutil.copytree(wide, tmp_path / "copy")
    bundle = open_bundle(copy)
    changed = bundle.with_settings(bundle.manifest.session | {"optimized_by": optimizer()})
    (copy / "manifest.json").write_text(changed.manifest.to_json())
    (copy / "optimized.onnx").write_bytes(b"")  # whoever reads it fails
    with pytest.warns(saturation.SaturationWarning):
        edgelm.runtime.load(copy)


def test_the_probe_is_the_product_that_it_says():
    node = helper.make_node("MatMulInteger", ["a", "b"], ["y"])
    values = (
        helper.make_tensor_value_info("a", TensorProto.UINT8, [1, 4]),
        helper.make_tensor_value_info("y", TensorProto.INT32, [1, 1]),
    )
    weights = helper.make_tensor("b", TensorProto.INT8, [4, 1], bytes([127] * 4), raw=True)
    graph = helper.make_graph([node], "g", [values[0]], [values[1]], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 10)], ir_version=5)
    assert onnx.load_model_from_string(saturation._PROBE) == model
    onnx.checker.check_model(model)


def test_a_model_too_small_for_integers_is_exact_everywhere(tmp_path):
    folder = make_checkpoint(tmp_path / "m")
    export(
        folder, output=tmp_path / "b", device=load_device("x86-vnni"), precision="int8-dynamic", calibration=CALIBRATION
    )
    manifest = open_bundle(tmp_path / "b").manifest
    assert manifest.graph().pair_sum == 0
    assert saturation.is_proven(manifest)
