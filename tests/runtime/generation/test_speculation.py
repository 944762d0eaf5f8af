"""Speculation writes exactly the tokens of the model alone, and fewer steps do."""

import numpy as np
import pytest
from generator_bundles import load_generator, make_generator_bundle
from generators import SENTENCES

from edgelm.errors import UsageError
from edgelm.runtime import load
from edgelm.runtime.generation.speculation import PromptLookup
from edgelm.tasks.generation import GenerationSettings

NEW, PROMPTS = 24, 40


def prompts_of(generator, seed):
    rng = np.random.default_rng(seed)
    some = [rng.integers(8, generator.reading.decoder.vocabulary - 8, rng.integers(2, 16)) for _ in range(PROMPTS)]
    return [np.tile(ids, rng.integers(1, 4)).tolist() for ids in some]  # parts of them repeat


def settings_of(generator, **values):
    start = generator.settings.decoder_start_id
    return GenerationSettings(max_new_tokens=NEW, decoder_start_id=start, **values)


def partly_right(prompt, written, right):
    """Guesses six tokens at a time, of which so many are those that the model writes."""

    def guess(tokens, most):
        found = written[len(tokens) - len(prompt) :][:6]
        return [*found[:right], *[token + 1 for token in found[right:]]][:most]

    return guess


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma3_text", "t5", "bart"])
@pytest.mark.parametrize(
    "values", [{}, {"repetition_penalty": 1.2, "no_repeat_ngram_size": 4, "min_new_tokens": 5}], ids=["plain", "rules"]
)
def test_lookup_writes_the_tokens_of_the_model_alone(family, values):
    generator = load_generator(family)
    drafted = accepted = 0
    first, *_ = generator.write([prompts_of(generator, 0)[0]], settings_of(generator))
    settings = settings_of(generator, eos_ids=tuple(first.written[9:10]) if values else (), **values)
    for prompt in prompts_of(generator, 0):
        (alone,) = generator.write([prompt], settings)
        (row,) = generator.write([prompt], settings, draft=PromptLookup(longest=2, shortest=1))
        assert (row.written, row.finish) == (alone.written, alone.finish)
        drafted, accepted = drafted + row.drafted, accepted + row.accepted
    assert drafted >= accepted >= 0
    assert drafted > 0


@pytest.mark.parametrize("right", [0, 1, 3, 6])
def test_guesses_that_are_partly_right_change_nothing_and_are_counted(right):
    generator = load_generator("llama")
    for prompt in prompts_of(generator, 1)[:8]:
        settings = settings_of(generator)
        (alone,) = generator.write([prompt], settings)
        (row,) = generator.write([prompt], settings, draft=partly_right(prompt, alone.written, right))
        assert row.written == alone.written
        assert (row.accepted > 0) == (right > 0)
        if right == 6:
            assert row.accepted == row.drafted


def test_a_draft_model_writes_the_tokens_of_the_model_alone(tmp_path):
    large = load_generator("llama")
    small = load(make_generator_bundle(tmp_path / "small", "llama", layers=1, seed=3, settings={"eos_ids": ()}))
    for prompt in prompts_of(large, 2):
        (alone,) = large.write([prompt], settings_of(large))
        (row,) = large.write([prompt], settings_of(large), draft=small)
        assert row.written == alone.written
        assert row.drafted > 0
    text = SENTENCES[0]
    assert small(text, max_new_tokens=5)["tokens"] == 5  # and goes on by itself


def test_a_draft_that_is_the_model_is_always_right(tmp_path):
    large = load_generator("llama")
    same = load(make_generator_bundle(tmp_path / "same", "llama", settings={"eos_ids": ()}), threads=1)
    answer = large(SENTENCES[0], max_new_tokens=20, draft=same)
    assert answer["drafted"] == answer["accepted"] == 15  # each step of five tokens gives one of its own besides
    assert answer["text"] == large(SENTENCES[0], max_new_tokens=20)["text"]


def test_a_draft_of_another_vocabulary_is_refused():
    llama, gpt2 = load_generator("llama"), load_generator("gpt2")
    for draft in (gpt2, llama, load_generator("t5")):
        with pytest.raises(UsageError, match="draft"):
            llama(SENTENCES[0], draft=draft)


@pytest.mark.parametrize(
    ("tokens", "most", "source", "guess"),
    [
        ([1, 2, 3, 4, 5, 1, 2, 3], 6, (), [4, 5, 1, 2, 3]),
        ([1, 2, 3, 4, 5, 1, 2, 3], 2, (), [4, 5]),
        ([9, 2, 3, 7, 1, 2, 3, 8, 0, 2, 3], 1, (), [8]),  # the newest
        ([5, 6, 7], 6, (), []),
        ([5, 6], 3, (5, 6, 7, 8), [7, 8, 5]),  # the source comes first
        ([1], 6, (1, 1, 1), []),
        ([1, 2, 1, 2], 0, (), []),
    ],
)
def test_lookup_guesses_what_followed_before(tokens, most, source, guess):
    assert PromptLookup(source=source)(np.array(tokens), most) == guess


def test_wrong_guesses_make_the_next_ones_shorter_and_right_ones_longer():
    lookup, seen = PromptLookup(most=6), [1, 2, 3, 4, 5, 6, 7, 8]
    first = lookup(np.array([*seen, 1, 2]), 6)
    assert first == [3, 4, 5, 6, 7, 8]
    second = lookup(np.array([*seen, 1, 2, 3, 9, 1, 2]), 6)  # one was right
    assert second == [3, 9]
    third = lookup(np.array([*seen, 1, 2, 3, 9, 1, 2, 3, 9, 5, 1, 2]), 6)  # both were
    assert third == [3, 9, 5, 1]
