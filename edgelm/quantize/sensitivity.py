"""What each activation costs when it alone is in integers: output error, the task's metric, and time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx

from edgelm.progress import Progress, silent
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
    everything = frozenset(product.name for site in sites for product in site.products)
    tokens = int(np.median([feed["input_ids"].shape[-1] for feed in judge.feeds]))

    def interval(site: Activation, method: str) -> Interval:
        return range_of(statistics[site.source], method, symmetric=target.symmetric)

    def attempt(site: Activation, option: Option) -> Option:
        changed, alone = apply(graph, [(site, option)], plan)
        outputs = judge.outputs(
            target.quantize(changed, replace(alone, keep=everything - {product.name for product in site.products}))
        )
        return replace(option, error=judge.error(outputs), score=judge.score(outputs))

    found: dict[str, list[Option]] = {}
    for index, site in enumerate(sites):
        shapes = [product.weight.shape for product in site.products]
        integer, full = (
            sum(costs.product(tokens, shape, integer=integer) for shape in shapes) for integer in (True, False)
        )
        first = Option(methods[0], 0.0, None, integer, interval(site, methods[0]))
        found[site.name] = [attempt(site, first), Option(FLOAT, 0.0, judge.score(judge.wanted), full)]
        progress("sensitivity", index + 1, 2 * len(sites))
    whole = sum(options[0].error for options in found.values())
    for index, site in enumerate(sites):
        options = found[site.name]
        if options[0].error > _WORTH * whole:
            first, entry = options[0], statistics[site.source]
            others = [replace(first, kind=method, interval=interval(site, method)) for method in methods[1:]]
            if smoothing:
                extra = 0.0 if site.source in folds else costs.multiply(tokens, len(entry.channel_max))
                others.append(replace(_smoothed(site, entry, target, plan.pair), cost=first.cost + extra))
            found[site.name] += [attempt(site, option) for option in others]
        progress("sensitivity", len(sites) + index + 1, 2 * len(sites))
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
