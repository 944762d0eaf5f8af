"""Texts read by edgelm-native have the ids of the tokenizers library, or are left to it."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from read_texts import HARD, KINDS, bert, library_ids, make_both, random_texts, roberta, settings_of
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

from edgelm.bundles.native_tokenizer import UnknownTokenizer, compile_tokenizer

CUTS = ({}, {"max_length": 9}, {"max_length": 8, "truncation_side": "left"}, {"split_special": True})


def compare(native, both, texts, pairs=None) -> int:
    """Compare all texts; how many were left to the tokenizers library."""
    mine, theirs, setting = both
    left = 0
    for text, pair in zip(texts, pairs or [None] * len(texts), strict=True):
        try:
            found = mine(text, pair)
        except native.UnknownText:
            left += 1
            continue
        assert found.tolist() == library_ids(theirs, setting, text, pair), (text, pair)
    return left


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_those_of_the_tokenizers_library(native, kind):
    for seed, cut in enumerate(CUTS):
        texts = [*HARD, *random_texts(150, seed=seed)]
        both = make_both(native, kind, **cut)
        left = compare(native, both, texts)
        pairs = texts[::-1]
        left += compare(native, both, texts, pairs)
        assert left < len(texts) * (1.2 if kind == "modernbert" else 0.5)  # NFC changes most of these texts


def test_ids_of_texts_that_anybody_can_read(native):
    """The tokens, where they are known beforehand."""
    tokenizer = bert()
    read = native.Tokenizer(compile_tokenizer(tokenizer, settings_of(max_length=8)))

    def tokens(*texts):
        return [tokenizer.id_to_token(number) for number in read(*texts)[0]]

    assert tokens("Turn the lights ON!") == ["[CLS]", "turn", "the", "light", "##s", "on", "!", "[SEP]"]
    assert tokens("unbelievable\tCAF\u00c9") == ["[CLS]", "un", "##believ", "##able", "cafe", "[SEP]"]
    assert tokens("the " * 20) == ["[CLS]", *["the"] * 6, "[SEP]"]
    assert tokens("on " * 9, "the") == ["[CLS]", *["on"] * 4, "[SEP]", "the", "[SEP]"]
    assert read("on", "the")[1].tolist() == [0, 0, 0, 1, 1]
    assert tokens("") == ["[CLS]", "[SEP]"]
    assert read("on").dtype == np.int64
    assert (read.longest, read.pad_id, read.pad_type) == (8, 0, 0)


@pytest.mark.parametrize("kind", ["bert", "bert as it is", "bert with words", "roberta with a space", "modernbert"])
def test_any_text_has_the_same_ids_or_none(native, kind):
    both = make_both(native, kind, max_length=20)

    @settings(max_examples=100, deadline=None, database=None)
    @given(st.text(max_size=60), st.none() | st.text(max_size=30))
    def check(text, pair):
        compare(native, both, [text], [pair])

    check()


@pytest.mark.parametrize("step", [61, pytest.param(1, marks=pytest.mark.slow)])
def test_every_character_has_the_same_ids_or_none(native, step):
    """Beside letters, numbers and signs, where its kind shows; few that Python's Unicode knows are left out."""
    characters = [chr(code) for code in range(0, 0x110000, step) if not 0xD800 <= code < 0xE000]
    for kind in ("bert", "bert with accents", "bert as it is", "roberta"):
        both = make_both(native, kind)
        texts = [f"a{each}a 1{each}!{each}B {each} {each}" for each in characters]
        left = compare(native, both, texts)
        assigned = sum(each.isprintable() or each.isspace() for each in characters)
        assert len(characters) - left > 0.99 * assigned


def test_threads_share_a_tokenizer(native):
    mine, *_ = make_both(native, "bert")
    texts = list(random_texts(60, seed=9))
    expected = {}
    for text in texts:
        try:
            expected[text] = mine(text).tolist()
        except native.UnknownText:
            expected[text] = None
    wrong = []

    def read():
        for text in texts * 5:
            try:
                found = mine(text).tolist()
            except native.UnknownText:
                found = None
            if found != expected[text]:
                wrong.append(text)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_half_of_a_surrogate_pair_is_no_text(native):
    mine, *_ = make_both(native, "bert")
    with pytest.raises(UnicodeEncodeError):
        mine("\ud800")


def changed(**parts) -> Tokenizer:
    """BERT's tokenizer with other parts."""
    made = bert()
    for name, part in parts.items():
        setattr(made, name, part)
    return made


def added(**settings) -> Tokenizer:
    made = bert()
    made.add_tokens([AddedToken("word", **settings)])
    return made


@pytest.mark.parametrize(
    ("tokenizer", "reason"),
    [
        (changed(normalizer=normalizers.Lowercase()), "the normalizer Lowercase"),
        (changed(normalizer=normalizers.Sequence([normalizers.NFC(), normalizers.BertNormalizer()])), "NFC, Bert"),
        (changed(pre_tokenizer=pre_tokenizers.Whitespace()), "WordPiece behind Whitespace"),
        (changed(pre_tokenizer=None), "behind no pre-tokenizer"),
        (changed(model=models.Unigram([("a", 0.0)], unk_id=0)), "the model Unigram"),
        (changed(model=models.WordPiece({"a": 0}, unk_token="[UNK]")), r"has no \[UNK\]"),
        (changed(post_processor=processors.TemplateProcessing("$A $A", "$A $B", [])), "without its texts"),
        (added(single_word=True), "'word', which is found between words alone"),
        (Tokenizer(models.BPE({"a": 0}, [])), "the model BPE behind no pre-tokenizer"),
    ],
)
def test_what_it_does_not_know_is_refused_with_the_reason(tokenizer, reason):
    with pytest.raises(UnknownTokenizer, match=reason):
        compile_tokenizer(tokenizer, settings_of())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"dropout": 0.1}, "dropout"),
        ({"end_of_word_suffix": "</w>"}, "a suffix"),
        ({"byte_fallback": True}, "tokens of bytes"),
    ],
)
def test_byte_pairs_of_another_kind_are_refused(change, reason):
    tokenizer = roberta()
    for name, value in change.items():
        setattr(tokenizer.model, name, value)
    with pytest.raises(UnknownTokenizer, match=reason):
        compile_tokenizer(tokenizer, settings_of())


def test_no_room_for_a_text_is_refused():
    with pytest.raises(UnknownTokenizer, match="no text fits into 3 tokens"):
        compile_tokenizer(bert(), settings_of(max_length=3))


@pytest.mark.parametrize("kind", ["bert with words", "roberta"])
def test_damaged_files_are_refused_or_read(native, kind):
    """Cut off anywhere, or with any byte changed: an error by its code, or a tokenizer that reads every text."""
    file = compile_tokenizer(KINDS[kind](), settings_of(max_length=40))
    for end in [*range(200), *range(200, len(file), 31)]:
        with pytest.raises(native.NativeError, match=r"damaged|newer"):
            native.Tokenizer(file[:end])
    with pytest.raises(native.NativeError, match="follows its end"):
        native.Tokenizer(file + b"\0")
    with pytest.raises(native.NativeError, match="newer edgelm"):
        native.Tokenizer(file.replace(b"edgelm-tokenizer 1", b"edgelm-tokenizer 2"))
    random, refused = np.random.default_rng(1), 0
    for _ in range(600):
        bad = bytearray(file)
        for _ in range(random.integers(1, 4)):
            place = random.integers(19, 120 if random.random() < 0.5 else len(bad))  # most numbers come first
            bad[place] = random.integers(256)
        try:
            read = native.Tokenizer(bytes(bad))
        except native.NativeError:
            refused += 1
            continue
        for text in ("Turn the lights on! [MASK] extra \u00c9\u6f22", "in ther  1!"):
            assert read(text, "the other").shape[1] <= read.longest
    assert refused > 50
