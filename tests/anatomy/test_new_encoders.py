"""What some families have of their own: shared weights, tables of all heads, norms before the sublayers, gates."""

import pytest
import torch
from models import FAMILIES, TEXTS, make_checkpoint, make_sharing_checkpoint

from edgelm.anatomy import (
    TaskModel,
    keep_layers,
    layer_shapes,
    load_backbone,
    load_checkpoint,
    load_tokenizer,
    model_layers,
    model_outputs,
    save_checkpoint,
)
from edgelm.checkpoint import open_checkpoint
from edgelm.compress.pruning.mask_scores import choose_channels, choose_heads, cut, measure_importance
from edgelm.compress.pruning.student_shape import resolve_shape
from edgelm.data.dataset import Dataset
from edgelm.errors import UnsupportedFamily
from edgelm.tasks.text import TextClassification


def outputs_of(model, tokenizer, task):
    with torch.inference_mode():
        return model_outputs(model, task, dict(tokenizer(list(TEXTS), padding=True, return_tensors="pt")))[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_without_its_first_layer_is_saved_whole(tmp_path, family):
    """ModernBERT's first layer lacks a norm that the next one keeps, and each layer looks as far as it did."""
    checkpoint = open_checkpoint(make_checkpoint(tmp_path / "m", family, layers=3))
    model, tokenizer = load_checkpoint(checkpoint), load_tokenizer(checkpoint)
    keep_layers(model, [1, 2])
    save_checkpoint(tmp_path / "cut", model, tokenizer, checkpoint.record)
    again = load_checkpoint(tmp_path / "cut")
    assert torch.equal(outputs_of(again, tokenizer, checkpoint.task), outputs_of(model, tokenizer, checkpoint.task))


def test_mpnets_heads_keep_the_relative_positions_that_they_learnt(tmp_path):
    """Heads that write nothing go; the others read their own columns of the table that all layers share. Twice: the
    second cut counts from what the first one left."""
    checkpoint = open_checkpoint(make_checkpoint(tmp_path / "m", "mpnet"))
    model, tokenizer = load_checkpoint(checkpoint), load_tokenizer(checkpoint)
    with torch.no_grad():
        for layer in model_layers(model):
            layer.module("attention_output").weight[:, : 2 * layer.head_size] = 0
    wanted = outputs_of(model, tokenizer, checkpoint.task)
    first, second = model_layers(model)
    first.cut(heads=[1, 2, 3])
    first.cut(heads=[1, 2])
    second.cut(heads=[2, 3])
    torch.testing.assert_close(outputs_of(model, tokenizer, checkpoint.task), wanted)
    save_checkpoint(tmp_path / "cut", model, tokenizer, checkpoint.record)
    again = load_checkpoint(tmp_path / "cut")
    assert torch.equal(outputs_of(again, tokenizer, checkpoint.task), outputs_of(model, tokenizer, checkpoint.task))


def test_a_gate_goes_with_its_channel(tmp_path):
    checkpoint = open_checkpoint(make_checkpoint(tmp_path / "m", "modernbert"))
    model, tokenizer = load_checkpoint(checkpoint), load_tokenizer(checkpoint)
    with torch.no_grad():
        for layer in model_layers(model):
            layer.module("ffn_out").weight[:, ::2] = 0
    wanted = outputs_of(model, tokenizer, checkpoint.task)
    for layer in model_layers(model):
        layer.cut(ffn=range(1, 64, 2))
        assert layer.projection("ffn_gate").out_features == layer.ffn == 32
    torch.testing.assert_close(outputs_of(model, tokenizer, checkpoint.task), wanted)


def test_a_masked_language_model_becomes_a_classifier_with_its_own_first_matrix(tmp_path):
    """As transformers does it: ModernBERT's pretraining head is where its classifiers begin."""
    import transformers

    folder = make_checkpoint(tmp_path / "m", "modernbert", kind="sentence-embedding")
    config = transformers.AutoConfig.from_pretrained(folder)
    masked = transformers.ModernBertForMaskedLM(config)
    masked.save_pretrained(folder)
    with pytest.warns(UserWarning, match="classifier"):
        model = load_backbone(open_checkpoint(folder), TextClassification(labels=("a", "b")))
    assert torch.equal(model.head.dense.weight, masked.head.dense.weight)
    load_checkpoint(folder)  # the encoder alone


def test_layers_that_share_their_weights_are_cut_together(tmp_path):
    checkpoint = open_checkpoint(make_sharing_checkpoint(tmp_path / "m"))
    model, tokenizer = load_checkpoint(checkpoint), load_tokenizer(checkpoint)
    importance = measure_importance(TaskModel(model, tokenizer, checkpoint.task), Dataset("memory", texts=TEXTS))
    smaller = cut(model, choose_heads(importance.heads, 0.5), choose_channels(importance.ffn, 0.5, multiple=8))
    assert [(shape.heads, shape.ffn) for shape in layer_shapes(smaller)] == [(2, 32)]
    assert smaller.config.num_hidden_layers == 3
    save_checkpoint(tmp_path / "cut", smaller, tokenizer, checkpoint.record)
    again = load_checkpoint(tmp_path / "cut")
    assert again.config.num_hidden_layers == 3
    assert torch.equal(outputs_of(again, tokenizer, checkpoint.task), outputs_of(smaller, tokenizer, checkpoint.task))


def test_what_needs_layers_of_their_own_is_refused_where_they_share_theirs(tmp_path):
    model = load_checkpoint(make_sharing_checkpoint(tmp_path / "m"))
    keep_layers(model, [0])  # all that there are
    assert model.config.num_hidden_layers == 3
    with pytest.raises(UnsupportedFamily, match="3 layers of this albert share 1 set"):
        keep_layers(model, [])
    with pytest.raises(UnsupportedFamily, match="share"):
        resolve_shape(model, hidden=16)
    model.config.inner_group_num = 2
    with pytest.raises(UnsupportedFamily, match="inner_group_num is 2"):
        model_layers(model)
