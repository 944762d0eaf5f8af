"""A precision is one row of one table: whatever a device's list names has every figure that anything asks for."""

import onnx
import pytest
from typer.testing import CliRunner

from edgelm.budgeting.footprint import row_bytes, size_table
from edgelm.cli.main import app
from edgelm.cost.roofline import peak_rate
from edgelm.cost.synthetic import encoder_work
from edgelm.device import Device, check_precision, load_device
from edgelm.errors import UsageError
from edgelm.files.shipped import shipped_names
from edgelm.graph.synthetic import encoder_graph
from edgelm.precision import PRECISIONS, precision_of, precisions_for
from edgelm.quantize.blocks import BLOCK
from edgelm.quantize.target import ONNXRUNTIME_CPU, TENSORRT, target_of
from edgelm.quantize.without_data import quantize_blindly
from edgelm.runtime.saturation import INTEGERS
from edgelm.shapes import ModelSizes

SIZES = ModelSizes(layers=1, hidden=128, heads=4, ffn=256, vocabulary=200, positions=64)
LISTED = [(name, precision) for name in shipped_names("devices") for precision in load_device(name).precisions]


@pytest.mark.parametrize(("name", "precision"), LISTED)
def test_what_a_device_lists_has_every_figure(name, precision):
    device, row = load_device(name), precision_of(precision)
    assert target_of(device).name in row.targets
    assert 0 < row.tolerance < 1
    assert 0 < row.golden_tolerance < 1
    assert row.judged_by == ("answers" if row.integers else "outputs")
    assert row_bytes(SIZES, precision, device) > 0
    table = size_table(SIZES, precision, device, tokenizer_mb=0.0)
    assert table.predict(SIZES.full()) > table.rest > 0
    rates = row.gpu_rates if target_of(device).compiled else row.cpu_rates
    if any(device.compute.get(known) for known, _ in rates):
        assert peak_rate(device, precision) > 0
    else:  # a file without published figures
        with pytest.raises(UsageError, match="rate to estimate a latency from"):
            peak_rate(device, precision)
    if row.least_capability and device.compute_capability:
        assert float(device.compute_capability) >= row.least_capability


@pytest.mark.parametrize("name", shipped_names("devices"))
def test_a_device_lists_what_its_target_computes(name):
    device = load_device(name)
    capability = float(device.compute_capability or 0)
    assert set(device.precisions) <= set(precisions_for(target_of(device).name, capability=capability))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_can_be_made_and_counted(precision):
    graph = quantize_blindly(encoder_graph(SIZES, SIZES.full()), precision)
    kinds = {tensor.data_type for tensor in graph.graph.initializer}
    row = precision_of(precision)
    if row.onnx_type:
        assert getattr(onnx.TensorProto, row.onnx_type) in kinds
    else:
        assert kinds & {onnx.TensorProto.INT8, onnx.TensorProto.UINT8}
    for compiled in (False, True):
        works = encoder_work(SIZES, SIZES.full(), precision, batch=1, sequence=16, compiled=compiled)
        assert {work.precision for work in works} <= PRECISIONS.keys()
        assert sum(work.weights for work in works) > 0


def test_a_weight_takes_the_bytes_that_its_storage_says():
    scale = 2 / BLOCK  # an FP16 number a block
    found = {name: row.weight_bytes for name, row in PRECISIONS.items()}
    assert found == {
        "fp32": 4,
        "fp16": 2,
        "bf16": 2,
        "int8": 1,
        "int8-dynamic": 1,
        "int8-weights": 1 + scale,
        "int4": 0.5 + scale,
    }
    assert {name for name, row in PRECISIONS.items() if row.column_bytes} == {"int8", "int8-dynamic"}


def test_the_runtime_that_bundles_carry_agrees_on_what_multiplies_bytes():
    """It holds names alone, so that it stands without this table."""
    assert set(INTEGERS) == {name for name, row in PRECISIONS.items() if row.conversion in ("static", "dynamic")}


def test_bf16_needs_ampere_and_no_cpu():
    assert "bf16" not in precisions_for("onnxruntime")
    assert "bf16" not in precisions_for("tensorrt")  # nobody knows the GPU
    assert "bf16" not in precisions_for("tensorrt", capability=7.5)  # Turing
    assert precisions_for("tensorrt", capability=8.0) == ("fp32", "fp16", "bf16", "int8")


def test_an_unknown_precision_is_refused_with_those_that_there_are():
    for ask in (lambda: precision_of("int3"), lambda: check_precision(load_device("cpu"), "int3")):
        with pytest.raises(UsageError, match="unknown precision 'int3'") as refused:
            ask()
        assert all(name in (refused.value.hint or "") for name in PRECISIONS)


@pytest.mark.parametrize("command", ["export", "search"])
def test_the_help_names_every_precision(command):
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "300"})  # wide: names are not broken
    assert all(name in shown.output for name in PRECISIONS)


@pytest.mark.parametrize(("kind", "target"), [("cpu", ONNXRUNTIME_CPU), ("gpu", TENSORRT), ("jetson", TENSORRT)])
def test_a_device_has_the_kernels_of_its_kind(kind, target):
    device = Device(
        name="mine", title="mine", kind=kind, arch="any", precisions=("fp32",), runtimes=("onnxruntime-cpu",)
    )
    assert target_of(device) is target
    assert precision_of(target.floats).floats == target.floats  # what lies beside integers is a float
