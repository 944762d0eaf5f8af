"""Ranks encoders, as they are and as edgelm can cut them, by what a device's budget lets them keep."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgelm.advising.costs import Calibration, Costs, Latency, kept_tables
from edgelm.advising.lengths import TextLengths, text_lengths
from edgelm.advising.measured import Measured, MeasuredModel, profile_beside, profile_files, read_measured
from edgelm.advising.models import KnownModel, known_model, layer_weights, published_models
from edgelm.budget import Budget
from edgelm.data.dataset import Dataset
from edgelm.device import Device
from edgelm.errors import UsageError
from edgelm.latency_table import LatencyTable
from edgelm.lengths import DEFAULT_LENGTH
from edgelm.model_folder.weight_files import is_bundle
from edgelm.progress import Progress, silent

ADVICE_SCHEMA = 1
_PRECISIONS = ("fp32", "fp16", "int8")  # from exact to small; those of them that the device runs
_LEAST = 1 / 3  # of its layers that a cut model keeps: with fewer, a smaller model is the better beginning
_SURE, _LIKELY, _NO = "fits", "may fit", "does not fit"


@dataclass(frozen=True)
class Candidate:
    """A model in a precision, with all of its layers or fewer.

    Attributes:
        model, family, languages: as in `KnownModel`.
        precision: of the bundle.
        layers, of_layers: that it keeps, and that the uncut model has.
        weights_m: in its layers, 10^6: what it can learn with, embeddings left out.
        latency_ms, low_ms, high_ms, latency_source: at batch 1 and the median length; `measured`, `estimated` or, where
            profiles of the device say by how much estimates are off, `estimated, calibrated`.
        size_mb: of the bundle, counted, 10^6 bytes.
        verdict: `fits`; `may fit`, where the high end of its band does not; or `does not fit`.
        excess: how many times the bound that it is furthest beyond; at most 1 where it fits.
    """

    model: str
    family: str
    languages: str
    precision: str
    layers: int
    of_layers: int
    weights_m: float
    latency_ms: float
    low_ms: float
    high_ms: float
    latency_source: str
    size_mb: float
    verdict: str
    excess: float


@dataclass(frozen=True)
class Advice:
    """What fits, the one with the most weights in its layers first; then what does not, the nearest first.

    Attributes:
        calibrations: what profiles say of the estimates.
        passed: by name, why a profile was not taken.
    """

    device: str
    title: str
    budget: Budget
    lengths: TextLengths
    candidates: tuple[Candidate, ...]
    calibrations: tuple[Calibration, ...] = ()
    passed: Mapping[str, str] = field(default_factory=dict)

    @property
    def fitting(self) -> tuple[Candidate, ...]:
        """Those that keep to the budget."""
        return tuple(entry for entry in self.candidates if entry.verdict != _NO)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: what `edgelm advise --json` prints."""
        return {"schema": ADVICE_SCHEMA} | asdict(self) | {"budget": self.budget.to_dict()}


def advise(
    rows: Dataset,
    device: Device,
    budget: Budget,
    *,
    models: Sequence[str | Path] = (),
    tables: Sequence[LatencyTable] = (),
    profiles: Sequence[Path] = (),
    max_length: int = DEFAULT_LENGTH,
    progress: Progress = silent,
) -> Advice:
    """Say which encoders keep to a budget on a device: published ones, and the user's.

    Nothing is known of how well they answer: of those that fit, the one that keeps the most weights in its layers
    stands first. Of a model that does not fit in INT8, as many layers are kept as do, a third of them or more.

    Args:
        rows: the user's texts; times are meant at their median length.
        budget: of latency, size, or both.
        models: folders or hub ids, beside the published ones; bundles with their profile beside them.
        tables: that `edgelm latency-table` made on the device; on this machine those that were kept are found.
        profiles: files that `edgelm profile --output` wrote on the device, or folders with a profile.json: what they
            measured is ranked as measured, and estimates in the precision of a bundle are multiplied by what it took
            over what is estimated of it.
        max_length: tokens at which texts are cut.

    Raises:
        InputError: a profile that is not there, or holds nothing that can be ranked.
        UsageError: profiles of another device; a budget without latency or size, or with another bound; a device whose
            file lacks figures, where no table or profile measures any of the models. What they do not measure there is
            left out.
        DataError: there are no texts.
        ModelError: a model that is not there or writes texts.
        MissingExtraError: the package onnx is not installed.
    """
    bounds = budget.to_dict()
    others = [name for name in bounds if name not in ("max_latency_ms", "max_size_mb")]
    if not bounds or others:
        raise UsageError(
            "advice is by latency and size" + (f", not by {others[0]}." if others else ", and neither is bounded."),
            hint="Give --max-latency 10ms, --max-size 50MB, or both.",
        )
    bundles = [Path(model) for model in models if is_bundle(Path(model))]
    files = [*profile_files(profiles), *map(profile_beside, bundles)]
    known = (*(known_model(model) for model in models if Path(model) not in bundles), *published_models())
    lengths = text_lengths(rows, known, max_length=max_length)
    measured = read_measured(files, device, sequence=lengths.median) if files else Measured()
    costs = Costs(device, [*tables, *kept_tables(device, lengths.median)], lengths.median, measured.calibrations)
    found = [_measured(model, budget) for model in measured.models]
    for number, model in enumerate(known):
        found += _candidates(model, device, budget, costs)
        progress("reckon models", number + 1, len(known))
    if costs.lacking is not None and not found:
        raise costs.lacking
    ranked = sorted(found, key=lambda entry: (-entry.weights_m, entry.of_layers - entry.layers, entry.latency_ms))
    fitting = [entry for entry in ranked if entry.verdict != _NO]
    rest = sorted((entry for entry in ranked if entry.verdict == _NO), key=lambda entry: entry.excess)
    calibrations = tuple(measured.calibrations.values())
    return Advice(device.name, device.title, budget, lengths, (*fitting, *rest), calibrations, measured.passed)


def _candidates(model: KnownModel, device: Device, budget: Budget, costs: Costs) -> list[Candidate]:
    """Whole in each precision and, where the last of these does not fit, with as many layers as do."""
    layers = model.sizes.layers
    runs = [name for name in _PRECISIONS if name in device.precisions and costs.knows(model.sizes, name)]
    if not runs:
        return []
    whole = [_candidate(model, precision, layers, budget, costs) for precision in runs]
    if whole[-1].verdict != _NO:
        return whole
    for fewer in range(layers - 1, math.ceil(_LEAST * layers) - 1, -1):
        cut = _candidate(model, runs[-1], fewer, budget, costs)
        if cut.verdict != _NO:
            return [*whole, cut]
    return whole


def _candidate(model: KnownModel, precision: str, layers: int, budget: Budget, costs: Costs) -> Candidate:
    latency = costs.latency(model.sizes, precision, layers)
    size_mb = costs.size_mb(model.sizes, precision, layers, model.tokenizer_mb)
    what = (model.name, model.family, model.languages, precision, layers, model.sizes.layers)
    return _judged(what, layers * layer_weights(model.sizes) / 1e6, latency, size_mb, budget)


def _measured(model: MeasuredModel, budget: Budget) -> Candidate:
    what = (model.name, model.family, "", model.precision, model.layers, model.of_layers)
    return _judged(what, model.weights_m, model.latency, model.size_mb, budget)


def _judged(
    what: tuple[str, str, str, str, int, int], weights_m: float, latency: Latency, size_mb: float, budget: Budget
) -> Candidate:
    excess = _excess(budget, latency.ms, size_mb)
    verdict = _NO if excess > 1 else _SURE if _excess(budget, latency.high, size_mb) <= 1 else _LIKELY
    figures = (latency.ms, latency.low, latency.high, latency.source, size_mb)
    return Candidate(*what, weights_m, *figures, verdict, excess)


def _excess(budget: Budget, latency_ms: float, size_mb: float) -> float:
    """The largest of the bounded figures, in their bounds."""
    pairs = ((latency_ms, budget.max_latency_ms), (size_mb, budget.max_size_mb))
    return max(figure / bound for figure, bound in pairs if bound is not None)
