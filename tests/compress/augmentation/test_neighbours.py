"""Whole words of a vocabulary, and which of them lie near each other."""

import pytest
import torch
from models import ANATOMIES, make_checkpoint

from edgelm.anatomy import load_checkpoint, load_tokenizer
from edgelm.compress.augmentation.neighbours import WholeWords


def whole_words(folder, family="bert"):
    make_checkpoint(folder, family)
    return WholeWords(load_checkpoint(folder), load_tokenizer(folder))


@pytest.mark.parametrize("family", ANATOMIES)
def test_only_pieces_that_are_words_count(tmp_path, family):
    whole = whole_words(tmp_path / "m", family)
    assert {"movie", "kitchen", "quick"} <= set(whole.words)
    assert not any("#" in word or "[" in word or "<" in word or "\u0120" in word for word in whole.words)
    assert whole.single(["movie", "moviekitchen", "battery"]) == ["movie", "battery"]
    for index, word in zip(whole.ids.tolist(), whole.words, strict=True):
        assert whole.tokenizer.decode([index]).strip() == word


def test_neighbours_are_the_nearest_by_cosine(tmp_path):
    whole = whole_words(tmp_path / "m")
    found = whole.neighbours(["movie", "film"], 5)
    matrix = whole.embeddings
    for word in ("movie", "film"):
        own = matrix[whole.tokenizer.convert_tokens_to_ids(word)]
        cosines = {
            other: torch.nn.functional.cosine_similarity(own, matrix[index], dim=0).item()
            for index, other in zip(whole.ids.tolist(), whole.words, strict=True)
            if other != word
        }
        assert found[word] == sorted(cosines, key=cosines.get, reverse=True)[:5]


def test_a_word_of_several_pieces_lies_in_their_middle(tmp_path):
    whole = whole_words(tmp_path / "m")
    pieces = whole.pieces(["zq"])[0]
    assert len(pieces) == 2
    middle = whole.embeddings[pieces].mean(dim=0)
    cosines = torch.nn.functional.cosine_similarity(middle[None], whole.embeddings[whole.ids])
    assert whole.neighbours(["zq"], 1)["zq"] == [whole.words[int(cosines.argmax())]]
