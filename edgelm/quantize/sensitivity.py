"""What each activation costs when it alone is in integers: output error, the task's metric, and time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import onnx

from edgelm.progress import Progress, silent
from edgelm.quantize.alone import Alone
from edgelm.quantize.evaluator import Evaluator
from edgelm.quantize.grid import quantize_columns, rounded
from edgelm.quantize.integers import QuantizationPlan
from edgelm.quantize.matmuls import MatMul, find_matmuls
from edgelm.quantize.ranges import range_of
from edgelm.quantize.smooth import ALPHAS, find_folds, smooth, smoothed_name, smoothing_scales
from edgelm.quantize.statistics import Statistics
from edgelm.quantize.target import Target

FLOAT, SMOOTH = "float", "smooth"
_WORTH = 0.02  # a site with less than this share of the whole error is not looked at further

Interval = tuple[float, float]


@dataclass(frozen=True)
class Activation:
    """An activation and the products that read it: they are quantized together or not at all."""

    source: str
    products: tuple[MatMul, ...]

    @property
    def name(self) -> str:
        """The first product's name."""
        return self.products[0].name


@dataclass(frozen=True)
class Option:
    """One way to compute a site.

    Attributes:
        kind: a range method, `smooth`, or `float`.
        error: squared error of the model's outputs when this site alone is computed so, relative to their variance.
        score: the task's metric then; None without labels.
        cost: time of the products and of what the option adds to them, in the target's unit.
        interval: of the integers; None for `float`.
        alpha, scale: of smoothing, else None.
    """

    kind: str
    error: float
    score: float | None
    cost: float
    interval: Interval | None = None
    alpha: float | None = None
    scale: np.ndarray | None = field(default=None, repr=False)


def find_activations(graph: onnx.ModelProto) -> list[Activation]:
    """The activations that products read, in the order of the graph."""
    by_source: dict[str, list[MatMul]] = {}
    for product in find_matmuls(graph):
        by_source.setdefault(product.source, []).append(product)
    return [Activation(source, tuple(products)) for source, products in by_source.items()]


def measure(
    graph: onnx.ModelProto,
    statistics: Mapping[str, Statistics],
    judge: Evaluator,
    plan: QuantizationPlan,
    target: Target,
    *,
    methods: Sequence[str],
    smoothing: bool,
    progress: Progress = silent,
) -> dict[str, list[Option]]:
    """The options of every site, by its name.

    Each site is quantized alone, with the first method; where that costs a noticeable share of the whole error, the
    other methods and smoothing are tried too. `float` is always an option, with no error.
    """
    sites, folds, costs = find_activations(graph), find_folds(graph), target.costs()
    alone = Alone(graph, [site.products for site in sites], judge)
    tokens = int(np.median([feed["input_ids"].shape[-1] for feed in judge.feeds]))

    def interval(site: Activation, method: str) -> Interval:
        return range_of(statistics[site.source], method, symmetric=target.symmetric)

    def convert(site: Activation, option: Option, part: onnx.ModelProto) -> onnx.ModelProto:
        changed, made = apply(part, [(site, option)], plan)
        return target.quantize(changed, made)

    def attempt(tries: Sequence[tuple[int, Option]], begun: int) -> list[tuple[int, Option]]:
        changes = [(index, partial(convert, sites[index], option)) for index, option in tries]
        outputs = alone.outputs(changes, lambda done: progress("sensitivity", begun + done, begun + len(tries)))
        return [
            (index, replace(option, error=judge.error(found), score=judge.score(found)))
            for (index, option), found in zip(tries, outputs, strict=True)
        ]

    first, full = [], []
    for index, site in enumerate(sites):
        shapes = [product.weight.shape for product in site.products]
        cost = [sum(costs.product(tokens, shape, integer=integer) for shape in shapes) for integer in (True, False)]
        first.append((index, Option(methods[0], 0.0, None, cost[0], interval(site, methods[0]))))
        full.append(Option(FLOAT, 0.0, judge.score(judge.wanted), cost[1]))
    found = {sites[index].name: [option, full[index]] for index, option in attempt(first, 0)}
    whole = sum(options[0].error for options in found.values())
    others: list[tuple[int, Option]] = []
    for index, site in enumerate(sites):
        tried = found[site.name][0]
        if tried.error <= _WORTH * whole:
            continue
        others += [(index, replace(tried, kind=method, interval=interval(site, method))) for method in methods[1:]]
        if smoothing:
            entry = statistics[site.source]
            extra = 0.0 if site.source in folds else costs.multiply(tokens, len(entry.channel_max))
            others.append((index, replace(_smoothed(site, entry, target, plan.pair), cost=tried.cost + extra)))
    for index, option in attempt(others, len(first)):
        found[sites[index].name].append(option)
    return found


def apply(
    graph: onnx.ModelProto, chosen: Sequence[tuple[Activation, Option]], plan: QuantizationPlan
) -> tuple[onnx.ModelProto, QuantizationPlan]:
    """The graph with its smoothing, and the plan with ranges and float products, as chosen."""
    scales = {site.source: option.scale for site, option in chosen if option.scale is not None}
    folds = find_folds(graph) if scales else {}
    ranges = dict(plan.ranges)
    keep = set(plan.keep)
    for site, option in chosen:
        if option.interval is None:
            keep |= {product.name for product in site.products}
        else:
            ranges[site.source if option.scale is None else smoothed_name(site.source, folds)] = option.interval
    return smooth(graph, scales) if scales else graph, replace(plan, ranges=ranges, keep=frozenset(keep))


def _smoothed(site: Activation, entry: Statistics, target: Target, pair: int | None) -> Option:
    """Smoothing with the alpha whose products are closest to the float ones, on the tokens that calibration kept."""
    weight = np.concatenate([product.weight for product in site.products], axis=1)
    wanted = entry.rows @ weight
    best: tuple[float, Option] | None = None
    for alpha in ALPHAS:
        scale = smoothing_scales(entry.channel_max, [weight], alpha)
        after = entry.scaled(scale)
        interval = range_of(after, "minmax", symmetric=target.symmetric)
        found = rounded(after.rows, interval) @ quantize_columns(weight * scale[:, None], pair=pair).floats()
        error = float(((found - wanted) ** 2).sum())
        if best is None or error < best[0]:
            best = error, Option(SMOOTH, 0.0, None, 0.0, interval, alpha, scale)
    assert best is not None
    return best[1]
