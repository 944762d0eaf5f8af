"""The rows that a checkpoint gives are those of its samples alone, in their order, however they are read together."""

import numpy as np
import pytest
import torch
from models import make_checkpoint

from edgelm.anatomy import load_checkpoint, load_tokenizer
from edgelm.checkpoint import open_checkpoint
from edgelm.export import samples as module
from edgelm.export.samples import encode, torch_rows

TEXTS = ["a good movie", "bad", "a good movie and a bad one", "good good good", "the movie", "one bad movie"] * 3


@pytest.mark.parametrize("tokens", [1, 10, 1024])
def test_rows_of_a_checkpoint_are_those_of_each_text_alone(tmp_path, tokens, monkeypatch):
    monkeypatch.setattr(module, "_TOKENS", tokens)
    folder = make_checkpoint(tmp_path / "m", "bert", spread=0.5)
    model, tokenizer = load_checkpoint(folder), load_tokenizer(folder)
    found = torch_rows(model, encode(tokenizer, open_checkpoint(folder).task, TEXTS, max_length=16))
    with torch.inference_mode():
        wanted = [model(**tokenizer(text, return_tensors="pt")).logits.numpy() for text in TEXTS]
    np.testing.assert_allclose(found, np.concatenate(wanted), atol=1e-5)  # float32, sums in another order
    assert np.abs(found[0] - found[1]).max() > 1e-3
