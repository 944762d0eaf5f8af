"""Calibration and rounding against independent computations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelm.errors import CalibrationError
from edgelm.export.calibrate import Histogram, entropy_threshold, percentile_threshold, range_of
from edgelm.export.quantize import quantize_columns, unsigned_grid


@given(st.lists(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=30), min_size=1, max_size=8))
def test_a_histogram_counts_every_value_and_keeps_exact_ends(batches):
    histogram = Histogram()
    for batch in batches:
        histogram.add(np.array(batch, dtype=np.float32))
    values = np.concatenate([np.array(batch, dtype=np.float32) for batch in batches])
    assert histogram.counts.sum() == len(values)
    assert histogram.low == values.min()
    assert histogram.high == values.max()
    assert histogram.limit >= np.abs(values).max() * 0.999999
    assert histogram.counts.size == 4096


def test_the_percentile_is_that_of_numpy_within_a_bin():
    values = np.random.default_rng(0).normal(size=200_000).astype(np.float32)
    histogram = Histogram()
    for part in np.array_split(values, 20):
        histogram.add(part)
    found = percentile_threshold(histogram.magnitudes(), histogram.limit, 99.9)
    assert found == pytest.approx(np.percentile(np.abs(values), 99.9), abs=2 * histogram.limit / 2048)


def naive_entropy_threshold(counts, limit):
    """The published procedure, written out bin by bin."""
    best = (np.inf, 0)
    for bins in range(128, len(counts) + 1, 8):
        real = [float(count) for count in counts[:bins]]
        real[-1] += sum(counts[bins:])
        groups = [[] for _ in range(128)]
        for index in range(bins):
            groups[index * 128 // bins].append(index)
        approximate = [0.0] * bins
        for group in groups:
            full = [index for index in group if counts[index] > 0]
            for index in full:
                approximate[index] = sum(counts[i] for i in group) / len(full)
        p, q = np.array(real) + 1e-4, np.array(approximate) + 1e-4
        p, q = p / p.sum(), q / q.sum()
        best = min(best, (float(np.sum(p * np.log(p / q))), bins))
    return best[1] * limit / len(counts)


def test_entropy_clips_outliers_that_minmax_keeps():
    """Normal values with five outliers at 40: the best threshold lies where the bulk ends."""
    values = np.concatenate([np.random.default_rng(0).normal(size=100_000), np.full(5, 40.0)]).astype(np.float32)
    histogram = Histogram()
    histogram.add(values)
    threshold = entropy_threshold(histogram.magnitudes(), histogram.limit)
    assert threshold == pytest.approx(naive_entropy_threshold(histogram.magnitudes(), histogram.limit))
    assert 3 < threshold < 7
    assert range_of(histogram, "minmax")[1] == 40
    assert range_of(histogram, "percentile")[1] < 10


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(CalibrationError, match="not finite"):
        Histogram().add(np.array([1.0, np.nan], dtype=np.float32))


@settings(deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([63, 127]))
def test_weights_are_rounded_to_the_nearest_integer(seed, largest):
    weight = np.random.default_rng(seed).normal(scale=3, size=(17, 5)).astype(np.float32)
    values, scale = quantize_columns(weight, largest=largest)
    assert np.abs(values.astype(int)).max() <= largest
    assert (np.abs(weight - values * scale) <= scale / 2 * (1 + 1e-5)).all()


@given(st.floats(-100, 0), st.floats(0.01, 100))
def test_the_unsigned_grid_holds_zero_exactly_and_covers_the_range(low, high):
    scale, zero = unsigned_grid(low, high)
    assert (0 - float(zero)) * scale <= low + scale
    assert (255 - float(zero)) * scale >= high - scale
