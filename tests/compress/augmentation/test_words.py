"""Words are found where a tokenizer sees them, and texts keep what lies between them."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from models import TEXTS, make_tokenizer

from edgelm.compress.augmentation.words import plain, split_words

TOKENIZERS = ["bert", "roberta"]


@pytest.mark.parametrize("family", TOKENIZERS)
def test_punctuation_belongs_to_no_word(family):
    words = split_words(["a dull,  lifeless movie!", "?", ""], make_tokenizer(family))
    assert [words[0][index] for index in range(len(words[0]))] == ["a", "dull", "lifeless", "movie"]
    assert [len(found) for found in words] == [4, 0, 0]
    assert words[0].with_words(["the", "dull", None, "film"]) == "the dull, film!"


@pytest.mark.parametrize("family", TOKENIZERS)
@given(text=st.text(alphabet=st.sampled_from("abYZ 09.,!?-\t'"), max_size=40) | st.sampled_from(TEXTS))
def test_a_text_with_its_own_words_is_itself(family, text):
    (words,) = split_words([text], make_tokenizer(family))
    own = [words[index] for index in range(len(words))]
    assert words.with_words(own) == plain(text)
    assert all(word[0].isalnum() and word[-1].isalnum() for word in own)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(words.spans))
