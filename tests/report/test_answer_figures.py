"""Figures of a report against implementations of others: intervals, calibration, changed texts."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from edgelm.report.answers import difference_interval
from edgelm.report.calibration import BINS, expected_calibration_error, reliability_bins
from edgelm.report.robustness import CHANGES, change


def test_the_interval_of_a_difference_is_that_of_rows_drawn_again():
    rng = np.random.default_rng(0)
    before, after = rng.random(400) < 0.9, rng.random(400) < 0.85
    drawn = rng.integers(400, size=(10_000, 400))
    means = 100 * (after[drawn].mean(axis=1) - before[drawn].mean(axis=1))
    # both are of random draws, in steps of a row: 0.25 points
    assert difference_interval(before.tolist(), after.tolist()) == pytest.approx(
        np.percentile(means, [2.5, 97.5]), abs=0.5
    )
    assert difference_interval([True] * 9, [True] * 9) == (0, 0)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_bins_of_confidence_are_those_of_scikit_learn(answers):
    scores, right = zip(*answers, strict=True)
    bins = reliability_bins(scores, right)
    assert sum(count for _, _, count in bins) == len(answers)
    # an edge such as 3/15 is another float to each, so scores there are left to chance
    if all(abs(score * BINS - round(score * BINS)) > 1e-9 for score in scores):
        true, sure = calibration_curve(right, scores, n_bins=BINS)
        assert [right for _, right, _ in bins] == pytest.approx(true)
        assert [sure for sure, _, _ in bins] == pytest.approx(sure)


def test_the_calibration_error_is_the_mean_distance_from_the_diagonal():
    assert expected_calibration_error(reliability_bins([0.9] * 10, [True] * 9 + [False])) == pytest.approx(0)
    assert expected_calibration_error(reliability_bins([0.95] * 10, [True] * 5 + [False] * 5)) == pytest.approx(0.45)
    assert expected_calibration_error([]) == 0


@given(st.text(max_size=80))
def test_a_typo_changes_the_order_of_letters_alone_and_always_in_the_same_way(text):
    found = change(text, "typos")
    assert found == change(text, "typos")
    assert sorted(found) == sorted(text)
    assert [len(word) for word in found.split(" ")] == [len(word) for word in text.split(" ")]


def test_changes_reach_every_text_of_a_pair():
    assert change(("A film", ("Good", "Bad")), "upper case") == ("A FILM", ("GOOD", "BAD"))
    assert CHANGES["typos"]("nothing", random.Random(0)) != "nothing"
