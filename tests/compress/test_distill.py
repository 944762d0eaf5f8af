"""Distillation losses against direct formulas, and students made of a teacher's layers."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from models import make_checkpoint

from edgelm.anatomy import blocks, load_checkpoint
from edgelm.compress.distill import hidden_loss, layer_pairs, soft_loss, spread_layers, student_from_layers
from edgelm.errors import RecipeError
from edgelm.task import Task

CLASSES = Task(kind="text-classification", labels=("a", "b", "c"))


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


def test_soft_loss_is_the_softened_kl_divergence():
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(2, 5, 3))

    def softmax(x):
        e = np.exp(x - x.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    p, q = softmax(teacher / 2.0), softmax(student / 2.0)
    expected = 4.0 * (p * np.log(p / q)).sum() / 5
    found = soft_loss(torch.tensor(student), torch.tensor(teacher), CLASSES, temperature=2.0)
    assert found.item() == pytest.approx(expected, rel=1e-9)  # both in float64


@pytest.mark.parametrize(
    "task",
    [
        CLASSES,
        Task(kind="text-classification", problem="multi-label", labels=("a", "b", "c")),
        Task(kind="text-classification", problem="regression", labels=("score",)),
        Task(kind="sentence-embedding"),
    ],
    ids=lambda task: f"{task.kind}-{task.problem}",
)
def test_a_student_that_agrees_with_its_teacher_has_no_soft_loss(task):
    outputs = torch.randn(4, 3)
    other = outputs + torch.randn(4, 3)
    assert soft_loss(outputs, outputs, task, temperature=2.0).item() == pytest.approx(0, abs=1e-6)  # float32 rounding
    assert soft_loss(other, outputs, task, temperature=2.0).item() > 1e-3


def test_padding_has_no_part_in_the_hidden_loss():
    student, teacher = torch.randn(2, 2, 5, 8), torch.randn(2, 2, 5, 8)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    changed = teacher.clone()
    changed[:, 0, 3:] += 100
    pairs = [(0, 0), (1, 1)]
    assert hidden_loss(list(student), list(teacher), pairs, mask) == hidden_loss(list(student), list(changed), pairs, mask)


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "electra"])
def test_a_student_of_some_layers_has_just_these(tmp_path, family):
    teacher = load_checkpoint(make_checkpoint(tmp_path / "teacher", family, layers=3))
    student = student_from_layers(teacher, [0, 2])
    assert len(blocks(student)) == 2
    assert len(blocks(teacher)) == 3
    assert torch.equal(blocks(student)[1].module("ffn_in").weight, blocks(teacher)[2].module("ffn_in").weight)
