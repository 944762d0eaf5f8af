"""Rates of the CPU: that the products are products, and that what is timed is what is said."""

import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest

from edgelm.hardware import peak_rates as rates
from edgelm.hardware.matmul_graph import product_graph


@pytest.mark.parametrize("kind", [np.float32, np.int8])
def test_the_handwritten_graph_is_onnx_and_multiplies(kind) -> None:
    random = np.random.default_rng(0)
    # Sizes that need two bytes each; weights of 7 bits, since without VNNI pairs of larger ones are cut off.
    weight = random.integers(-63, 64, (300, 200)).astype(kind)
    values = random.integers(0, 256, (150, 300)).astype(np.float32 if kind is np.float32 else np.uint8)
    graph = product_graph(weight, 150)
    onnx.checker.check_model(onnx.load_from_string(graph), full_check=True)
    (result,) = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"]).run(None, {"a": values})
    assert result.shape == (150, 200)
    np.testing.assert_array_equal(
        result, values.astype(np.int64) @ weight.astype(np.int64)
    )  # below 2^24: exact in FP32 too


def test_operations_are_counted_with_their_additions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "_best", lambda work: (work(), 0.5)[1])
    for precision in ("fp32", "int8"):
        assert rates.measure_products(precision, threads=1, size=64) == pytest.approx(2 * 64**3 / 0.5 / 1e12)


def test_bytes_are_counted_read_and_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "_best", lambda work: (work(), 0.5)[1])
    assert rates.measure_bandwidth(threads=2, megabytes=2) == pytest.approx(2 * 2e6 / 0.5 / 1e9)


def test_the_best_of_several_runs_counts_and_the_first_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "SECONDS", 0.0)
    now, steps = [0.0], iter([0.001, 5.0, 3.0, 4.0, 2.0, 6.0])

    def work() -> None:
        now[0] += next(steps)

    monkeypatch.setattr(rates.time, "perf_counter", lambda: now[0])
    assert rates._best(work) == pytest.approx(2.0)


def test_copies_are_larger_than_the_caches_and_smaller_than_the_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    for cpu, (index, level, shared, size) in [
        (0, (0, 1, "0", "48K")),
        (0, (3, 3, "0-1", "96M")),
        (1, (3, 3, "0-1", "96M")),
        (1, (0, 1, "1", "48K")),
    ]:
        folder = tmp_path / f"cpu{cpu}" / "cache" / f"index{index}"
        folder.mkdir(parents=True)
        for name, value in (("level", level), ("type", "Data"), ("shared_cpu_list", shared), ("size", size)):
            (folder / name).write_text(f"{value}\n")
    monkeypatch.setattr(rates, "_CACHES", str(tmp_path))
    assert rates._cache_bytes() == 96 * 1024**2 + 2 * 48 * 1024
    assert rates.copy_mb(64) == rates.copy_mb(None) == 4 * rates._cache_bytes() // 10**6
    assert rates.copy_mb(1) == 125
    monkeypatch.setattr(rates, "_CACHES", str(tmp_path / "nowhere"))
    assert rates.copy_mb(None) == 256


def test_a_device_needs_neither_torch_nor_onnx_to_be_measured() -> None:
    code = (
        "import sys, edgelm.hardware.detect, edgelm.hardware.peak_rates; print([name for name in ('torch', 'onnx', "
        "'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"
