"""Which layers teach which: evenly spread, at equal depth, or the closest of each batch."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelm.compress.distillation.layer_matching import dynamic_pairs, layer_pairs, matched_layers, spread_layers
from edgelm.errors import RecipeError


@given(st.integers(1, 24), st.data())
def test_students_layers_are_spread_over_the_teacher_and_end_with_its_last(total, data):
    kept = data.draw(st.integers(1, total))
    layers = spread_layers(total, kept)
    assert len(set(layers)) == kept
    assert layers == sorted(layers)
    assert layers[-1] == total - 1
    assert layers[0] >= 0


def test_asking_for_more_layers_than_there_are_is_refused():
    with pytest.raises(RecipeError, match=r"7.*6"):
        spread_layers(6, 7)


def test_layer_pairs_follow_tinybert():
    assert layer_pairs(6, 3) == [(0, 0), (2, 1), (4, 2), (6, 3)]


def test_dynamic_matching_takes_the_closest_layer_below_the_last_match():
    """Teacher layers 1, 3, 5 of six; a student of four whose layers 0, 1 and 3 are copies of these."""
    teacher = list(torch.randn(7, 2, 5, 8))
    student = [teacher[0], teacher[2], teacher[4], torch.randn(2, 5, 8), teacher[6]]
    mask = torch.ones(2, 5)
    assert dynamic_pairs(student, teacher, [1, 3, 5], mask) == [(2, 1), (4, 2), (6, 4)]


def test_dynamic_matching_does_not_look_at_padding():
    teacher = list(torch.randn(3, 2, 5, 8))
    student = [teacher[0], teacher[1].clone(), teacher[2].clone()]
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    student[1][0, 3:] += 100
    student[2][0, 3:] -= 100
    assert dynamic_pairs(student, teacher, [0, 1], mask) == [(1, 1), (2, 2)]


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 100))
def test_dynamic_matches_never_cross_and_every_teacher_layer_finds_one(teacher_layers, student_layers, seed):
    generator = torch.Generator().manual_seed(seed)
    teacher = list(torch.randn(teacher_layers + 1, 1, 3, 4, generator=generator))
    student = list(torch.randn(student_layers + 1, 1, 3, 4, generator=generator))
    layers = matched_layers(teacher_layers, student_layers)
    pairs = dynamic_pairs(student, teacher, layers, torch.ones(1, 3))
    assert [pair[0] - 1 for pair in pairs] == layers
    found = [pair[1] for pair in pairs]
    assert found == sorted(found)
    assert all(1 <= layer <= student_layers for layer in found)
    again = [layer for layer, next_layer in itertools.pairwise(found) if layer == next_layer]
    assert all(layer == found[0] for layer in again)  # a layer serves twice only where none was left below
