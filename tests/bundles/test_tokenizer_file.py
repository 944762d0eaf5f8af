"""A bundle's tokenizer.json: whatever form it has, it is the same tokenizer."""

from __future__ import annotations

import json

import pytest
from tokenizers import Tokenizer, models

from edgelm.bundles.tokenizer_file import tokenizer_json
from tests.small_generator_tokenizers import generator_tokenizer

TEXTS = ["the river ran high that spring", "nobody watched it rise"]


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "t5", "bart"])
def test_what_is_written_is_the_same_tokenizer(family):
    made = generator_tokenizer(family, TEXTS).backend_tokenizer

    read = Tokenizer.from_str(tokenizer_json(made))

    assert read.to_str() == made.to_str()
    assert [read.encode(text).ids for text in TEXTS] == [made.encode(text).ids for text in TEXTS]


def test_merges_are_written_in_the_form_that_is_read_faster():
    made = generator_tokenizer("llama", TEXTS).backend_tokenizer

    merges = json.loads(tokenizer_json(made))["model"]["merges"]

    assert merges and all(isinstance(merge, str) for merge in merges)


@pytest.mark.parametrize("left", ["a b", "#version"])
def test_merges_that_a_space_cannot_separate_stay_pairs(left):
    made = Tokenizer(models.BPE(vocab={left: 0, "c": 1, f"{left}c": 2}, merges=[(left, "c")]))

    text = tokenizer_json(made)

    assert json.loads(text)["model"]["merges"] == [[left, "c"]]
    assert Tokenizer.from_str(text).to_str() == made.to_str()
