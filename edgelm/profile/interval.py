"""How sure the median of measured calls is, and the ratio of two medians: bootstrap intervals over rounds of calls.

Calls that follow each other are alike, since a machine is slow or fast for a while; so whole rounds are drawn again,
some neighbours at a time, and of subjects that took turns the same rounds of both, in which the machine was the same.
Source: Politis and Romano 1992, circular block bootstrap; percentile intervals, Efron 1981.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

FEWEST_ROUNDS = 5  # with fewer, rounds say nothing of how the machine changes: single calls are drawn
_RESAMPLES = 2000
_AT_ONCE = 1 << 21  # values
_MOST_UNITS = 1000
_WIDE = 0.25  # of the ratio


@dataclass(frozen=True)
class Ratio:
    """How many times as fast as another subject this one is, by the p50 of both.

    Attributes:
        against: name of the other.
        p50: its p50 over this one's.
        low, high: 95 % interval.
        reason: why the ratio is not established: its interval includes 1 or is wide, or there were too few calls; empty
            if it is.
    """

    against: str
    p50: float
    low: float
    high: float
    reason: str = ""

    @property
    def established(self) -> bool:
        """Whether another measurement of this kind may be expected to say much the same."""
        return not self.reason

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        interval = {"low": self.low, "high": self.high, "established": self.established, "reason": self.reason}
        return {"against": self.against, "p50": self.p50} | interval


def median_interval(samples: Sequence[float], block: int) -> tuple[float, float]:
    """95 % interval of the median of samples in the order in which they were taken, `block` of them a round."""
    drawn = _draw(len(samples), block, seed=0)
    return _interval(drawn.medians(np.asarray(samples)), drawn.parts)


def measure_ratio(
    samples: Sequence[float], others: Sequence[float], block: int, *, against: str, paired: bool = True
) -> Ratio:
    """The median of `others` over that of `samples`, with its interval.

    Args:
        paired: they took turns, and calls of the same place were made at the same time; else their rounds are drawn
            apart.
    """
    mine, theirs = np.asarray(samples), np.asarray(others)
    ours = _draw(len(mine), block, seed=0)
    other = ours if paired and len(mine) == len(theirs) else _draw(len(theirs), block, seed=1)
    low, high = _interval(other.medians(theirs) / ours.medians(mine), min(ours.parts, other.parts))
    value = float(np.median(theirs) / np.median(mine))
    return Ratio(against, value, low, high, _doubt(value, low, high, min(len(mine), len(theirs)), block))


def _doubt(value: float, low: float, high: float, calls: int, block: int) -> str:
    if calls // block < FEWEST_ROUNDS:
        return f"{calls} calls are too few to tell; give more --runs"
    if low <= 1 <= high:
        return "the interval includes 1"
    return f"the interval is wider than ±{_WIDE:.0%}" if max(value - low, high - value) > _WIDE * value else ""


@dataclass(frozen=True)
class _Draw:
    """Resamples of calls.

    Attributes:
        counts: how often each unit, a round or a call, is in each resample, (resamples, units).
        unit: calls of a unit.
        parts: runs of neighbouring units that a resample is made of.
    """

    counts: np.ndarray
    unit: int
    parts: int

    def medians(self, samples: np.ndarray) -> np.ndarray:
        """The median of each resample, (resamples,)."""
        order = np.argsort(samples)
        ordered, unit_of = samples[order], order // self.unit
        step = max(1, _AT_ONCE // len(samples))
        return np.concatenate(
            [_middle(ordered, self.counts[start : start + step, unit_of]) for start in range(0, _RESAMPLES, step)]
        )


def _middle(ordered: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Medians of sorted samples that are there so often each."""
    upto = np.cumsum(counts, axis=1, dtype=np.int32)
    total = upto[:, -1:]
    return (ordered[(upto <= (total - 1) // 2).sum(axis=1)] + ordered[(upto <= total // 2).sum(axis=1)]) / 2


def _draw(calls: int, block: int, *, seed: int) -> _Draw:
    rounds = calls // block
    unit = block * -(-rounds // _MOST_UNITS) if rounds >= FEWEST_ROUNDS else 1
    units = -(-calls // unit)
    joined = int(units ** (1 / 3)) if rounds >= FEWEST_ROUNDS else 1
    parts = -(-units // joined)
    starts = np.random.default_rng(seed).integers(units, size=(_RESAMPLES, parts))
    places = ((starts[:, :, None] + np.arange(joined)) % units).reshape(_RESAMPLES, -1) + np.arange(_RESAMPLES)[
        :, None
    ] * units
    counts = np.bincount(places.ravel(), minlength=_RESAMPLES * units).reshape(_RESAMPLES, units)
    return _Draw(counts.astype(np.int32), unit, parts)


def _interval(values: np.ndarray, parts: int) -> tuple[float, float]:
    """Percentiles of what resamples gave, further out the fewer parts they are made of.

    Source: Hesterberg 2015 (arXiv:1411.5279), expanded percentile interval.
    """
    z, freedom = 1.959964, max(1, parts - 1)
    t = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)  # of Student, near enough
    tail = 50 * (1 + math.erf(-t * math.sqrt(parts / freedom) / math.sqrt(2)))
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)
