"""One option for each item, the least cost within an allowance: a multiple-choice knapsack, exact on a fine grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_BUCKETS = 4000


def least_cost(options: Sequence[Sequence[tuple[float, float]]], allowance: float) -> list[int]:
    """The index of the option to take for each item.

    What options use is rounded up to 1/4000 of the allowance, so that their sum never exceeds it. That both add up over
    items is the additive model of HAWQ-V3 (Yao et al., 2021) for quantization errors, and of SPDY (Frantar and
    Alistarh, 2022) for times.

    Args:
        options: for each item its (use, cost) pairs; uses >= 0.
        allowance: for the sum of the uses, >= 0.

    Raises:
        ValueError: even the smallest uses exceed the allowance.
    """
    if allowance < 0:
        raise ValueError("the allowance is negative")
    buckets = _BUCKETS if allowance > 0 else 0
    unit = allowance / _BUCKETS if allowance > 0 else 1.0

    def size_of(use: float) -> int:
        if use <= 0:
            return 0
        return int(np.ceil(use / unit - 1e-9)) if allowance > 0 else 1

    best = np.zeros(buckets + 1)
    taken: list[np.ndarray] = []
    for item in options:
        new = np.full(buckets + 1, np.inf)
        choice = np.full(buckets + 1, -1)
        for index, (use, cost) in enumerate(item):
            size = size_of(use)
            if size > buckets:
                continue
            candidate = np.full(buckets + 1, np.inf)
            candidate[size:] = best[: buckets + 1 - size] + cost
            better = candidate < new
            new[better], choice[better] = candidate[better], index
        best = new
        taken.append(choice)
        if not np.isfinite(best).any():
            raise ValueError("no choice of options keeps within the allowance")
    place = int(np.argmin(best))
    picks = []
    for item, choice in zip(reversed(options), reversed(taken), strict=True):
        index = int(choice[place])
        picks.append(index)
        place -= size_of(item[index][0])
    return picks[::-1]
