"""The tokens for a mask are those of transformers' fill-mask pipeline."""

import json

import pytest
import torch
from models import TEXTS, make_tokenizer
from torch_sessions import make_model
from transformers import BertConfig, BertForMaskedLM, pipeline

from edgelm.cli.answers import say
from edgelm.errors import BundleError, DataError
from edgelm.tasks.text import FillMask

ONE = "turn the [MASK] lights on"
TWO = "what a [MASK] and moving [MASK] this is"


@pytest.fixture(scope="module")
def made():
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = BertConfig(vocab_size=len(tokenizer), initializer_range=0.4, **sizes)
    return BertForMaskedLM(config).eval(), tokenizer


def test_tokens_and_scores_are_the_pipelines_alone_and_in_a_batch(made):
    model, tokenizer = made
    bundle = make_model(model, tokenizer, FillMask())
    pipe = pipeline("fill-mask", model=model, tokenizer=tokenizer, device="cpu", top_k=5)
    for text, together in zip((ONE, TWO), bundle([ONE, TWO]), strict=True):
        found = pipe(text)
        wanted = [found] if isinstance(found[0], dict) else found  # of one mask the pipeline gives its tokens alone
        for answer in (bundle(text), together):
            assert len(answer["masks"]) == len(wanted) == text.count("[MASK]")
            for mask, entries in zip(answer["masks"], wanted, strict=True):
                assert text[mask["start"] : mask["end"]] == "[MASK]"
                assert [entry["id"] for entry in mask["tokens"]] == [entry["token"] for entry in entries]
                assert [entry["token"] for entry in mask["tokens"]] == [entry["token_str"] for entry in entries]
                # shares of FP32 against FP64
                scores = [entry["score"] for entry in entries]
                assert [entry["score"] for entry in mask["tokens"]] == pytest.approx(scores, abs=1e-5)
            assert json.loads(json.dumps(answer)) == answer


def test_a_bundle_names_as_many_tokens_as_its_task_says_and_the_screen_as_many_as_are_asked_for(made):
    answer = make_model(*made, FillMask(top=3))(TWO)
    assert [len(mask["tokens"]) for mask in answer["masks"]] == [3, 3]
    assert say(answer, 1).count(" | ") == 1


def test_a_text_without_a_mask_is_refused_with_the_masks_name(made):
    with pytest.raises(DataError, match="no mask to fill in") as refusal:
        make_model(*made, FillMask())(TEXTS[0])
    assert "[MASK]" in refusal.value.hint


def test_a_mask_that_the_tokenizer_does_not_know_is_refused(made):
    with pytest.raises(BundleError, match="<nothing>"):
        make_model(*made, FillMask("<nothing>"))(ONE)
