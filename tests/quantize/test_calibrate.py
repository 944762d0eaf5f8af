"""Calibration and rounding against independent computations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelm.quantize.grid import quantize_columns, rounded, signed_grid, unsigned_grid
from edgelm.quantize.histogram import Histogram
from edgelm.quantize.ranges import METHODS, entropy_threshold, least_squares_interval, percentile_threshold, range_of
from edgelm.quantize.statistics import Statistics


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
    assert range_of(Statistics(histogram), "minmax")[1] == 40
    assert range_of(Statistics(histogram), "percentile")[1] < 10


def test_least_squares_clips_where_brute_force_does():
    """Normal values with a few outliers at 12: the best of 100 x 100 intervals, tried one by one on the values
    themselves."""
    values = np.concatenate([np.random.default_rng(0).normal(size=4_000), np.full(3, 12.0)]).astype(np.float32)
    histogram = Histogram()
    histogram.add(values)

    def error(interval):
        return float(((rounded(values, interval) - values) ** 2).sum())

    found = least_squares_interval(histogram)
    shares = np.linspace(0.02, 1, 30)
    best = min(error((low * values.min(), high * values.max())) for low in shares for high in shares)
    assert error(found) <= 1.05 * best  # the search goes end by end, over bins of a 2048th
    assert error(found) < error((float(values.min()), float(values.max())))


def test_the_moving_average_is_that_of_the_texts_ends():
    rng = np.random.default_rng(0)
    texts = [rng.normal(scale=1 + index, size=(1, 5, 3)).astype(np.float32) for index in range(6)]
    statistics = Statistics()
    low, high = float(texts[0].min()), float(texts[0].max())
    for text in texts:
        statistics.add(text)
        low, high = 0.9 * low + 0.1 * float(text.min()), 0.9 * high + 0.1 * float(text.max())
    assert range_of(statistics, "moving-average") == pytest.approx((low, high))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.sampled_from(METHODS), st.booleans())
def test_every_range_holds_zero_and_stays_within_what_was_seen(seed, method, symmetric):
    rng = np.random.default_rng(seed)
    values = (rng.normal(size=(4, 7, 3)) * 10 ** rng.uniform(-3, 3) + rng.normal()).astype(np.float32)
    statistics = Statistics()
    for text in values:
        statistics.add(text[None])
    low, high = range_of(statistics, method, symmetric=symmetric)
    assert low <= 0 <= high
    assert max(-low, high) <= np.abs(values).max() * (1 + 1e-3)  # the edge of a bin
    assert not symmetric or low == -high


def test_the_kept_tokens_are_drawn_evenly():
    """5,000 tokens that carry their own number: the kept 512 have the mean of all within four standard errors."""
    statistics, draw = Statistics(), np.random.default_rng(0)
    for start in range(0, 5000, 50):
        statistics.keep_rows(np.arange(start, start + 50, dtype=np.float32).reshape(1, 50, 1), draw)
    assert statistics.rows.shape == (512, 1)
    assert len(np.unique(statistics.rows)) == 512
    assert abs(statistics.rows.mean() - 2499.5) < 4 * 5000 / np.sqrt(12 * 512)


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="not finite"):
        Histogram().add(np.array([1.0, np.nan], dtype=np.float32))


@settings(deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([63, 127]))
def test_weights_are_rounded_to_the_nearest_integer(seed, largest):
    weight = np.random.default_rng(seed).normal(scale=3, size=(17, 5)).astype(np.float32)
    made = quantize_columns(weight, largest=largest)
    assert np.abs(made.values.astype(int)).max() <= largest
    assert (np.abs(weight - made.floats()) <= made.scale / 2 * (1 + 1e-5)).all()
    whole = quantize_columns(weight, largest=largest, per_channel=False)
    assert len(set(whole.scale.tolist())) == 1
    assert whole.scale[0] == pytest.approx(made.scale.max())


@given(st.floats(-100, 0), st.floats(0.01, 100))
def test_the_unsigned_grid_holds_zero_exactly_and_covers_the_range(low, high):
    scale, zero = unsigned_grid(low, high)
    assert (0 - float(zero)) * scale <= low + scale
    assert (255 - float(zero)) * scale >= high - scale


@given(st.floats(-100, 0), st.floats(0.01, 100))
def test_the_signed_grid_is_symmetric_and_covers_the_range(low, high):
    scale, zero = signed_grid(low, high)
    assert zero == 0
    assert 127 * scale == pytest.approx(max(-low, high), rel=1e-6)
