"""Cuts of models that write: never worse than the evenly cut one, nor than without its reconstruction."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from generators import SENTENCES, make_generator

from edgelm.anatomy import TaskModel, load_checkpoint, load_tokenizer, model_layers
from edgelm.checkpoint import open_checkpoint
from edgelm.compress.pruning import fit
from edgelm.compress.pruning.choices import even_choice, shapes_of
from edgelm.compress.pruning.constraints import operations_goal
from edgelm.compress.pruning.fit import Material, cut_to_goal, make_levels, teacher_loss
from edgelm.compress.pruning.spdy import assemble, pick_levels
from edgelm.data.dataset import Dataset
from edgelm.recipe import FitSettings

SETTINGS = FitSettings(keep=0.5, samples=16, judged=8, tries=1, multiple=8, max_length=32)


@pytest.fixture
def material(tmp_path):
    folder = make_generator(tmp_path / "m", "t5-gated", layers=3)
    task = replace(open_checkpoint(folder).task, prefix="")
    rows = Dataset("memory", texts=SENTENCES, labels=tuple((text,) for text in reversed(SENTENCES)), schema="targets")
    return Material(TaskModel(load_checkpoint(folder), load_tokenizer(folder), task, 32), rows, 0, tmp_path)


def test_what_is_cut_is_at_least_as_good_as_the_evenly_cut_model(material):
    """Where a single try of the search must do."""
    model = material.teacher.model
    goal = operations_goal(material.teacher, material.rows, None, keep=0.5)
    settings = SETTINGS.model_copy(update={"reconstruct": False})
    loss = teacher_loss(settings.judged, material)
    levels = make_levels(model, "obs", settings, material)

    def fits(picks):
        return all(bound.table.predict(shapes_of(model, levels, picks)) <= bound.allowed for bound in goal.bounds)

    picks = even_choice(levels, range(len(model_layers(model))), fits)
    even = loss(assemble(model, pick_levels(levels, picks)))
    assert len(shapes_of(model, levels, picks)) == len(model_layers(model))
    assert cut_to_goal(model, settings, goal, material).loss <= even


def test_a_reconstruction_that_leads_astray_is_not_taken(material, monkeypatch):
    model = material.teacher.model
    goal = operations_goal(material.teacher, material.rows, None, keep=0.5)
    plain = cut_to_goal(model, SETTINGS.model_copy(update={"reconstruct": False}), goal, material)

    def astray(student, *values, **options):
        student = copy.deepcopy(student)
        with torch.no_grad():
            for parameter in student.parameters():
                parameter.mul_(-3)
        return student

    monkeypatch.setattr(fit, "reconstruct", astray)
    found = cut_to_goal(model, SETTINGS, goal, material)
    assert math.isclose(found.loss, plain.loss)
    for name, value in plain.model.state_dict().items():
        torch.testing.assert_close(found.model.state_dict()[name], value, rtol=0, atol=0)
