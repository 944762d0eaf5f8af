"""One option for each item, the least cost within a budget of error: a multiple-choice knapsack, exact on a fine grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_BUCKETS = 4000


def least_cost(options: Sequence[Sequence[tuple[float, float]]], budget: float) -> list[int]:
    """The index of the option to take for each item.

    Errors are rounded up to 1/4000 of the budget, so that their sum never exceeds it. The additive model of errors is that of
    HAWQ-V3 (Yao et al., 2021).

    Args:
        options: for each item its (error, cost) pairs, errors >= 0.
        budget: for the sum of the errors, >= 0.

    Raises:
        ValueError: even the smallest errors exceed the budget.
    """
    buckets = _BUCKETS if budget > 0 else 0
    unit = budget / _BUCKETS if budget > 0 else 1.0
    best = np.zeros(buckets + 1)
    taken: list[np.ndarray] = []
    for item in options:
        new = np.full(buckets + 1, np.inf)
        choice = np.full(buckets + 1, -1)
        for index, (error, cost) in enumerate(item):
            size = int(np.ceil(error / unit - 1e-9)) if error > 0 else 0
            if size > buckets or (budget <= 0 < error):
                continue
            candidate = np.full(buckets + 1, np.inf)
            candidate[size:] = best[: buckets + 1 - size] + cost
            better = candidate < new
            new[better], choice[better] = candidate[better], index
        best = new
        taken.append(choice)
        if not np.isfinite(best).any():
            raise ValueError("no choice of options keeps within the budget")
    place = int(np.argmin(best))
    picks = []
    for item, choice in zip(reversed(options), reversed(taken), strict=True):
        index = int(choice[place])
        picks.append(index)
        error = item[index][0]
        place -= int(np.ceil(error / unit - 1e-9)) if error > 0 else 0
    return picks[::-1]
