"""How sure a median and a ratio are: like an independent bootstrap, right as often as they say, and aware of what the
machine did."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap

from edgelm.profile.interval import measure_ratio, median_interval


def gamma(seed, calls=300, scale=1.0):
    """Latencies: never below zero, with a tail to the slow side."""
    return np.random.default_rng(seed).gamma(4.0, scale, calls)


def bursts(seed, rounds):
    """A machine that is up to half slower or faster from round to round, ten calls each."""
    return np.repeat(np.exp(np.random.default_rng(seed).normal(0, 0.2, rounds)), 10)


@pytest.mark.parametrize("calls", [200, 300, 1000])
def test_where_calls_are_independent_the_interval_is_scipys(calls):
    """Within a third of its width: rounds are fewer than calls, and so tell less surely how far a median swings."""
    samples = gamma(0, calls)
    low, high = median_interval(samples, 10)
    theirs = bootstrap((samples,), np.median, n_resamples=4000, method="percentile", random_state=0).confidence_interval
    width = theirs.high - theirs.low
    assert abs(low - theirs.low) < width / 3
    assert abs(high - theirs.high) < width / 3


def test_nineteen_in_twenty_intervals_hold_the_true_median():
    """Of 200: 180 and more, three standard errors below 190; for independent calls, and where whole rounds are slow or
    fast."""
    true = np.median(gamma(9, 1_000_000))
    for machine in (lambda seed: 1.0, lambda seed: bursts(seed + 1000, 30)):
        intervals = [median_interval(gamma(seed) * machine(seed), 10) for seed in range(200)]
        assert sum(low <= true <= high for low, high in intervals) >= 180


def test_what_befalls_both_in_a_round_does_not_blur_their_ratio():
    machine = bursts(0, 30)
    ours, theirs = gamma(1) * machine, 2 * gamma(2) * machine
    paired, apart = (measure_ratio(ours, theirs, 10, against="b", paired=paired) for paired in (True, False))
    assert paired.p50 == apart.p50 == pytest.approx(np.median(theirs) / np.median(ours))
    assert paired.low < 2 < paired.high
    assert paired.high - paired.low < apart.high - apart.low
    assert paired.established


def test_a_subject_is_not_faster_than_itself():
    same = measure_ratio(gamma(0), gamma(1), 10, against="twin")
    assert same.low < 1 < same.high
    assert same.reason == "the interval includes 1"


def test_a_wide_interval_establishes_nothing():
    """Some rounds were three times as slow for one of the two alone."""
    slow = np.repeat(np.random.default_rng(0).choice([1.0, 5.0], 30), 10)
    wide = measure_ratio(gamma(0), 3 * gamma(1) * slow, 10, against="b")
    assert wide.low > 1
    assert "±25%" in wide.reason


def test_few_calls_are_said_to_be_few():
    few = measure_ratio(gamma(0, 40), 10 * gamma(1, 40), 10, against="b")
    assert "40 calls" in few.reason
    assert "--runs" in few.reason
    assert few.low < few.p50 < few.high


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.001, 1000), min_size=1, max_size=120), st.integers(1, 12))
def test_the_interval_is_around_the_median_within_the_samples_and_the_same_every_time(samples, block):
    low, high = median_interval(samples, block)
    assert min(samples) <= low <= high <= max(samples)
    assert low <= np.median(samples) <= high
    assert median_interval(samples, block) == (low, high)


def test_a_thousand_calls_take_no_time():
    """Under half a second of a slow CPU; the best of three, since the first call loads parts of numpy."""
    samples, spent = gamma(0, 1000), []
    for _ in range(3):
        start = time.process_time()
        median_interval(samples, 10)
        spent.append(time.process_time() - start)
    assert min(spent) < 0.5
