"""Post-training quantization to INT8: the choice for every activation, then rounding and bias correction where they
help."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx

from edgelm.errors import UsageError
from edgelm.knapsack import least_cost
from edgelm.progress import Progress, silent
from edgelm.quantize.correction import correct_biases
from edgelm.quantize.evaluator import Evaluator
from edgelm.quantize.grid import IntegerWeight, quantize_columns
from edgelm.quantize.integers import QuantizationPlan, residual_inputs
from edgelm.quantize.matmuls import find_matmuls
from edgelm.quantize.ranges import range_of
from edgelm.quantize.rounding import adapt, gptq_columns, hessian
from edgelm.quantize.sensitivity import FLOAT, SMOOTH, Activation, Option, apply, find_activations, measure
from edgelm.quantize.settings import AUTO, Quantization
from edgelm.quantize.smooth import find_folds, smoothed_name, smoothing_scales
from edgelm.quantize.statistics import Statistics
from edgelm.quantize.target import Target

_METHODS = (
    "minmax",
    "moving-average",
    "percentile",
    "mse",
)  # that `auto` tries; entropy lost on every set (benchmarks/calibration.py)
_EXTRA = 0.03  # of the products' time that `auto` may spend on smoothing
_RESIDUALS = 0.1  # more error that additions in integers may bring
_BUDGETS = (
    1e-2,
    3e-3,
    1e-3,
    3e-4,
    1e-4,
    3e-5,
    1e-5,
    0.0,
)  # output errors that a bound on the metric's loss is tried with

Options = Mapping[str, Sequence[Option]]


@dataclass(frozen=True)
class Quantized:
    """What came of it.

    Attributes:
        graph: in integers.
        error: squared error of its outputs on the judge's texts, relative to their variance.
        rounding: of the weights: nearest, adaptive or gptq.
        corrected: biases were corrected.
        residuals: activations whose residual additions read integers.
        chosen: by site.
        options: by site, what was measured; empty where nothing was to choose.
    """

    graph: onnx.ModelProto
    error: float
    rounding: str
    corrected: bool
    residuals: tuple[str, ...]
    chosen: dict[str, Option]
    options: Options

    def report(self, target: Target) -> dict[str, Any]:
        """JSON-ready: what was chosen for each site and what the other options would cost."""
        return {
            "error": self.error,
            "rounding": self.rounding,
            "biases_corrected": self.corrected,
            "residuals": len(self.residuals),
            "cost_unit": target.cost_unit,
            "sites": [_row(name, option, self.options.get(name, ())) for name, option in self.chosen.items()],
        }


def quantize_post_training(
    graph: onnx.ModelProto,
    statistics: Mapping[str, Statistics],
    judge: Evaluator,
    target: Target,
    settings: Quantization,
    *,
    trial: Evaluator | None = None,
    pair: int | None = None,
    progress: Progress = silent,
) -> Quantized:
    """Quantize a float graph.

    Args:
        statistics: of every activation that a product reads, by `collect`, with `gram` where weights are not just
            rounded.
        judge: texts that calibration did not see; every choice is made on them.
        trial: labelled texts on which `settings.max_drop` must hold; needed with it.
        pair: the largest sum of two neighbouring integer weights; see `QuantizationPlan`.

    Raises:
        UsageError: a largest drop without labelled texts.
    """
    sites = find_activations(graph)
    plan = QuantizationPlan(pair=pair, per_channel=settings.per_channel)
    if settings.method != AUTO and settings.max_drop is None:
        options: Options = {}
        intervals = {
            site.name: range_of(statistics[site.source], settings.method, symmetric=target.symmetric) for site in sites
        }
        chosen = {name: Option(settings.method, 0.0, None, 0.0, interval) for name, interval in intervals.items()}
    else:
        methods = _METHODS if settings.method == AUTO else (settings.method,)
        options = measure(
            graph,
            statistics,
            judge,
            plan,
            target,
            methods=methods,
            smoothing=settings.method == AUTO,
            progress=progress,
        )
        chosen = _cheapest_errors(options)
        if settings.max_drop is not None:
            chosen = _within_drop(graph, sites, options, plan, target, trial, settings.max_drop)
    return _finish(graph, sites, chosen, options, plan, statistics, judge, target, settings)


def replay(
    graph: onnx.ModelProto,
    statistics: Mapping[str, Statistics],
    chosen: Mapping[str, Mapping[str, Any]],
    target: Target,
    *,
    pair: int | None = None,
) -> onnx.ModelProto:
    """Quantize as a calibration table says: the ranges of its statistics, by the options that were chosen."""
    sites = find_activations(graph)
    picks = []
    for site in sites:
        kind, alpha = chosen[site.name]["option"], chosen[site.name].get("alpha")
        entry = statistics[site.source]
        if kind == FLOAT:
            picks.append((site, Option(FLOAT, 0.0, None, 0.0)))
            continue
        scale = None
        if kind == SMOOTH:
            scale = smoothing_scales(
                entry.channel_max, [product.weight for product in site.products], float(alpha or 0.0)
            )
            entry = entry.scaled(scale)
        interval = range_of(entry, "minmax" if kind == SMOOTH else kind, symmetric=target.symmetric)
        picks.append((site, Option(kind, 0.0, None, 0.0, interval, alpha, scale)))
    changed, plan = apply(graph, picks, QuantizationPlan(pair=pair))
    return target.quantize(changed, plan)


def _cheapest_errors(options: Options) -> dict[str, Option]:
    """Integers everywhere, with the least error for at most 3 % more time."""
    integers = {name: [option for option in item if option.kind != FLOAT] for name, item in options.items()}
    least = {name: min(option.cost for option in item) for name, item in integers.items()}
    extra = [[(option.cost - least[name], option.error) for option in item] for name, item in integers.items()]
    picks = least_cost(extra, _EXTRA * sum(least.values()))
    return {name: item[pick] for (name, item), pick in zip(integers.items(), picks, strict=True)}


def _within_drop(
    graph: onnx.ModelProto,
    sites: Sequence[Activation],
    options: Options,
    plan: QuantizationPlan,
    target: Target,
    trial: Evaluator | None,
    max_drop: float,
) -> dict[str, Option]:
    """The least time such that the metric, really measured, falls by no more than `max_drop` points.

    The sum of the sites' errors only guides: larger budgets for it are tried first, and the first whose graph holds is
    taken. The smallest leaves everything in float.
    """
    wanted = None if trial is None else trial.score(trial.wanted)
    if trial is None or wanted is None:
        raise UsageError(
            "--max-drop needs labelled rows to measure the drop on.",
            hint="Give them with --eval, or labels with --calibration.",
        )
    for budget in _BUDGETS:
        pairs = [[(option.error, option.cost) for option in item] for item in options.values()]
        picks = least_cost(pairs, budget)
        chosen = {name: item[pick] for (name, item), pick in zip(options.items(), picks, strict=True)}
        changed, full = apply(graph, [(site, chosen[site.name]) for site in sites], plan)
        found = trial.score(trial.outputs(target.quantize(changed, full)))
        if found is not None and 100 * (wanted - found) <= max_drop:
            break
    return chosen


def _finish(
    graph: onnx.ModelProto,
    sites: Sequence[Activation],
    chosen: dict[str, Option],
    options: Options,
    plan: QuantizationPlan,
    statistics: Mapping[str, Statistics],
    judge: Evaluator,
    target: Target,
    settings: Quantization,
) -> Quantized:
    """Round the weights, adaptively if that brings the outputs closer (or as the settings say), and correct the biases
    where that does."""
    changed, plan = apply(graph, [(site, chosen[site.name]) for site in sites], plan)
    folds = find_folds(graph)
    after = {
        _name(site, chosen[site.name], folds): _after(statistics[site.source], chosen[site.name]) for site in sites
    }
    tried = []
    known = all(entry.gram.size for entry in after.values())  # what anything but the nearest integer needs
    for way in roundings(settings) if known or settings.rounding else ("nearest",):
        rounded = plan if way == "nearest" else replace(plan, weights=_round(changed, after, plan, way))
        made = target.quantize(changed, rounded)
        tried.append((judge.error(judge.outputs(made)), way, rounded, made))
    error, rounding, plan, made = min(tried, key=lambda item: item[0])
    if target.residuals:
        plan = _with_residuals(changed, plan, statistics, judge, target, error)
        made = target.quantize(changed, plan)
        error = judge.error(judge.outputs(made))
    corrected = target.quantize(correct_biases(changed, plan, after), plan)
    other = judge.error(judge.outputs(corrected))
    better = other < error
    return Quantized(
        corrected if better else made, min(error, other), rounding, better, tuple(plan.residuals), chosen, options
    )


def roundings(settings: Quantization) -> tuple[str, ...]:
    """The ways to round weights that are tried: the one that is asked for, else with `auto` both that may be best."""
    if settings.rounding is not None:
        return (settings.rounding,)
    return ("nearest", "adaptive") if settings.method == AUTO else ("nearest",)


def _with_residuals(
    graph: onnx.ModelProto,
    plan: QuantizationPlan,
    statistics: Mapping[str, Statistics],
    judge: Evaluator,
    target: Target,
    error: float,
) -> QuantizationPlan:
    """The plan with those residual additions in integers that, together, add no more than `_RESIDUALS` of the error to
    it."""
    added = {name for node in graph.graph.node for name in residual_inputs(graph, node)}
    intervals = {
        name: plan.ranges[name] if name in plan.ranges else range_of(entry, "minmax", symmetric=target.symmetric)
        for name, entry in statistics.items()
        if name in added
    }

    def error_of(names: Sequence[str]) -> float:
        return judge.error(
            judge.outputs(target.quantize(graph, replace(plan, residuals={name: intervals[name] for name in names})))
        )

    kept: list[str] = []
    for name in sorted(intervals, key=lambda name: error_of([name])):
        if error_of([*kept, name]) > (1 + _RESIDUALS) * error:
            break
        kept.append(name)
    return replace(plan, residuals={name: intervals[name] for name in kept})


def _name(site: Activation, option: Option, folds: Collection[str]) -> str:
    return site.source if option.scale is None else smoothed_name(site.source, folds)


def _after(entry: Statistics, option: Option) -> Statistics:
    return entry if option.scale is None else entry.scaled(option.scale)


def _round(
    graph: onnx.ModelProto, statistics: Mapping[str, Statistics], plan: QuantizationPlan, rounding: str
) -> dict[str, IntegerWeight]:
    made = {}
    matrices: dict[str, np.ndarray] = {}
    for product in find_matmuls(graph):
        if product.name in plan.keep:
            continue
        if product.source not in matrices:
            matrices[product.source] = hessian(statistics[product.source].gram, statistics[product.source].tokens)
        matrix = matrices[product.source]
        start = quantize_columns(product.weight, pair=plan.pair, per_channel=plan.per_channel)
        if rounding == "gptq":
            made[product.name] = gptq_columns(product.weight, matrix, start.scale, pair=plan.pair)
        else:
            made[product.name] = adapt(product.weight, matrix, start, pair=plan.pair)
    return made


def _row(name: str, option: Option, options: Sequence[Option]) -> dict[str, Any]:
    def figures(one: Option) -> dict[str, Any]:
        return {"error": one.error, "score": one.score, "cost": round(one.cost, 2)} if options else {}

    return (
        {"site": name, "option": option.kind, "alpha": option.alpha, "interval": option.interval}
        | figures(option)
        | ({"others": {other.kind: figures(other) for other in options if other is not option}} if options else {})
    )
