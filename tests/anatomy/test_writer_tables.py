"""Rows of tokens taken out of models that write: the logits of those that are left are the same numbers."""

import pytest
import torch
from generators import GENERATORS, make_generator
from transformers import AutoConfig, AutoModelForSeq2SeqLM

from edgelm.anatomy import cut_tokens, fixed_tokens, load_checkpoint
from edgelm.errors import ModelError


def logits(model, ids):
    """Of a text, or of the same ids as source and as what was written."""
    given = {"input_ids": ids} if not model.config.is_encoder_decoder else {"input_ids": ids, "decoder_input_ids": ids}
    with torch.no_grad():
        return model(**given).logits


@pytest.mark.parametrize("family", GENERATORS)
def test_kept_tokens_have_the_logits_that_they_had(tmp_path, family):
    model = load_checkpoint(make_generator(tmp_path / "m", family))
    kept = sorted({*range(0, model.config.vocab_size, 3), *fixed_tokens(model)})
    smaller = cut_tokens(model, kept)
    ids = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6], [5, 3, 5, 8, 9, 7, 9, 3]])
    before = logits(model, torch.tensor(kept)[ids])[..., torch.tensor(kept)]
    # The same products of the same numbers; a matrix of another height may be multiplied in blocks of another size.
    torch.testing.assert_close(logits(smaller, ids), before, rtol=0, atol=1e-6)
    assert smaller.config.vocab_size == len(kept) == len(smaller.get_output_embeddings().weight)
    assert model.config.vocab_size > len(kept)
    tied = [one.get_output_embeddings().weight is one.get_input_embeddings().weight for one in (model, smaller)]
    assert tied[0] == tied[1]
    rows = sum(parameter.numel() for parameter in smaller.parameters())
    assert rows < sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("family", ["llama", "t5", "marian"])
def test_ids_in_settings_follow_their_tokens(tmp_path, family):
    model = load_checkpoint(make_generator(tmp_path / "m", family))
    model.config.task_specific_params = {"one": {"forced_bos_token_id": 8, "num_beams": 4}}
    model.generation_config.suppress_tokens = [9, 30]
    assert {8, 9, 30} <= fixed_tokens(model)
    kept = sorted({7, 11, 9, *fixed_tokens(model)} - {30})
    smaller = cut_tokens(model, kept)
    for old, new in ((model.config, smaller.config), (model.generation_config, smaller.generation_config)):
        for name in ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "forced_eos_token_id"):
            token = getattr(old, name, None)
            assert getattr(new, name, None) == (None if token is None else kept.index(token))
    assert smaller.config.task_specific_params == {"one": {"forced_bos_token_id": kept.index(8), "num_beams": 4}}
    assert smaller.generation_config.suppress_tokens == [kept.index(9)]
    if family == "marian":
        assert smaller.generation_config.bad_words_ids == [[kept.index(model.config.pad_token_id)]]
        assert smaller.config.decoder_vocab_size == len(kept)
    assert model.config.task_specific_params["one"]["forced_bos_token_id"] == 8


def test_rows_beyond_the_tokenizer_go_as_well(tmp_path):
    model = load_checkpoint(make_generator(tmp_path / "m", "t5"))
    count = model.config.vocab_size
    model.resize_token_embeddings(count + 28, mean_resizing=False)
    assert cut_tokens(model, range(count)).config.vocab_size == count


def test_two_vocabularies_in_one_model_are_refused():
    shape = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "pad_token_id": 0, "decoder_start_token_id": 0}
    own = {"vocab_size": 20, "decoder_vocab_size": 30, "share_encoder_decoder_embeddings": False}
    model = AutoModelForSeq2SeqLM.from_config(AutoConfig.for_model("marian", **shape, **heads, **own))
    with pytest.raises(ModelError, match="20 and 30 tokens"):
        cut_tokens(model, range(10))
