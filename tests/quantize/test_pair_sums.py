"""Integer weights leave room in 16-bit sums: of every rounding, and at little cost."""

import numpy as np
import pytest
from graphs import output_error
from hypothesis import given
from hypothesis import strategies as st

from edgelm.quantize.grid import pair_sums, quantize_columns
from edgelm.quantize.rounding import adapt, gptq_columns, hessian
from edgelm.runtime.saturation import EXACT_PAIR


def saturates(values):
    """Whether vpmaddubsw cuts any sum off: each pair of rows with each of the four extreme pairs of UINT8, in 16 bits
    and in more."""
    rows = np.concatenate([values, np.zeros((len(values) % 2, values.shape[1]), dtype=np.int8)]).astype(np.int64)
    sums = [first * rows[0::2] + second * rows[1::2] for first in (0, 255) for second in (0, 255)]
    return any((sum_ != np.clip(sum_, -(2**15), 2**15 - 1)).any() for sum_ in sums)


def rounded_each_way(weight, activations, pair, per_channel=True):
    matrix = hessian(activations.T @ activations, len(activations))
    start = quantize_columns(weight, pair=pair, per_channel=per_channel)
    return {
        "nearest": start,
        "gptq": gptq_columns(weight, matrix, start.scale, pair=pair),
        "adaptive": adapt(weight, matrix, start, pair=pair),
    }


@given(st.integers(0, 10_000), st.sampled_from([16, 17]), st.booleans())
def test_no_rounding_leaves_a_pair_that_could_overflow(seed, rows, per_channel):
    draw = np.random.default_rng(seed)
    weight = draw.standard_t(3, size=(rows, 6)).astype(np.float32)  # heavy tails: large neighbours
    activations = draw.normal(size=(64, rows)) @ draw.normal(size=(rows, rows))
    for way, made in rounded_each_way(weight, activations, EXACT_PAIR, per_channel).items():
        assert not saturates(made.values), way
        assert pair_sums(made.values.astype(int)).max() <= EXACT_PAIR


def test_one_more_would_overflow_and_full_weights_do():
    edge = np.array([[127], [1]], dtype=np.int8)
    assert not saturates(edge)
    assert saturates(edge + np.array([[0], [1]], dtype=np.int8))
    assert not saturates(np.array([[127], [-127]], dtype=np.int8))  # of unlike signs, they do not add up
    weight = np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)
    assert saturates(quantize_columns(weight).values)


def test_room_costs_less_than_a_bit():
    """Seven bits quadruple the squared error of eight; room in the sums of neighbours less than doubles it, for weights
    like a model's."""
    weight = np.random.default_rng(0).normal(size=(384, 384)).astype(np.float32)
    eight, seven, room = (
        float(np.square(made.floats() - weight).mean())
        for made in (
            quantize_columns(weight),
            quantize_columns(weight, largest=63),
            quantize_columns(weight, pair=EXACT_PAIR),
        )
    )
    assert seven == pytest.approx(4 * eight, rel=0.1)
    assert room < 2 * eight


@pytest.mark.parametrize("way", ["gptq", "adaptive"])
def test_rounding_that_looks_at_data_still_gains_within_the_room(way):
    draw = np.random.default_rng(0)
    activations = draw.normal(size=(512, 64)) @ draw.normal(size=(64, 64))
    weight = draw.normal(size=(64, 32)).astype(np.float32)
    matrix = hessian(activations.T @ activations, len(activations))
    made = rounded_each_way(weight, activations, EXACT_PAIR)
    errors = {name: output_error(weight, one.floats(), matrix).sum() for name, one in made.items()}
    assert errors[way] < 0.8 * errors["nearest"]
