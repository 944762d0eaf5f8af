"""Every family loads, is cut, saved and loaded again as the same function; everything else is refused with a way
out."""

import copy
import json

import pytest
import torch
from models import FAMILIES, TEXTS, make_checkpoint

from edgelm.anatomy import (
    load_checkpoint,
    load_tokenizer,
    model_layers,
    model_outputs,
    save_checkpoint,
    supported_model_types,
)
from edgelm.checkpoint import open_checkpoint
from edgelm.errors import ModelError, UnsupportedFamily
from edgelm.tasks.text import SentenceEmbedding


def test_every_supported_family_is_tested_here():
    assert sorted(FAMILIES) == supported_model_types()


@pytest.mark.parametrize("kind", ["text-classification", "sentence-embedding"])
@pytest.mark.parametrize("family", FAMILIES)
def test_layers_of_different_shapes_survive_saving(tmp_path, family, kind):
    checkpoint = open_checkpoint(make_checkpoint(tmp_path / "full", family, kind=kind))
    model, tokenizer = load_checkpoint(checkpoint), load_tokenizer(checkpoint)
    first, second = model_layers(model)
    first.cut(heads=[1, 3], ffn=range(32))
    second.cut(heads=[0], ffn=range(8, 24))
    save_checkpoint(tmp_path / "cut", model, tokenizer, checkpoint.record)
    again = load_checkpoint(tmp_path / "cut")
    assert [(layer.heads, layer.ffn) for layer in model_layers(again)] == [(2, 32), (1, 16)]
    inputs = dict(tokenizer(list(TEXTS), padding=True, return_tensors="pt"))
    with torch.inference_mode():
        assert torch.equal(
            model_outputs(model, checkpoint.task, inputs)[0], model_outputs(again, checkpoint.task, inputs)[0]
        )


@pytest.mark.parametrize("family", FAMILIES)
def test_a_layer_without_heads_or_channels_adds_its_biases_alone(tmp_path, family):
    """Removed whole, saved and loaded, a module is what it was with all of its output weights at zero."""
    checkpoint = open_checkpoint(make_checkpoint(tmp_path / "full", family))
    model, tokenizer = load_checkpoint(checkpoint), load_tokenizer(checkpoint)
    first, second = model_layers(model)
    with torch.no_grad():
        for layer, part in ((first, "attention_output"), (second, "ffn_out")):
            layer.projection(part).ensure_bias()
            layer.module(part).weight.zero_()
            layer.module(part).bias.normal_()
    inputs = dict(tokenizer(list(TEXTS), padding=True, return_tensors="pt"))
    with torch.inference_mode():
        wanted = model_outputs(model, checkpoint.task, inputs)[0]
    first.cut(heads=[])
    second.cut(ffn=[])
    save_checkpoint(tmp_path / "cut", model, tokenizer, checkpoint.record)
    again = load_checkpoint(tmp_path / "cut")
    assert [(layer.heads, layer.ffn) for layer in model_layers(again)] == [(0, 64), (4, 0)]
    with torch.inference_mode():
        torch.testing.assert_close(model_outputs(again, checkpoint.task, inputs)[0], wanted)
    copied = copy.deepcopy(again).train()
    model_outputs(copied, checkpoint.task, inputs)[0].sum().backward()  # it can be trained
    assert model_layers(copied)[0].module("attention_output").bias.grad.abs().sum() > 0


def test_pooled_sentence_vectors_do_not_depend_on_padding(tmp_path):
    folder = make_checkpoint(tmp_path / "m", kind="sentence-embedding")
    model, tokenizer, task = load_checkpoint(folder), load_tokenizer(folder), SentenceEmbedding()
    with torch.inference_mode():
        together = model_outputs(model, task, dict(tokenizer(list(TEXTS), padding=True, return_tensors="pt")))[0]
        alone = torch.cat([model_outputs(model, task, dict(tokenizer(text, return_tensors="pt")))[0] for text in TEXTS])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)  # float32 sums of other lengths
    torch.testing.assert_close(together.norm(dim=1), torch.ones(len(TEXTS)))


def test_an_unknown_family_is_refused_with_the_supported_ones_and_a_way_to_add_one(tmp_path):
    folder = make_checkpoint(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "mamba"}))
    with pytest.raises(UnsupportedFamily) as caught:
        load_checkpoint(folder)
    for name in (*FAMILIES, "mamba", "CONTRIBUTING.md"):
        assert name in str(caught.value)


@pytest.mark.parametrize(
    "what",
    ["no config", "truncated", "pickle only", "no weights", "no folder", "not json", "wrong type", "other weights"],
)
def test_broken_model_folders_are_refused(tmp_path, what):
    folder = make_checkpoint(tmp_path / "m")
    weights = folder / "model.safetensors"
    if what == "no config":
        (folder / "config.json").unlink()
    elif what == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif what == "pickle only":
        torch.save(load_checkpoint(folder).state_dict(), folder / "pytorch_model.bin")
        weights.unlink()
    elif what == "no weights":
        weights.unlink()
    elif what == "no folder":
        folder = tmp_path / "missing"
    elif what == "not json":
        (folder / "config.json").write_text("{")
    elif what == "wrong type":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"num_attention_heads": "four"}))
    else:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 64}))
    with pytest.raises(ModelError) as caught:
        load_checkpoint(folder)
    assert str(folder) in caught.value.message
    assert caught.value.hint


def test_pickled_weights_load_only_when_allowed(tmp_path):
    folder = make_checkpoint(tmp_path / "m")
    wanted = load_checkpoint(folder).state_dict()
    torch.save(wanted, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    model = load_checkpoint(folder, allow_pickle=True)
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in model.state_dict().items())


class Bomb:
    """A pickle that would run code."""

    def __reduce__(self):
        return (print, ("boom",))


def test_a_pickle_with_code_in_it_never_runs(tmp_path, capsys):
    folder = make_checkpoint(tmp_path / "m")
    torch.save({"bomb": Bomb()}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError):
        load_checkpoint(folder, allow_pickle=True)
    assert "boom" not in capsys.readouterr().out
