"""Tables of latencies and of calibration that are damaged in any place."""

import json

import numpy as np
import pytest
from fuzzing import damaged_json, hold, inputs
from hypothesis import given

from edgelm.latency_table import count_operations, read_latency_table
from edgelm.quantize.calibration_table import CalibrationTable, read_table
from edgelm.quantize.histogram import BINS, Histogram
from edgelm.quantize.statistics import Statistics
from edgelm.shapes import LayerShape, ModelSizes

pytestmark = pytest.mark.fuzz


def test_a_latency_table(tmp_path, request):
    """A table that is taken can be asked for the cost of a layer."""
    sizes = ModelSizes(layers=2, hidden=8, heads=2, ffn=16, vocabulary=32)
    count_operations(sizes, 16).save(tmp_path / "t.json")
    values = json.loads((tmp_path / "t.json").read_text())

    @inputs(request)
    @given(text=damaged_json(values))
    def hammer(text):
        (tmp_path / "t.json").write_bytes(text)
        hold(lambda: read_latency_table(tmp_path / "t.json").predict((LayerShape(1, 8),)))

    hammer()


def test_a_calibration_table(tmp_path, request):
    counts = np.zeros(2 * BINS)
    counts[BINS : BINS + 4] = (1, 2, 3, 4)
    entry = Statistics(Histogram(-1.0, 1.0, 2.0, counts), (-1.0, 1.0), np.zeros(4, "f4"), np.ones(4, "f4"), 9)
    CalibrationTable("m", {"samples": 4}, "cpu", {"a": entry}, {"a": {"option": "smooth", "alpha": 0.5}}).save(
        tmp_path / "t.json"
    )
    values = json.loads((tmp_path / "t.json").read_text())

    @inputs(request)
    @given(text=damaged_json(values))
    def hammer(text):
        (tmp_path / "t.json").write_bytes(text)
        hold(lambda: read_table(tmp_path / "t.json"))

    hammer()
