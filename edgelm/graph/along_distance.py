"""Square matrices of two tokens' places that know nothing but the distance between them."""

from __future__ import annotations

import numpy as np


def along_distance(matrix: np.ndarray) -> np.ndarray | None:
    """The values of a square matrix by distance, last axis - the one before, from its lower left corner to its upper
    right one; None: a diagonal has more than one value."""
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        return None
    along: np.ndarray = np.concatenate([matrix[:0:-1, 0], matrix[0]])
    places = np.arange(len(matrix))
    same = np.array_equal(along[places[None, :] - places[:, None] + len(matrix) - 1], matrix)
    return along if same else None
