"""A narrower residual stream: dimensions that are zero in every state go without a trace, in every family."""

import pytest
import torch
from generators import DECODERS, ENCODER_DECODERS, GENERATORS, make_generator
from test_generator_layers import CLOSE, logits_of, written
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from edgelm.anatomy import load_checkpoint, model_layers, save_checkpoint
from edgelm.anatomy.families.table import stacks_of
from edgelm.anatomy.hidden import hidden_size, hidden_step, last_norm, narrow
from edgelm.anatomy.layers import base_model
from edgelm.checkpoint import open_checkpoint
from edgelm.errors import UnsupportedFamily

NARROWED = [family for family in GENERATORS if family != "marian"]
GONE = [1, 5, 9, 30]
KEPT = torch.tensor([dim for dim in range(32) if dim not in GONE])


@pytest.fixture(params=NARROWED)
def family(request):
    return request.param


def silence(model):
    """Let nothing write to some dimensions of the stream. LayerNorms also take away the mean over all of them, so
    what is written to the others has the mean zero there."""
    centred = any(isinstance(module, torch.nn.LayerNorm) for module in model.modules())

    def quiet(values):
        values[..., GONE] = 0
        if centred:
            values[..., KEPT] -= values[..., KEPT].mean(dim=-1, keepdim=True)

    base, stack = base_model(model), stacks_of(model.config)[0]
    with torch.no_grad():
        for path in stack.tables:
            quiet(base.get_submodule(path).weight)
        for layer in model_layers(model):
            for sublayer in layer.sublayers:
                quiet(sublayer.output.weight.T)
                if sublayer.output.bias is not None:
                    quiet(sublayer.output.bias)
        if getattr(last_norm(model), "bias", None) is not None:
            last_norm(model).bias[GONE] = 0  # a constant that a head without biases cannot take over
        if stack.output_norm is not None:  # what these give is the stream itself
            for norm in (module for module in model.modules() if isinstance(module, torch.nn.LayerNorm)):
                norm.weight.fill_(float(norm.weight[0]))
                quiet(norm.bias)
                norm.weight[GONE] = 0


def test_dimensions_that_nothing_writes_to_go_without_a_trace(family, tmp_path):
    folder = make_generator(tmp_path / "m", family, layers=3)
    model = load_checkpoint(folder)
    silence(model)
    before, text = logits_of(model), written(model)
    heads = [(layer.heads, layer.head_size, layer.ffn) for layer in model_layers(model)]

    smaller = narrow(model, KEPT)

    assert (hidden_size(smaller), hidden_size(model)) == (28, 32)
    assert [(layer.heads, layer.head_size, layer.ffn) for layer in model_layers(smaller)] == heads
    torch.testing.assert_close(logits_of(smaller), before, **CLOSE)
    assert torch.equal(written(smaller), text)

    out = tmp_path / "out"
    save_checkpoint(out, smaller, AutoTokenizer.from_pretrained(folder), open_checkpoint(folder).record)
    assert torch.equal(logits_of(load_checkpoint(out)), logits_of(smaller))
    auto = AutoModelForSeq2SeqLM if family in ENCODER_DECODERS else AutoModelForCausalLM
    plain = auto.from_pretrained(out, trust_remote_code=True).eval()
    assert torch.equal(logits_of(plain), logits_of(smaller))
    assert torch.equal(written(plain), text)
    # GPT-2 and BART have heads of hidden / heads channels, whatever they were trained with.
    assert (out / "modeling_edgelm.py").exists() == (family in ("gpt2", "bart"))


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5"])
def test_a_cut_model_is_narrowed_too(name, tmp_path):
    """Sublayers that are gone leave a bias, and a head of its own is no table."""
    model = load_checkpoint(make_generator(tmp_path / "m", name, layers=3, tied=None if name == "t5" else False))
    layers = model_layers(model)
    layers[0].attention.cut([])
    layers[1].feed_forward.cut([])
    layers[1].attention.cut([0])
    silence(model)
    before, text = logits_of(model), written(model)
    smaller = narrow(model, KEPT)
    torch.testing.assert_close(logits_of(smaller), before, **CLOSE)
    assert torch.equal(written(smaller), text)


def test_tables_that_are_multiplied_by_the_root_of_the_hidden_size_keep_their_length(tmp_path):
    model = load_checkpoint(make_generator(tmp_path / "m", "bart", scale_embedding=True))
    silence(model)
    torch.testing.assert_close(logits_of(narrow(model, KEPT)), logits_of(model), **CLOSE)


def test_sizes_that_a_family_takes():
    class Model:
        def __init__(self, config):
            self.config = config

    from transformers import AutoConfig

    for name in DECODERS:
        config = AutoConfig.for_model(name, num_attention_heads=9, hidden_size=576)
        assert hidden_step(Model(config)) == (9 if name in ("llama", "gpt2", "gemma3_text") else 1)
    with pytest.raises(UnsupportedFamily, match="positions are computed"):
        hidden_step(Model(AutoConfig.for_model("marian")))
