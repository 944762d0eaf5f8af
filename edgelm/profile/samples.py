"""What is said of timed calls: every statistic is computed from the raw samples."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from edgelm.profile.interval import Ratio, median_interval


class Samples:
    """What cases of every kind have.

    Attributes:
        samples_ms: one value a call, in the order of the calls.
        block: calls of a round, in which the subjects took turns.
        inputs: how many different inputs took turns.
        ratio: to the last subject of the same profile; None for that one itself, or where there is no other.
    """

    samples_ms: tuple[float, ...]
    block: int
    inputs: int
    ratio: Ratio | None

    @property
    def label(self) -> str:
        """The case in words."""
        raise NotImplementedError

    def percentile_ms(self, share: float) -> float:
        """Percentile of the samples, linear between two of them."""
        return float(np.percentile(self.samples_ms, share, method="linear"))

    @cached_property
    def p50_interval_ms(self) -> tuple[float, float]:
        """95 % interval of the p50, by resampling rounds of calls."""
        return median_interval(self.samples_ms, self.block)

    @property
    def mean_ms(self) -> float:
        """Arithmetic mean."""
        return float(np.mean(self.samples_ms))

    def statistics(self) -> dict[str, Any]:
        """JSON-ready: rounds, mean, percentiles and the 95 % interval of the p50 (ms)."""
        percentiles = {f"p{share}_ms": self.percentile_ms(share) for share in (50, 90, 95, 99)}
        sure = {
            "p50_interval_ms": list(self.p50_interval_ms),
            "ratio": None if self.ratio is None else self.ratio.to_dict(),
        }
        return {"block": self.block, "inputs": self.inputs, "mean_ms": self.mean_ms} | percentiles | sure


def rounds_of(values: dict[str, Any]) -> dict[str, Any]:
    """From `statistics` what a case is made of; before schema 3 no rounds were noted, and no ratio."""
    given = values.get("ratio")
    known: dict[str, Any] = {name: values[name] for name in ("block", "inputs") if name in values}
    if given:
        known["ratio"] = Ratio(**{name: given[name] for name in ("against", "p50", "low", "high", "reason")})
    return known
