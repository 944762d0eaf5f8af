"""Tokens are those of transformers' generate: greedy and beam search, and what is drawn follows the probabilities."""

import numpy as np
import pytest
import torch
from generator_bundles import load_generator, make_model
from generators import ENCODER_DECODERS

from edgelm.runtime.generation.rows import Row
from edgelm.runtime.generation.strategies import make_chooser
from edgelm.tasks.generation import GenerationSettings

NEW, PROMPTS = 10, 50
FAMILIES = ("gpt2", "llama", "gemma3_text", "t5", "bart", "marian")


def prompts_of(family, seed, count=PROMPTS):
    """Prompts of unlike lengths, without special tokens."""
    model, _ = make_model(family)
    rng = np.random.default_rng(seed)
    return [rng.integers(8, model.config.vocab_size - 8, rng.integers(2, 12)).tolist() for _ in range(count)]


def reference(family, prompts, **values):
    """What transformers writes for prompts at once, padded on the side that its models want."""
    from transformers import GenerationConfig

    model, _ = make_model(family)
    own, pad = model.generation_config, model.config.vocab_size - 1
    longest = max(map(len, prompts))
    right = family in ENCODER_DECODERS
    fill = [[pad] * (longest - len(prompt)) for prompt in prompts]
    ids = [prompt + some if right else some + prompt for prompt, some in zip(prompts, fill, strict=True)]
    mask = [[0] * len(some) + [1] * len(prompt) for prompt, some in zip(prompts, fill, strict=True)]
    mask = [row[::-1] for row in mask] if right else mask
    start = own.decoder_start_token_id
    config = GenerationConfig(max_new_tokens=NEW, decoder_start_token_id=start, pad_token_id=-1, **values)
    model.generation_config = GenerationConfig(decoder_start_token_id=start)
    with torch.no_grad():
        found = model.generate(torch.tensor(ids), attention_mask=torch.tensor(mask), generation_config=config)
    model.generation_config = own
    begin = 1 if right else longest
    return [[token for token in row[begin:] if token >= 0] for row in found.tolist()]


def written(family, prompts, **values):
    start = load_generator(family).settings.decoder_start_id
    settings = GenerationSettings(max_new_tokens=NEW, decoder_start_id=start, **values)
    return load_generator(family).write(prompts, settings)


def end_ids(family, prompts):
    """End tokens that these prompts really reach: what greedy writes fifth."""
    return sorted({row[4] for row in reference(family, prompts[:2])})


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_tokens_of_ragged_prompts_are_transformers(family):
    prompts = prompts_of(family, 0)
    rows = written(family, prompts)
    assert [row.written for row in rows] == reference(family, prompts)
    assert {row.finish for row in rows} == {"length"}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "values",
    [
        {"repetition_penalty": 1.4, "no_repeat_ngram_size": 2},
        {"min_new_tokens": 6},
        {"forced_end": True},
    ],
    ids=["penalties", "at least six", "forced end"],
)
def test_greedy_tokens_end_and_change_as_transformers(family, values):
    prompts = prompts_of(family, 1, 16)
    ends, values = end_ids(family, prompts), dict(values)
    forced = ends[0] if values.pop("forced_end", False) else None
    rows = [written(family, [prompt], eos_ids=tuple(ends), forced_eos_id=forced, **values)[0] for prompt in prompts]
    for row, prompt in zip(rows, prompts, strict=True):  # penalties of transformers count padding
        (wanted,) = reference(family, [prompt], eos_token_id=ends, forced_eos_token_id=forced, **values)
        assert row.written == wanted
        assert row.finish == ("stop" if row.last in ends else "length")


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_that_end_earlier_leave_the_others_as_they_are(family):
    prompts = prompts_of(family, 2, 16)
    ends = tuple(end_ids(family, prompts))
    assert [row.written for row in written(family, prompts, eos_ids=ends)] == [
        written(family, [prompt], eos_ids=ends)[0].written for prompt in prompts
    ]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("beams", "early", "penalty"), [(4, False, 1.0), (4, True, 1.0), (2, False, 2.0), (3, False, -0.5)]
)
def test_beam_search_is_transformers(family, beams, early, penalty):
    prompts = prompts_of(family, beams)
    ends = end_ids(family, prompts)
    values = {"num_beams": beams, "early_stopping": early, "length_penalty": penalty}
    rows = written(family, prompts, eos_ids=tuple(ends), **values)
    assert [row.written for row in rows] == reference(family, prompts, eos_token_id=ends, do_sample=False, **values)


@pytest.mark.parametrize("family", FAMILIES)
def test_beam_search_changes_logits_as_transformers(family):
    prompts = prompts_of(family, 9, 12)
    ends = end_ids(family, prompts)
    values = {"num_beams": 3, "repetition_penalty": 1.3, "no_repeat_ngram_size": 2, "min_new_tokens": 5}
    rows = written(family, prompts, eos_ids=tuple(ends), forced_eos_id=ends[0], bad_ids=(3, 9), **values)
    others = {"forced_eos_token_id": ends[0], "bad_words_ids": [[3], [9]], "do_sample": False}
    for row, prompt in zip(rows, prompts, strict=True):
        assert [row.written] == reference(family, [prompt], eos_token_id=ends, **others, **values)


def test_a_seed_draws_the_same_again_whoever_is_beside():
    prompts = prompts_of("llama", 3, 3)
    values = {"do_sample": True, "temperature": 1.5}
    first, again = written("llama", prompts, seed=5, **values), written("llama", prompts, seed=5, **values)
    assert [row.written for row in first] == [row.written for row in again]
    assert written("llama", prompts[:1], seed=5, **values)[0].written == first[0].written
    assert [row.written for row in written("llama", prompts, seed=6, **values)] != [row.written for row in first]


def test_tokens_are_drawn_by_their_probabilities():
    logits = np.log(np.array([0.5, 0.3, 0.2, 1e-9], dtype=np.float32))
    choose, row = make_chooser(GenerationSettings(do_sample=True)), Row(0, [0], most=1, seed=1)
    counts = np.bincount([choose(row, logits) for _ in range(20_000)], minlength=4) / 20_000
    # Three standard deviations of a share among 20,000 draws: 3 * sqrt(0.25 / 20000) = 0.011
    np.testing.assert_allclose(counts, [0.5, 0.3, 0.2, 0], atol=0.011)


def test_of_one_possible_token_nothing_is_left_to_chance():
    choose = make_chooser(GenerationSettings(do_sample=True, top_k=1))
    assert choose(Row(0, [0], most=1, seed=1), np.array([0.1, 3.0, 2.0], np.float32)) == 1
