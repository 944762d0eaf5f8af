"""The map from a student's hidden states to its teacher's: how it begins, that it learns, and that nothing of it
stays."""

import numpy as np
import pytest
import torch
from models import TEXTS, make_checkpoint

from edgelm import compress
from edgelm.anatomy import TaskModel, load_checkpoint, load_tokenizer, model_outputs
from edgelm.checkpoint import open_checkpoint
from edgelm.compress.distillation.projection import attached, fitted_projection, identity_projection
from edgelm.data.dataset import Dataset
from edgelm.recipe import Recipe
from edgelm.tasks.text import TextClassification

ROWS = Dataset(
    "memory",
    texts=tuple(f"{text} {index}" for index in range(4) for text in TEXTS),
    labels=tuple(index % 2 for index in range(4 * len(TEXTS))),
    label_names=("negative", "positive"),
    problem="single-label",
)
TASK = TextClassification(labels=("negative", "positive"))


def test_it_begins_as_the_least_squares_solution(tmp_path):
    teacher = load_checkpoint(make_checkpoint(tmp_path / "teacher", layers=2))
    student = load_checkpoint(make_checkpoint(tmp_path / "student", layers=1, hidden=16, heads=2, seed=1))
    tokenizer = load_tokenizer(tmp_path / "teacher")
    found = fitted_projection(TaskModel(teacher, tokenizer, TASK, 32), student, ROWS, seed=0)
    narrow, wide = [], []
    with torch.no_grad():
        for text in ROWS.texts:
            inputs = dict(tokenizer(text, return_tensors="pt"))
            states, wanted = (model_outputs(model, TASK, inputs, hidden_states=True)[1] for model in (student, teacher))
            narrow += [states[0][0], states[1][0]]
            wide += [wanted[0][0], wanted[2][0]]
    narrow, wide = torch.cat(narrow).double().numpy(), torch.cat(wide).double().numpy()
    solution, *_ = np.linalg.lstsq(narrow, wide, rcond=1e-9)  # LayerNorm's outputs sum to zero: one direction is empty
    best, left = (np.square(narrow @ matrix - wide).mean() for matrix in (solution, found.weight.detach().numpy().T))
    assert best <= left < 1.01 * best  # the ridge costs half of a hundredth


def test_the_identity_changes_nothing():
    states = torch.randn(2, 3, 8)
    assert torch.equal(identity_projection(8)(states), states)


def test_it_is_a_part_of_the_student_only_inside(tmp_path):
    student = load_checkpoint(make_checkpoint(tmp_path / "m"))
    names = list(student.state_dict())
    with attached(student, identity_projection(32)):
        assert len(student.state_dict()) == len(names) + 1
        assert any(
            parameter.shape == (32, 32) for name, parameter in student.named_parameters() if "projection" in name
        )
    assert list(student.state_dict()) == names
    with attached(student, None):
        assert list(student.state_dict()) == names


LOSS = {"soft": 0.0, "hard": 0.0, "hidden": 1.0}
TRAIN = {"max_steps": 30, "batch_size": 8, "learning_rate": 0.003, "warmup": 0.0}
SHAPE = {"stage": "distill", "shape": {"layers": 1, "hidden": 16, "ffn": 32}, "loss": LOSS, "train": TRAIN}


class Interrupted(Exception):
    """What a user's Ctrl-C is to the loop."""


@pytest.mark.parametrize(
    "stage",
    [SHAPE, {"stage": "distill", "layers": 2, "loss": LOSS | {"matching": "dynamic"}, "train": TRAIN}],
    ids=["narrower", "dynamic"],
)
def test_interrupted_training_takes_the_map_up_where_it_was(tmp_path, stage):
    make_checkpoint(tmp_path / "teacher", layers=3)
    recipe = Recipe(name="r", stages=(stage,))
    options = {"dataset": ROWS, "evaluation": ROWS, "recipe": recipe}

    def stop(description, done, total):
        if description == "distill" and done == 17:
            raise Interrupted

    compress(tmp_path / "teacher", output=tmp_path / "whole", **options)
    with pytest.raises(Interrupted):
        compress(tmp_path / "teacher", output=tmp_path / "broken", progress=stop, **options)
    steps = []
    compress(
        tmp_path / "teacher",
        output=tmp_path / "broken",
        progress=lambda what, done, _: steps.append(done) if what == "distill" else None,
        **options,
    )
    assert steps[0] > 1  # not from the beginning
    whole, broken = (load_checkpoint(tmp_path / name).state_dict() for name in ("whole", "broken"))
    assert all(torch.equal(whole[name], broken[name]) for name in whole)
    assert not any("projection" in name for name in whole)


def test_a_narrower_student_comes_closer_to_the_teachers_hidden_states(tmp_path):
    """The best linear map from student to teacher, fitted anew, leaves less after training than before."""
    teacher = load_checkpoint(make_checkpoint(tmp_path / "teacher", layers=2))
    tokenizer = load_tokenizer(tmp_path / "teacher")
    errors = []
    for name, steps in (("before", 1), ("after", 80)):
        stage = SHAPE | {"train": TRAIN | {"max_steps": steps, "learning_rate": 0.003 if steps > 1 else 1e-9}}
        compress(
            tmp_path / "teacher",
            dataset=ROWS,
            evaluation=ROWS,
            recipe=Recipe(name="r", stages=(stage,)),
            output=tmp_path / name,
        )
        student = load_checkpoint(tmp_path / name)
        projection = fitted_projection(TaskModel(teacher, tokenizer, TASK, 32), student, ROWS, seed=0)
        inputs = dict(tokenizer(list(TEXTS), padding=True, return_tensors="pt"))
        mask = inputs["attention_mask"].bool()
        with torch.no_grad():
            last, wanted = (
                model_outputs(model, TASK, inputs, hidden_states=True)[1][-1][mask] for model in (student, teacher)
            )
            errors.append((projection(last) - wanted).square().mean().item())
    assert errors[1] < 0.9 * errors[0]
    assert open_checkpoint(tmp_path / "after").config["hidden_size"] == 16
