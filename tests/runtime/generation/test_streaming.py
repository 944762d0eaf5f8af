"""Pieces of text are whole characters, together the whole text, and nothing of a stop string."""

import pytest
from generators import SENTENCES
from hypothesis import given, settings
from hypothesis import strategies as st
from small_generator_tokenizers import generator_tokenizer

from edgelm.runtime.generation.streaming import TextStream

KINDS = ("gpt2", "mistral", "t5")  # bytes; a mark for a blank, and bytes for unknown characters; Unigram
TOKENIZERS = {kind: generator_tokenizer(kind, SENTENCES).backend_tokenizer for kind in KINDS}


def pieces(tokenizer, ids, **options):
    stream, found = TextStream(tokenizer, **options), []
    for token in ids:
        found.append(stream.push(token))
        if stream.stopped:
            return found
    return [*found, stream.finish()]


@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
@settings(deadline=None, max_examples=80)
def test_pieces_of_any_tokens_are_the_text_of_all(kind, data):
    tokenizer = TOKENIZERS[kind]
    ids = data.draw(st.lists(st.integers(0, tokenizer.get_vocab_size() - 1), max_size=30))
    text = tokenizer.decode(ids)
    # A run of bytes that has one wrong one is wrong as a whole where bytes stand in for unknown characters: what was
    # said of its beginning stays said.
    if kind != "mistral" or "\ufffd" not in text:
        assert "".join(pieces(tokenizer, ids)) == text


@pytest.mark.parametrize("kind", KINDS)
@given(st.text(max_size=30))
@settings(deadline=None, max_examples=80)
def test_no_piece_of_a_text_has_half_a_character(kind, text):
    tokenizer = TOKENIZERS[kind]
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    found = pieces(tokenizer, ids)
    assert "".join(found) == tokenizer.decode(ids)
    if "\ufffd" not in tokenizer.decode(ids):
        assert not any("\ufffd" in piece for piece in found)


def test_a_character_of_four_tokens_comes_whole():
    tokenizer = TOKENIZERS["gpt2"]
    ids = tokenizer.encode("a🙂b").ids
    assert [piece for piece in pieces(tokenizer, ids) if piece] == ["a", "🙂", "b"]


def test_what_is_no_character_comes_at_the_end():
    tokenizer = TOKENIZERS["gpt2"]
    ids = tokenizer.encode("🙂").ids[:2]
    found = pieces(tokenizer, ids)
    assert found[:-1] == ["", ""]
    assert found[-1].strip("\ufffd") == ""


def test_the_first_token_keeps_the_blank_between_it_and_the_prompt():
    tokenizer = TOKENIZERS["mistral"]
    prompt, new = (tokenizer.encode(text, add_special_tokens=False).ids for text in ("turn the", "kitchen lights"))
    assert "".join(pieces(tokenizer, new, prompt=prompt)) == " kitchen lights"
    assert "".join(pieces(tokenizer, new)) == "kitchen lights"


@given(st.text("ab<|>end ", max_size=40), st.lists(st.text("ab<|>end ", min_size=1, max_size=6), max_size=3))
@settings(deadline=None, max_examples=200)
def test_nothing_of_a_stop_string_is_said(text, stops):
    tokenizer = TOKENIZERS["gpt2"]
    found = pieces(tokenizer, tokenizer.encode(text).ids, stop=stops)
    places = [text.find(stop) for stop in stops if stop in text]
    said = "".join(found)
    # A stop string ends the text where it is first seen whole; one that began before it may end behind it.
    ends = {text.find(stop) + len(stop): text.find(stop) for stop in stops if stop in text}
    assert said == (text if not places else text[: ends[min(ends)]]) or said == text[: min(places)]
    assert not any(stop in said for stop in stops)


@pytest.mark.parametrize("stop", ["<|end|>", "d|>x", " b"])
def test_a_stop_string_across_tokens_is_cut_off(stop):
    tokenizer = TOKENIZERS["gpt2"]
    text = f"one two{stop}three"
    found = pieces(tokenizer, tokenizer.encode(text).ids, stop=[stop])
    assert "".join(found) == "one two"


def test_what_only_began_like_a_stop_string_is_said_later():
    tokenizer = TOKENIZERS["gpt2"]
    found = pieces(tokenizer, tokenizer.encode("a<|b<|").ids, stop=["<|end|>"])
    assert found[1] == found[2] == ""
    assert "".join(found) == "a<|b<|"
