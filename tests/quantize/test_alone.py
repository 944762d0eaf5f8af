"""One activation in integers at a time: the same outputs as of the whole graph with all others left in floats."""

from dataclasses import replace

import numpy as np
import pytest
from graphs import make_feeds, make_graph
from models import TEXTS, make_checkpoint

from edgelm.anatomy import TaskModel, load_checkpoint, load_tokenizer
from edgelm.checkpoint import open_checkpoint
from edgelm.export.trace import export_graph
from edgelm.graph.session import make_plain_session
from edgelm.quantize import alone
from edgelm.quantize.evaluator import Evaluator
from edgelm.quantize.integers import QuantizationPlan
from edgelm.quantize.sensitivity import FLOAT, SMOOTH, find_activations, measure
from edgelm.quantize.statistics import collect
from edgelm.quantize.target import ONNXRUNTIME_CPU, TENSORRT, OperationCounter


def small():
    return make_graph(outlier=30), make_feeds()


def encoder(folder, *, fused):
    made = make_checkpoint(folder, "bert", hidden=128, ffn=256, spread=0.1)
    tokenizer = load_tokenizer(made)
    graph = export_graph(TaskModel(load_checkpoint(made), tokenizer, open_checkpoint(made).task, 64), fused=fused)
    names = {value.name for value in graph.graph.input}
    feeds = [dict(tokenizer([f"{text} {text}"], return_tensors="np")) for text in (*TEXTS, *TEXTS[::-1])]
    return graph, [{name: values for name, values in feed.items() if name in names} for feed in feeds]


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        pytest.param("small", ONNXRUNTIME_CPU, id="onnxruntime"),
        pytest.param("small", TENSORRT, id="tensorrt"),
        pytest.param("encoder", ONNXRUNTIME_CPU, id="encoder", marks=pytest.mark.slow),
        pytest.param("encoder", TENSORRT, id="encoder-tensorrt", marks=pytest.mark.slow),
    ],
)
def test_errors_by_layer_are_those_of_graphs_that_have_this_layer_alone_in_integers(
    tmp_path, kind, target, monkeypatch
):
    monkeypatch.setattr(alone, "_KEPT", 1)  # changes are tried one after another, as where outputs are large
    graph, feeds = small() if kind == "small" else encoder(tmp_path / "m", fused=target.fused)
    session = make_plain_session(graph)
    judge = Evaluator(feeds, np.concatenate([session.run(None, feed)[0] for feed in feeds]))
    sites = find_activations(graph)
    statistics = collect(graph, [site.source for site in sites], feeds, count=len(feeds))
    options = measure(
        graph,
        statistics,
        judge,
        QuantizationPlan(),
        replace(target, costs=OperationCounter),
        methods=("minmax", "percentile") if kind == "small" else ("minmax",),
        smoothing=kind == "small",
    )
    names = frozenset(product.name for site in sites for product in site.products)
    assert len(options) == len(sites) > 1
    for site in sites:
        for option in options[site.name]:
            if option.kind in (FLOAT, SMOOTH):
                continue
            others = names - {product.name for product in site.products}
            plan = QuantizationPlan(ranges={site.source: option.interval}, keep=others)
            error = judge.error(judge.outputs(target.quantize(graph, plan)))
            # Sums of floats in another order; the error itself is far larger than their rounding.
            assert option.error == pytest.approx(error, rel=1e-3), (site.name, option.kind)
