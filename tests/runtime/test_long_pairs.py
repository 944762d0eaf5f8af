"""Pairs of texts longer than a model reads: cut as the tokenizers library cuts them, without all that it keeps."""

import functools
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from models import TEXTS, make_tokenizer

from edgelm.data.encoding import encode_samples
from edgelm.runtime.inputs.pairs import cut_pair
from edgelm.tasks.text import MultipleChoice, TextClassification

FAMILIES = ("bert", "roberta", "xlm-roberta", "mpnet")  # WordPiece, byte-level, Unigram, two separators
WORDS = [*" ".join(TEXTS).split(), "[SEP]", "</s>", "\N{GRINNING FACE}", "zzz", "\u4eca"]
TEXT = st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join)


@functools.cache
def tokenizer_of(family):
    return make_tokenizer(family).backend_tokenizer


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("family", FAMILIES)
def test_pairs_are_cut_as_the_tokenizers_library_cuts_them(family, side):
    tokenizer = tokenizer_of(family)

    @settings(max_examples=30, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(TEXT, TEXT, st.integers(8, 40))
    def check(first, second, longest):
        tokenizer.no_truncation()
        found = cut_pair(tokenizer.encode(first, second), longest=longest, from_left=side == "right")
        tokenizer.enable_truncation(longest, direction=side)
        wanted = tokenizer.encode(first, second)
        for name in (
            "ids",
            "type_ids",
            "attention_mask",
            "sequence_ids",
        ):  # what a graph reads, and which text it is of
            assert getattr(found, name) == getattr(wanted, name)

    check()


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("family", FAMILIES)
def test_training_and_export_read_long_pairs_as_transformers_does(family, side):
    tokenizer = make_tokenizer(family)
    tokenizer.truncation_side = side
    pairs = [(" ".join(TEXTS * 2), " ".join(TEXTS * 3)), (TEXTS[0], TEXTS[1])]  # the first beyond what is left to it
    encoded = encode_samples(pairs, tokenizer, TextClassification(("a", "b"), pair=True), max_length=16)
    wanted = tokenizer(pairs, truncation=True, max_length=16)
    assert encoded.columns == {name: wanted[name] for name in tokenizer.model_input_names}
    choices = encode_samples([(pairs[0][0], (pairs[0][1], TEXTS[2]))], tokenizer, MultipleChoice(2), max_length=16)
    wanted = tokenizer([pairs[0], (pairs[0][0], TEXTS[2])], truncation=True, max_length=16)
    assert choices.columns == {name: wanted[name] for name in tokenizer.model_input_names}


def test_two_very_long_texts_take_little_memory(tmp_path):
    """In a process of its own; the tokenizers library would keep some 900,000 windows of 32 tokens."""
    make_tokenizer().backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "words.txt").write_text((" ".join(TEXTS) + " ") * 250)
    code = """
import pathlib, resource, sys
from tokenizers import Tokenizer
from edgelm.runtime.inputs.pairs import cut_pair
folder = pathlib.Path(sys.argv[1])
tokenizer, words = Tokenizer.from_file(str(folder / "tokenizer.json")), (folder / "words.txt").read_text()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert len(cut_pair(tokenizer.encode(words, words), longest=32)) == 32
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    words = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    assert int(done.stdout) < 500  # MB
