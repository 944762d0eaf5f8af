"""What operators cost on this machine: measured anew for each export, and once within it."""

import numpy as np
import pytest
from graphs import make_feeds, make_graph

from edgelm.graph.session import make_plain_session
from edgelm.quantize import kernel_timing
from edgelm.quantize.kernel_timing import KernelTimer
from edgelm.quantize.post_training import quantize_post_training
from edgelm.quantize.sensitivity import Evaluator, find_activations
from edgelm.quantize.settings import Quantization
from edgelm.quantize.statistics import collect
from edgelm.quantize.target import ONNXRUNTIME_CPU, OperationCounter


@pytest.fixture
def runs(monkeypatch):
    """The shapes that were run for their time, in order; each takes a microsecond."""
    seen = []

    def time(build, tokens, width):
        seen.append((build.__qualname__.split(".")[0], tokens, width))
        return 1.0

    monkeypatch.setattr(kernel_timing, "_time", time)
    return seen


def test_real_kernels_take_time_and_a_larger_product_takes_more():
    timer = KernelTimer()
    small, large = (timer.product(16, (width, width), integer=False) for width in (32, 1024))
    assert 0 < small < large  # a thousand times the operations
    assert timer.product(16, (64, 64), integer=True) > 0
    assert timer.multiply(16, 64) > 0


def test_an_operator_is_timed_once_for_an_export(runs):
    timer = KernelTimer()
    for _ in range(3):
        timer.product(16, (64, 128), integer=True)
        timer.multiply(16, 64)
    assert len(runs) == 2
    timer.product(16, (64, 128), integer=False)  # another operator
    timer.product(32, (64, 128), integer=True)
    assert len(runs) == 4


def test_two_exports_in_one_process_are_as_two_processes(runs):
    graph, feeds = make_graph(), make_feeds(8)
    statistics = collect(graph, [site.source for site in find_activations(graph)], feeds, count=len(feeds))
    session = make_plain_session(graph)
    judge = Evaluator(feeds, np.concatenate([session.run(None, feed)[0] for feed in feeds]))
    counts = []
    for _ in range(2):
        quantize_post_training(graph, statistics, judge, ONNXRUNTIME_CPU, Quantization())
        counts.append(len(runs))
    assert counts[0] > 0
    assert counts[1] == 2 * counts[0]


def test_where_nothing_is_measured_operations_are_counted():
    counter = OperationCounter()
    assert counter.product(10, (100, 300), integer=False) == pytest.approx(0.3)  # 10 x 100 x 300 / 10^6
    assert counter.product(10, (100, 300), integer=True) == pytest.approx(0.15)
    assert counter.multiply(10, 100) == pytest.approx(1e-3)
