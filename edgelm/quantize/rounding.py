"""Rounding that looks at the data: which integers give the least error of a product's outputs, not of its weights.

The error of a column w is (w - q)ᵀ H (w - q), with H the mean of x xᵀ over calibration tokens. Rounding to the nearest
ignores H; GPTQ rounds one input channel after another and moves each error into the channels that follow; adaptive
rounding searches the integers next to the given ones for the least error.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgelm.quantize.grid import IntegerWeight, limits

_DAMPING = 0.01
_BLOCK = 128

RoundRow = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]


def hessian(gram: np.ndarray, tokens: int) -> np.ndarray:
    """(in, in) float64: the mean of x xᵀ, damped by 1 % of its mean diagonal; a channel that was never alive gets 1."""
    result = gram.astype(np.float64) / max(tokens, 1)
    diagonal = np.diagonal(result).copy()
    dead = diagonal <= 0
    result[dead, dead] = 1.0
    result[np.diag_indices_from(result)] += _DAMPING * float(diagonal[~dead].mean() if (~dead).any() else 1.0)
    return result


def gptq(weight: np.ndarray, matrix: np.ndarray, round_row: RoundRow) -> np.ndarray:
    """Round channel by channel, each error compensated in the channels that are still to come.

    Source: Frantar et al., "GPTQ" (2022), algorithm 1, in the order of the channels.

    Args:
        weight: (in, out).
        matrix: H, (in, in), positive definite.
        round_row: takes the weights as they stand, (in, out), and a channel; gives its integers and what they stand
            for, (out,) each.

    Returns:
        (in, out) integers, as int32.
    """
    factor = np.linalg.cholesky(
        np.linalg.inv(matrix)
    ).T  # upper: row i holds how channel i's error spreads to later ones
    work = weight.astype(np.float64).copy()
    chosen = np.zeros(weight.shape, dtype=np.int32)
    for start in range(0, len(work), _BLOCK):
        end = min(start + _BLOCK, len(work))
        errors = np.zeros((end - start, work.shape[1]))
        for row in range(start, end):
            chosen[row], value = round_row(work, row)
            error = (work[row] - value) / factor[row, row]
            work[row + 1 : end] -= np.outer(factor[row, row + 1 : end], error)
            errors[row - start] = error
        work[end:] -= factor[start:end, end:].T @ errors
    return chosen


def gptq_columns(
    weight: np.ndarray, matrix: np.ndarray, scale: np.ndarray, *, largest: int = 127, pair: int | None = None
) -> IntegerWeight:
    """GPTQ on symmetric integers with one scale a column; the second of a pair of rows stays within what `limits` says
    of the first."""
    first = np.zeros(weight.shape[1])

    def round_row(work: np.ndarray, row: int) -> tuple[np.ndarray, np.ndarray]:
        beside = first if row % 2 else np.zeros_like(first)
        values = np.clip(np.rint(work[row] / scale), *limits(beside, largest=largest, pair=pair))
        if row % 2 == 0:
            first[:] = values
        return values.astype(np.int32), values * scale

    return IntegerWeight(gptq(weight, matrix, round_row).astype(np.int8), scale)


def adapt(
    weight: np.ndarray,
    matrix: np.ndarray,
    start: IntegerWeight,
    *,
    largest: int = 127,
    pair: int | None = None,
    sweeps: int = 4,
) -> IntegerWeight:
    """Adaptive rounding: coordinate descent over the integers, one step up or down wherever that lowers the outputs'
    error.

    The objective is that of AdaRound (Nagel et al., 2020, equation 5), which relaxes it and learns by gradients; the
    search needs neither. It never raises the error of a column, and ends early when a sweep changes nothing. Pairs of
    rows stay within `limits`.
    """
    scale = start.scale.astype(np.float64)
    values = start.values.astype(np.float64)
    slope = (
        matrix @ (values * scale - weight)
    ).T.copy()  # (out, in): half the gradient of the error by the rounded weights
    diagonal = np.diagonal(matrix)
    for _ in range(sweeps):
        changed = 0
        for row in range(len(values)):
            best = np.rint(-slope[:, row] / (diagonal[row] * scale))
            beside = values[row ^ 1] if row ^ 1 < len(values) else np.zeros_like(values[row])
            step = (
                np.clip(values[row] + np.clip(best, -1, 1), *limits(beside, largest=largest, pair=pair)) - values[row]
            )
            moved = np.flatnonzero(step)
            if len(moved):
                values[row, moved] += step[moved]
                slope[moved] += np.outer(step[moved] * scale[moved], matrix[row])
                changed += len(moved)
        if not changed:
            break
    return IntegerWeight(values.astype(np.int8), start.scale)
