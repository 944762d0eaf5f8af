"""A residual stream in another basis gives the same logits, and what cannot be turned is refused."""

import pytest
import torch
from generators import make_generator
from test_generator_layers import CLOSE, logits_of, written
from transformers import AutoModelForCausalLM, AutoTokenizer

from edgelm.anatomy import load_checkpoint, model_layers, save_checkpoint
from edgelm.anatomy.rotation import turned, with_plain_norms
from edgelm.checkpoint import open_checkpoint
from edgelm.errors import UnsupportedFamily


def basis(size=32):
    return torch.linalg.qr(torch.randn(size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).Q


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
def test_a_turned_stream_gives_the_same_logits(family, tmp_path):
    """Of a model that lacks an attention and a feed-forward network too, which leave a bias."""
    folder = make_generator(tmp_path / "m", family, layers=3)
    model = load_checkpoint(folder)
    model_layers(model)[0].attention.cut([])
    model_layers(model)[1].feed_forward.cut([])
    with torch.no_grad():
        model_layers(model)[0].attention.output.bias.normal_()
    before, text = logits_of(model), written(model)
    plain = with_plain_norms(model)
    other = turned(plain, basis())
    for found in (plain, other):
        torch.testing.assert_close(logits_of(found), before, **CLOSE)
        assert torch.equal(written(found), text)
    assert torch.equal(logits_of(model), before)  # which stays as it was

    checkpoint = open_checkpoint(folder)
    save_checkpoint(tmp_path / "out", other, AutoTokenizer.from_pretrained(folder), checkpoint.record)
    assert torch.equal(logits_of(load_checkpoint(tmp_path / "out")), logits_of(other))
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out", trust_remote_code=True).eval()
    assert torch.equal(logits_of(again), logits_of(other))
    assert again.lm_head.weight is not again.model.embed_tokens.weight


@pytest.mark.parametrize("family", ["gpt2", "gemma3_text", "t5", "bart"])
def test_a_stream_that_cannot_be_turned_is_refused(family, tmp_path):
    with pytest.raises(UnsupportedFamily, match="cannot be turned"):
        with_plain_norms(load_checkpoint(make_generator(tmp_path / "m", family)))
