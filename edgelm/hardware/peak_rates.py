"""What a CPU really does: bytes a second by copying, operations a second by matrix products in onnxruntime."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgelm.hardware.matmul_graph import product_graph

SECONDS = (
    1.0  # for which each rate is tried again: the best is what the machine can do, the others what else it was doing
)
# rows, inner size and columns of a product: large enough to be bound by operations, done before others get their turn
SIZE = 1024
_FEWEST = 5
_SMALLEST_COPY_MB = 256
_CACHES = "/sys/devices/system/cpu"


def copy_mb(memory_gb: float | None) -> int:
    """How much to copy so that little of it stays in the caches: four times all of them, an eighth of the memory at
    most."""
    wanted = max(_SMALLEST_COPY_MB, 4 * _cache_bytes() // 10**6)
    return wanted if memory_gb is None else max(1, min(wanted, int(memory_gb * 1000 / 8)))


def measure_bandwidth(*, threads: int, megabytes: int) -> float:
    """Bytes a second between memory and CPU, read or written, in 10^9: numpy copies, each thread its own part; the best
    within `SECONDS`."""
    size = megabytes * 10**6 // threads
    with ThreadPoolExecutor(threads) as pool:  # numpy copies without Python's lock
        parts = list(pool.map(lambda _: (np.ones(size, np.uint8), np.zeros(size, np.uint8)), range(threads)))
        seconds = _best(lambda: list(pool.map(lambda part: np.copyto(part[1], part[0]), parts)))
    return 2 * size * threads / seconds / 1e9


def measure_products(precision: Literal["fp32", "int8"], *, threads: int, size: int | None = None) -> float:
    """Operations a second in 10^12, a multiplication and its addition being two: products with a constant matrix in
    onnxruntime, the best within `SECONDS`. INT8 is unsigned times signed bytes, summed in 32 bits, as in a quantized
    encoder.
    """
    import onnxruntime

    size = size or SIZE
    random = np.random.default_rng(0)
    if precision == "int8":
        values, weight = (
            random.integers(0, 256, (size, size), np.uint8),
            random.integers(-127, 128, (size, size), np.int8),
        )
    else:
        values, weight = random.random((size, size), np.float32), random.random((size, size), np.float32)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(product_graph(weight, size), options, providers=["CPUExecutionProvider"])
    result = onnxruntime.OrtValue.ortvalue_from_numpy(
        np.zeros((size, size), np.int32 if precision == "int8" else np.float32)
    )
    binding = session.io_binding()
    binding.bind_cpu_input("a", values)
    binding.bind_ortvalue_output(
        "c", result
    )  # made once: fresh memory for each result would cost as much as a fast product
    return 2 * float(size) ** 3 / _best(lambda: session.run_with_iobinding(binding)) / 1e12


def _best(work: Callable[[], Any]) -> float:
    """Seconds; the first run of all does not count."""
    work()
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(times) < _FEWEST or time.perf_counter() < end:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def _cache_bytes() -> int:
    """All caches of all cores, each counted once however many cores share it; 0 where the system does not say."""
    found: dict[tuple[str, ...], int] = {}
    for folder in Path(_CACHES).glob("cpu[0-9]*/cache/index[0-9]*"):
        try:
            which = tuple((folder / name).read_text().strip() for name in ("level", "type", "shared_cpu_list"))
            size = (folder / "size").read_text().strip()
            found[which] = int(size.rstrip("KM")) * (1024**2 if size.endswith("M") else 1024)
        except (OSError, ValueError):
            continue
    return sum(found.values())
