"""Importance scores against finite differences, and cuts that change nothing but what they remove."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import ANATOMIES, TEXTS, make_checkpoint

from edgelm.anatomy import TaskModel, load_checkpoint, load_tokenizer, model_layers, model_outputs
from edgelm.compress.pruning.mask_scores import choose_channels, choose_heads, cut, measure_importance
from edgelm.data.dataset import Dataset
from edgelm.tasks.text import SentenceEmbedding, TextClassification

TASKS = {
    "text-classification": TextClassification(labels=("negative", "positive")),
    "sentence-embedding": SentenceEmbedding(),
}


def outputs_of(model, folder, kind="text-classification"):
    tokenizer = load_tokenizer(folder)
    task = TASKS[kind]
    with torch.inference_mode():
        return model_outputs(model, task, dict(tokenizer(list(TEXTS), padding=True, return_tensors="pt")))[0]


@pytest.mark.parametrize("family", ANATOMIES)
def test_removing_units_that_do_nothing_changes_nothing(tmp_path, family):
    folder = make_checkpoint(tmp_path / "m", family)
    model = load_checkpoint(folder)
    with torch.no_grad():
        for layer in model_layers(model):
            layer.module("attention_output").weight[:, : layer.head_size] = 0  # head 0 writes nothing
            layer.module("ffn_out").weight[:, :32] = 0
    smaller = cut(model, heads=[[1, 2, 3]] * 2, ffn=[range(32, 64)] * 2)
    assert [(layer.heads, layer.ffn) for layer in model_layers(smaller)] == [(3, 32)] * 2
    assert [(layer.heads, layer.ffn) for layer in model_layers(model)] == [(4, 64)] * 2  # the original is untouched
    torch.testing.assert_close(
        outputs_of(smaller, folder), outputs_of(model, folder), atol=1e-5, rtol=1e-5
    )  # sums in another order


def test_fisher_importance_is_the_squared_gradient_of_the_loss(tmp_path):
    """One text, one batch: the score of a head is (dL/dm)², taken here by central differences of its output columns."""
    folder = make_checkpoint(tmp_path / "m")
    model, tokenizer = load_checkpoint(folder).double(), load_tokenizer(folder)
    dataset = Dataset(
        "memory", texts=TEXTS[:1], labels=(1,), label_names=("negative", "positive"), problem="single-label"
    )
    task = TextClassification(labels=dataset.label_names)
    scores = measure_importance(TaskModel(model, tokenizer, task), dataset)

    def loss_with(layer, head, scale):
        changed = copy.deepcopy(model)
        layer = model_layers(changed)[layer]
        columns = slice(head * layer.head_size, (head + 1) * layer.head_size)
        with torch.no_grad():
            layer.module("attention_output").weight[:, columns] *= scale
            logits = changed(**tokenizer(list(dataset.texts), return_tensors="pt")).logits
        return torch.nn.functional.cross_entropy(logits, torch.tensor([1])).item()

    step = 1e-4
    for layer in (0, 1):
        for head in (0, 3):
            slope = (loss_with(layer, head, 1 + step) - loss_with(layer, head, 1 - step)) / (2 * step)
            assert scores.heads[layer][head].item() == pytest.approx(
                slope**2, rel=1e-3, abs=1e-12
            )  # second-order difference error


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("kind", ["text-classification", "sentence-embedding"])
def test_every_unit_gets_a_finite_score_with_and_without_labels(tmp_path, kind, labelled):
    folder = make_checkpoint(tmp_path / "m", kind=kind)
    labels = tuple(index % 2 for index in range(len(TEXTS))) if labelled and kind == "text-classification" else None
    dataset = Dataset("memory", texts=TEXTS, labels=labels, label_names=("negative", "positive"))
    scores = measure_importance(TaskModel(load_checkpoint(folder), load_tokenizer(folder), TASKS[kind]), dataset)
    for layer in (*scores.heads, *scores.ffn):
        assert torch.isfinite(layer).all()
        assert layer.sum() > 0


@pytest.mark.parametrize("family", ANATOMIES)
def test_of_a_part_that_is_gone_there_is_nothing_to_score_or_keep(tmp_path, family):
    folder = make_checkpoint(tmp_path / "m", family)
    model, task = load_checkpoint(folder), TextClassification(labels=("negative", "positive"))
    model_layers(model)[0].cut(heads=[])
    model_layers(model)[1].cut(ffn=[])
    scores = measure_importance(TaskModel(model, load_tokenizer(folder), task), Dataset("memory", texts=TEXTS))
    assert [len(layer) for layer in (*scores.heads, *scores.ffn)] == [0, 4, 64, 0]
    assert scores.heads[1].sum() > 0
    assert scores.ffn[0].sum() > 0
    heads, channels = choose_heads(scores.heads, 0.5), choose_channels(scores.ffn, 0.5)
    assert [len(layer) for layer in (*heads, *channels)] == [0, 2, 32, 0]
    assert [(layer.heads, layer.ffn) for layer in model_layers(cut(model, heads, channels))] == [(0, 32), (2, 0)]


scores_of_layers = st.integers(1, 5).flatmap(
    lambda layers: st.lists(st.lists(st.floats(0, 10), min_size=8, max_size=8), min_size=layers, max_size=layers)
)


@given(scores_of_layers, st.floats(0.05, 1.0))
def test_heads_are_chosen_by_score_and_every_layer_keeps_one(values, keep):
    scores = [torch.tensor(layer) for layer in values]
    kept = choose_heads(scores, keep)
    assert sum(map(len, kept)) == max(len(scores), round(keep * 8 * len(scores)))
    assert all(units and units == sorted(set(units)) for units in kept)
    # No head that goes scores more than one that stays, but where it was the only one of its layer.
    gone = [scores[layer][unit] for layer, units in enumerate(kept) for unit in range(8) if unit not in units]
    free = [
        scores[layer][unit]
        for layer, units in enumerate(kept)
        for unit in units
        if len(units) > 1 and unit != int(scores[layer].argmax())
    ]
    if gone and free:
        assert max(gone) <= min(free)


@settings(deadline=None)
@given(st.integers(0, 1000), st.floats(0.05, 1.0), st.sampled_from([1, 8, 32]))
def test_channels_come_in_whole_groups_within_the_share(seed, keep, multiple):
    scores = list(torch.rand(3, 64, generator=torch.Generator().manual_seed(seed)))
    kept = choose_channels(scores, keep, multiple=multiple)
    assert all(len(units) % multiple == 0 and units for units in kept)
    assert sum(map(len, kept)) <= max(round(keep * 192), 3 * multiple)
    assert sum(map(len, kept)) > round(keep * 192) - multiple
