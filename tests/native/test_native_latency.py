"""What a block of a model costs is measured by what will run it."""

import os
import sys
from pathlib import Path

import pytest
from models import make_checkpoint

from edgelm.data.dataset import Dataset
from edgelm.device import load_device
from edgelm.export.pipeline import export
from edgelm.profile import shape_times
from edgelm.profile.block_latency import measure_shapes, measure_table, provider_here
from edgelm.profile.tune import tune
from edgelm.quantize.settings import Quantization
from edgelm.shapes import LayerShape, ModelSizes

SIZES = ModelSizes(layers=2, hidden=128, heads=4, ffn=256, vocabulary=200, positions=64)


@pytest.fixture
def installed(native, monkeypatch):
    """The package is there for other processes too, and preferred whatever this CPU is."""
    package = str(Path(native.__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH"), *sys.path])))
    monkeypatch.setattr("edgelm.runtime.native.is_faster", lambda: True)
    monkeypatch.setattr(shape_times, "_RUNS", 10)
    monkeypatch.setattr(shape_times, "_WARMUP", 1)


def test_a_table_is_measured_by_the_library_where_that_would_run_the_bundle(installed):
    table = measure_table(SIZES, precision="int8", sequence=16, threads=1)
    assert table.machine["provider"] == "native"
    assert 0 < table.rest < table.whole
    assert provider_here(SIZES, "fp32") == "cpu"  # it runs INT8 alone


@pytest.mark.parametrize("shape", [LayerShape(0, 0), LayerShape(1, 32)])
def test_every_shape_of_a_table_has_a_program(installed, shape):
    """Layers without heads and channels, whose biases are all that is left, and of so few that they stay floats."""
    (time,) = measure_shapes(SIZES, [(shape,) * 2], precision="int8", sequence=8, threads=1)
    assert time > 0


@pytest.mark.slow
def test_tuning_turns_what_the_library_has(installed, tmp_path):
    """Threads, and whether weights are mapped; onnxruntime's other settings change nothing."""
    checkpoint = make_checkpoint(tmp_path / "model", "bert", hidden=128, heads=4, ffn=256, spread=0.1)
    texts = Dataset("memory", texts=[f"turn the light on in room {index}" for index in range(16)])
    settings = {"precision": "int8", "calibration": texts, "quantization": Quantization(method="minmax")}
    export(checkpoint, output=tmp_path / "bundle", device=load_device("cpu"), **settings)
    found = tune(tmp_path / "bundle", time_limit=20)
    assert {trial.knob for trial in found.trials} | {*found.skipped} <= {"threads", "mapped weights"}


def test_a_table_is_measured_by_onnxruntime_where_that_would_run_the_bundle(installed, monkeypatch):
    monkeypatch.setattr("edgelm.runtime.native.is_faster", lambda: False)
    assert provider_here(SIZES, "int8") == "cpu"
