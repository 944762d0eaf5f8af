"""Attention relations against a direct computation in float64, with and without padding."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from models import ANATOMIES, TEXTS, make_checkpoint, make_tokenizer

from edgelm.anatomy import TaskModel, load_checkpoint, model_layers, model_outputs
from edgelm.compress.batches import Share
from edgelm.compress.distillation.attention_relations import (
    PARTS,
    captured,
    related_layers,
    relation_heads,
    relation_loss,
)
from edgelm.compress.distillation.distill import distillation_loss
from edgelm.errors import RecipeError
from edgelm.tasks.text import TextClassification
from edgelm.training_settings import DistillLoss


def direct_loss(student, teacher, lengths, heads):
    """MiniLMv2's loss, text by text, head by head and row by row, on unpadded numpy arrays."""
    total = 0.0
    for part in PARTS:
        rows = []
        for index, length in enumerate(lengths):
            for head in range(heads):
                shares = []
                for vectors in (teacher[part], student[part]):
                    size = vectors.shape[2] // heads
                    x = vectors[index, :length, head * size : (head + 1) * size]
                    scores = x @ x.T / np.sqrt(size)
                    e = np.exp(scores - scores.max(axis=1, keepdims=True))
                    shares.append(e / e.sum(axis=1, keepdims=True))
                p, q = shares
                rows.extend((p * np.log(p / q)).sum(axis=1))
        total += np.mean(rows)
    return total


@pytest.mark.parametrize("lengths", [(7, 7, 7), (7, 3, 1)], ids=["full", "padded"])
@pytest.mark.parametrize(("teacher_width", "student_width", "heads"), [(24, 24, 12), (24, 12, 6), (8, 24, 4)])
def test_the_loss_is_that_of_the_paper(lengths, teacher_width, student_width, heads):
    rng = np.random.default_rng(0)
    teacher = {part: rng.normal(size=(3, 7, teacher_width)) for part in PARTS}
    student = {part: rng.normal(size=(3, 7, student_width)) for part in PARTS}
    mask = torch.tensor([[int(token < length) for token in range(7)] for length in lengths])
    parts = [{part: torch.from_numpy(values) for part, values in side.items()} for side in (student, teacher)]
    found = relation_loss(*parts, mask, heads=heads)
    assert found.item() == pytest.approx(direct_loss(student, teacher, lengths, heads), rel=1e-9)  # both in float64


def test_padding_gets_no_gradient_and_makes_no_nan():
    student = {part: torch.randn(2, 5, 12, requires_grad=True) for part in PARTS}
    teacher = {part: torch.randn(2, 5, 24) * 30 for part in PARTS}  # some shares are zero in float32
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    relation_loss(student, teacher, mask, heads=12).backward()
    for vectors in student.values():
        assert torch.isfinite(vectors.grad).all()
        assert (vectors.grad[0, 3:] == 0).all()
        assert (vectors.grad[1] != 0).any()


@given(st.integers(1, 64), st.integers(1, 64), st.integers(1, 48))
def test_relation_heads_divide_both_widths_and_no_larger_number_does(teacher, student, wanted):
    heads = relation_heads(teacher, student, wanted)
    assert heads <= wanted
    assert teacher % heads == student % heads == 0
    assert not any(teacher % more == student % more == 0 for more in range(heads + 1, wanted + 1))


@pytest.mark.parametrize("family", ANATOMIES)
def test_what_is_captured_is_what_the_projections_give_in_every_family(tmp_path, family):
    model = load_checkpoint(make_checkpoint(tmp_path / "m", family))
    layer = model_layers(model)[1]
    inputs = dict(make_tokenizer(family)(list(TEXTS), padding=True, return_tensors="pt"))
    with torch.no_grad(), captured(layer) as found:
        _, states = model_outputs(model, TextClassification(labels=("a", "b")), inputs, hidden_states=True)
        assert set(found) == set(PARTS)
        read = layer.root.attn_norm(states[1]) if family == "modernbert" else states[1]
        for part in PARTS:
            projection = layer.projection(part)
            wanted = torch.nn.functional.linear(read, projection.weight, projection.bias)
            torch.testing.assert_close(found[part], wanted)
    with torch.no_grad():
        found.clear()
        model_outputs(model, TextClassification(labels=("a", "b")), inputs)
    assert found == {}  # nothing is left behind


def test_a_cut_student_is_related_over_fewer_heads(tmp_path):
    teacher = load_checkpoint(make_checkpoint(tmp_path / "m", hidden=48, heads=6))
    student = load_checkpoint(tmp_path / "m")
    model_layers(student)[1].cut(heads=[0, 2, 3, 5, 1])
    related = related_layers(teacher, student, DistillLoss(relations=1.0, relation_heads=12))
    assert related.heads == 8  # 48 and 40 share the divisors 1, 2, 4 and 8
    first = related_layers(teacher, student, DistillLoss(relations=1.0, relation_layer=0))
    assert first.teacher.module("query") is model_layers(teacher)[0].module("query")


def test_where_the_last_layer_has_lost_its_heads_the_last_that_has_some_is_related(tmp_path):
    teacher, student = (load_checkpoint(make_checkpoint(tmp_path / "m", layers=3)) for _ in range(2))
    loss, task = DistillLoss(relations=1.0, soft=0.0, hidden=0.0), TextClassification(labels=("a", "b"))
    batch = dict(make_tokenizer()(list(TEXTS), padding=True, return_tensors="pt"))
    taught = TaskModel(teacher, make_tokenizer(), task)
    model_layers(student)[2].cut(heads=[])
    assert related_layers(teacher, student, loss).student.module("query") is model_layers(student)[1].module("query")
    assert distillation_loss(taught, student, loss)(student, batch, Share()) > 0
    for layer in model_layers(student):
        layer.cut(heads=[])
    assert distillation_loss(taught, student, loss)(student, batch, Share()) == 0  # nothing to relate


def test_a_layer_that_the_teacher_does_not_have_is_refused(tmp_path):
    model = load_checkpoint(make_checkpoint(tmp_path / "m"))
    with pytest.raises(RecipeError, match=r"relation_layer is 2.*0 to 1"):
        related_layers(model, model, DistillLoss(relations=1.0, relation_layer=2))
