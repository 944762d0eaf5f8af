"""Which layers and sublayers go: by what they change, and by what the whole model loses."""

import pytest
import torch
from generators import SENTENCES, make_generator

from edgelm.anatomy import TaskModel, layer_shapes, load_checkpoint, load_tokenizer, model_layers, sublayers
from edgelm.checkpoint import open_checkpoint
from edgelm.compress.evaluate import predict
from edgelm.compress.pruning.depth import Part, block_influence, drop_parts, losses_without, removable, without
from edgelm.data.dataset import Dataset
from edgelm.errors import RecipeError
from edgelm.recipe import DepthSettings

TEXTS = Dataset("memory", SENTENCES * 2, schema="prompts")
PAIRS = Dataset("memory", SENTENCES, labels=tuple((text,) for text in SENTENCES[::-1]), schema="targets")


def opened(folder, length=32):
    checkpoint = open_checkpoint(folder)
    return TaskModel(load_checkpoint(checkpoint), load_tokenizer(checkpoint), checkpoint.task, length)


def loss_of(asked, rows):
    return lambda model: float(predict(asked.with_model(model), rows).rows[:, 1].mean())


def silence(model, number):
    """Let a layer add nothing."""
    with torch.no_grad():
        for sublayer in model_layers(model)[number].sublayers:
            sublayer.output.weight.zero_()
            if sublayer.output.bias is not None:
                sublayer.output.bias.zero_()


@pytest.mark.parametrize("family", ["gpt2", "gemma3_text"])
def test_influence_is_that_of_transformers_hidden_states(family, tmp_path):
    asked = opened(make_generator(tmp_path / "m", family, layers=3))
    found = block_influence(asked, TEXTS)
    from edgelm.compress.batches import EncodedDataset

    data = EncodedDataset(TEXTS, asked)
    pairs = [[] for _ in found]
    for number in range(len(data)):
        with torch.no_grad():
            states = asked.outputs(data.batch([number]), hidden_states=True)[1]
        for layer in range(len(found) - 1):  # behind the last layer transformers gives what the last norm made of it
            pairs[layer].append(torch.cosine_similarity(states[layer][0], states[layer + 1][0], dim=-1))
    for layer, cosines in enumerate(pairs[:-1]):
        assert found[layer] == pytest.approx(1 - float(torch.cat(cosines).mean()), abs=1e-5)


@pytest.mark.parametrize("score", ["influence", "loss"])
def test_what_adds_nothing_goes_first(score, tmp_path):
    asked = opened(make_generator(tmp_path / "m", "llama", layers=4))
    silence(asked.model, 1)
    silence(asked.model, 2)
    loss = loss_of(asked, TEXTS)
    made, kept = drop_parts(asked, DepthSettings(score=score, drop=2), TEXTS, loss)
    assert kept == [0, 3]
    assert loss(made) == pytest.approx(loss(asked.model), rel=1e-5)
    assert len(model_layers(asked.model)) == 4
    once = DepthSettings(score=score, drop=2, again=False)
    assert drop_parts(asked, once, TEXTS, loss)[1] == [0, 3]


@pytest.mark.parametrize("stack", ["encoder", "decoder"])
def test_encoder_and_decoder_have_depths_of_their_own(stack, tmp_path):
    asked = opened(make_generator(tmp_path / "m", "t5", layers=3))
    settings = DepthSettings(drop=2, stack=stack)
    made, kept = drop_parts(asked, settings, PAIRS, loss_of(asked, PAIRS))
    shapes = layer_shapes(made)
    assert [sum(shape.stack == name for shape in shapes) for name in ("encoder", "decoder")] == (
        [1, 3] if stack == "encoder" else [3, 1]
    )
    assert len(kept) == 4
    with pytest.raises(RecipeError, match="one layer of each stack stays"):
        drop_parts(asked, DepthSettings(drop=3, stack=stack), PAIRS, loss_of(asked, PAIRS))


def test_a_single_sublayer_goes_where_it_is_missed_least(tmp_path):
    asked = opened(make_generator(tmp_path / "m", "bart"))
    loss = loss_of(asked, PAIRS)
    parts = removable(asked.model, "sublayers", "decoder")
    assert [part.kind for part in parts] == ["attention", "cross", "ffn"] * 2
    losses = losses_without(asked.model, parts, loss)
    assert losses == [pytest.approx(loss(without(asked.model, part))) for part in parts]
    least = parts[losses.index(min(losses))]
    made, kept = drop_parts(asked, DepthSettings(parts="sublayers", stack="decoder"), PAIRS, loss)
    assert kept == [0, 1, 2, 3]
    left = {Part(index, sublayer.kind) for index, sublayer in sublayers(made)}
    assert {Part(index, sublayer.kind) for index, sublayer in sublayers(asked.model)} - left == {least}
