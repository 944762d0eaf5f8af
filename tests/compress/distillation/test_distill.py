"""Distillation losses against direct formulas, and students made of a teacher's layers."""

import numpy as np
import pytest
import torch
from models import ANATOMIES, TEXTS, make_checkpoint, make_tokenizer

from edgelm.anatomy import Rows, TaskModel, load_checkpoint, model_layers
from edgelm.compress.batches import EncodedDataset, Share
from edgelm.compress.distillation.distill import (
    distillation_loss,
    hidden_loss,
    student_from_layers,
)
from edgelm.compress.distillation.losses import hard_loss, soft_loss
from edgelm.data.dataset import Dataset
from edgelm.tasks.text import SentenceEmbedding, TextClassification
from edgelm.training_settings import DistillLoss


def rows_of(values):
    return Rows(values, None, len(values))


CLASSES = TextClassification(labels=("a", "b", "c"))


def test_soft_loss_is_the_softened_kl_divergence():
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(2, 5, 3))

    def softmax(x):
        e = np.exp(x - x.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    p, q = softmax(teacher / 2.0), softmax(student / 2.0)
    expected = 4.0 * (p * np.log(p / q)).sum() / 5
    found = soft_loss(rows_of(torch.tensor(student)), torch.tensor(teacher), "classes", temperature=2.0)
    assert found.item() == pytest.approx(expected, rel=1e-9)  # both in float64


@pytest.mark.parametrize(
    "task",
    [
        CLASSES,
        TextClassification(problem="multi-label", labels=("a", "b", "c")),
        TextClassification(problem="regression", labels=("score",)),
        SentenceEmbedding(),
    ],
    ids=lambda task: f"{task.kind}-{task.output}",
)
def test_a_student_that_agrees_with_its_teacher_has_no_soft_loss(task):
    outputs = torch.randn(4, 3)
    other = outputs + torch.randn(4, 3)
    assert soft_loss(rows_of(outputs), outputs, task.output, temperature=2.0).item() == pytest.approx(
        0, abs=1e-6
    )  # float32 rounding
    assert soft_loss(rows_of(other), outputs, task.output, temperature=2.0).item() > 1e-3


def test_padding_has_no_part_in_the_hidden_loss():
    student, teacher = torch.randn(2, 2, 5, 8), torch.randn(2, 2, 5, 8)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    changed = teacher.clone()
    changed[:, 0, 3:] += 100
    pairs = [(0, 0), (1, 1)]
    assert hidden_loss(list(student), list(teacher), pairs, mask) == hidden_loss(
        list(student), list(changed), pairs, mask
    )


@pytest.mark.parametrize("family", ANATOMIES)
def test_a_student_of_some_layers_has_just_these(tmp_path, family):
    teacher = load_checkpoint(make_checkpoint(tmp_path / "teacher", family, layers=3))
    student = student_from_layers(teacher, [0, 2])
    assert len(model_layers(student)) == 2
    assert len(model_layers(teacher)) == 3
    assert torch.equal(
        model_layers(student)[1].module("ffn_in").weight, model_layers(teacher)[2].module("ffn_in").weight
    )


LABELLED = {
    "single-label": (CLASSES, (0, 2, 1, 1), np.array([0, 2, 1, 1])),
    "multi-label": (
        TextClassification("multi-label", ("a", "b", "c")),
        ((1, 0, 1), (0, 0, 0), (1, 1, 1), (0, 1, 0)),
        None,
    ),
    "regression": (TextClassification("regression", ("score",)), (0.5, -2.0, 1.0, 3.25), None),
}


@pytest.mark.parametrize("problem", LABELLED)
def test_labels_count_only_in_the_rows_that_have_one(problem):
    task, labels, _ = LABELLED[problem]
    rows = Dataset("memory", texts=TEXTS[:4], labels=labels, problem=problem).join(Dataset("more", texts=TEXTS[4:6]))
    reader = TaskModel(None, make_tokenizer(), task, 32)
    encoded = EncodedDataset(rows, reader)
    outputs = torch.randn(6, len(task.labels), requires_grad=True)
    loss = hard_loss(
        rows_of(outputs), torch.as_tensor(np.asarray([encoded[index]["labels"] for index in range(6)])), task.output
    )
    alone = hard_loss(
        rows_of(outputs[:4]),
        torch.as_tensor(EncodedDataset(rows.take(range(4)), reader).labels),
        task.output,
    )
    assert loss.item() == pytest.approx(alone.item() * 4 / 6, rel=1e-5)  # float32; divided by all rows of the batch
    loss.backward()
    assert (outputs.grad[4:] == 0).all()
    assert (outputs.grad[:4] != 0).any(dim=1).all()
    nothing = hard_loss(rows_of(outputs[4:]), torch.as_tensor(encoded.labels[4:]), task.output)
    assert nothing.item() == 0


def test_labels_give_the_loss_of_torch_where_every_row_has_one():
    outputs, labels = torch.randn(5, 3), torch.tensor([0, 1, 2, 1, 0])
    assert hard_loss(rows_of(outputs), labels, "classes").item() == pytest.approx(
        torch.nn.functional.cross_entropy(outputs, labels).item(), rel=1e-5
    )


def test_sentence_vectors_of_other_widths_are_compared_by_their_cosines():
    task = SentenceEmbedding()
    teacher = torch.randn(6, 8)
    turn, _ = torch.linalg.qr(torch.randn(12, 8))  # orthonormal columns: into more dimensions, angles stay
    assert soft_loss(rows_of(teacher @ turn.T), teacher, task.output, temperature=1.0).item() == pytest.approx(
        0, abs=1e-5
    )  # float32 rounding
    assert soft_loss(rows_of(torch.randn(6, 12)), teacher, task.output, temperature=1.0).item() > 0.1


@pytest.mark.parametrize("weight", ["soft", "hard", "hidden", "relations"])
def test_each_loss_alone_reaches_the_student(tmp_path, weight):
    teacher = load_checkpoint(make_checkpoint(tmp_path / "teacher", layers=3))
    student = student_from_layers(teacher, [0, 2]).train()
    weights = {"soft": 0.0, "hard": 0.0, "hidden": 0.0, "relations": 0.0} | {weight: 1.0}
    asked = TaskModel(teacher, make_tokenizer(), TextClassification(labels=("a", "b")))
    compute = distillation_loss(asked, student, DistillLoss(**weights, relation_heads=4))
    batch = dict(make_tokenizer()(list(TEXTS), padding=True, return_tensors="pt")) | {
        "labels": torch.zeros(len(TEXTS), dtype=torch.int64)
    }
    loss = compute(student, batch, Share())
    loss.backward()
    assert loss.item() > 0
    assert model_layers(student)[1].module("query").weight.grad.abs().sum() > 0
    assert not model_layers(student)[1].module("query")._forward_hooks
    assert all(parameter.grad is None for parameter in teacher.parameters())
