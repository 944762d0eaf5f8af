"""Tokens are those of transformers' generate, whatever reads the prompts."""

import dataclasses

import numpy as np
import pytest
import torch
from generators import make_generator

from edgelm.runtime.generation.beams import search_beams
from edgelm.runtime.generation.rows import Row
from edgelm.runtime.generation.strategies import write_tokens
from edgelm.tasks.generation import GenerationSettings

NEW = 12


class TorchSteps:
    """A decoder that reads every row anew at each step, by the model in PyTorch."""

    def __init__(self, model, prompts, sources=None):
        self.model, self.rows = model, [[] for _ in prompts]
        self.sources = sources

    def step(self, ids, *, wanted=None):
        self.rows = [row + new.tolist() for row, new in zip(self.rows, ids, strict=True)]
        found = []
        with torch.no_grad():
            for at, row in enumerate(self.rows):
                fed = {"input_ids": torch.tensor([row])}
                if self.sources is not None:
                    fed = {"input_ids": torch.tensor([self.sources[at]]), "decoder_input_ids": torch.tensor([row])}
                found.append(self.model(**fed).logits[0, -1:].numpy())
        return np.stack(found)

    def reorder(self, rows):
        self.rows = [list(self.rows[at]) for at in rows]
        if self.sources is not None:
            self.sources = [self.sources[at] for at in rows]


@pytest.fixture(scope="module", params=["gpt2", "llama", "t5", "marian"])
def generator(request, tmp_path_factory):
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    folder = make_generator(tmp_path_factory.mktemp(request.param) / "model", request.param)
    auto = AutoModelForSeq2SeqLM if request.param in ("t5", "marian") else AutoModelForCausalLM
    return auto.from_pretrained(folder).eval()


def prompts_of(model, count, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(5, model.config.vocab_size - 5, rng.integers(3, 8)).tolist() for _ in range(count)]


def settings_of(model, **values):
    return GenerationSettings(max_new_tokens=NEW, **values)


def written(model, prompts, settings):
    if model.config.is_encoder_decoder:
        start = [[model.generation_config.decoder_start_token_id]] * len(prompts)
        decoder = TorchSteps(model, start, prompts)
    else:
        start, decoder = prompts, TorchSteps(model, prompts)
    rows = [Row(at, prompt, most=settings.max_new_tokens, seed=settings.seed) for at, prompt in enumerate(start)]
    logits = []
    for at, prompt in enumerate(start):  # ragged prompts are the decoder's own matter
        one = TorchSteps(model, [prompt], None if decoder.sources is None else [prompts[at]])
        logits.append(one.step(np.array([prompt])))
        decoder.rows[at] = list(prompt)
    if settings.num_beams > 1:
        search_beams(decoder, rows, np.concatenate(logits), settings)
    else:
        for _ in write_tokens(decoder, rows, np.concatenate(logits), settings):
            pass
    return rows


def reference(model, prompt, **values):
    from transformers import GenerationConfig

    start = model.generation_config.decoder_start_token_id
    config = GenerationConfig(max_new_tokens=NEW, decoder_start_token_id=start, pad_token_id=1, **values)
    model.generation_config = GenerationConfig(decoder_start_token_id=start)
    with torch.no_grad():
        ids = model.generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)).long(), generation_config=config
        )[0].tolist()
    begin = 1 if model.config.is_encoder_decoder else len(prompt)
    return ids[begin:]


def end_ids(model, prompts):
    """End tokens that these prompts really reach: what greedy writes fifth."""
    return sorted({reference(model, prompt)[4] for prompt in prompts[:2]})


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"repetition_penalty": 1.4, "no_repeat_ngram_size": 2},
        {"min_new_tokens": 6, "ends": True},
        {"ends": True, "forced_eos": True},
    ],
    ids=["plain", "penalties", "at least six", "forced end"],
)
def test_greedy_is_transformers(generator, values):
    prompts = prompts_of(generator, 8)
    ends = end_ids(generator, prompts) if values.pop("ends", False) else []
    forced = ends[0] if values.pop("forced_eos", False) else None
    rows = written(generator, prompts, settings_of(generator, eos_ids=tuple(ends), forced_eos_id=forced, **values))
    for row, prompt in zip(rows, prompts, strict=True):
        assert row.written == reference(
            generator, prompt, eos_token_id=ends or None, forced_eos_token_id=forced, **values
        )
        assert row.finish == ("stop" if row.last in ends else "length")


@pytest.mark.parametrize("beams", [2, 4])
@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("penalty", [1.0, 0.0, 2.0, -0.5])
def test_beam_search_is_transformers(generator, beams, early, penalty):
    prompts = prompts_of(generator, 4, seed=beams)
    ends = end_ids(generator, prompts)
    values = {"num_beams": beams, "early_stopping": early, "length_penalty": penalty}
    rows = written(generator, prompts, settings_of(generator, eos_ids=tuple(ends), **values))
    for row, prompt in zip(rows, prompts, strict=True):
        wanted = reference(generator, prompt, eos_token_id=ends, do_sample=False, **values)
        assert row.written == wanted


def test_beam_search_changes_logits_as_transformers(generator):
    prompts = prompts_of(generator, 4, seed=9)
    ends = end_ids(generator, prompts)
    values = {"num_beams": 3, "repetition_penalty": 1.3, "no_repeat_ngram_size": 2, "min_new_tokens": 5}
    rows = written(
        generator, prompts, settings_of(generator, eos_ids=tuple(ends), forced_eos_id=ends[0], bad_ids=(3, 9), **values)
    )
    for row, prompt in zip(rows, prompts, strict=True):
        assert row.written == reference(
            generator,
            prompt,
            eos_token_id=ends,
            forced_eos_token_id=ends[0],
            bad_words_ids=[[3], [9]],
            do_sample=False,
            **values,
        )


def test_a_seed_draws_the_same_again_whoever_is_beside(generator):
    prompts = prompts_of(generator, 3)
    drawn = settings_of(generator, do_sample=True, seed=5, temperature=1.5)
    first, again = written(generator, prompts, drawn), written(generator, prompts, drawn)
    assert [row.written for row in first] == [row.written for row in again]
    assert written(generator, prompts[:1], drawn)[0].written == first[0].written
    other = written(generator, prompts, dataclasses.replace(drawn, seed=6))
    assert [row.written for row in other] != [row.written for row in first]


def test_tokens_are_drawn_by_their_probabilities():
    from edgelm.runtime.generation.strategies import make_chooser

    logits = np.log(np.array([0.5, 0.3, 0.2, 1e-9], dtype=np.float32))
    choose, row = make_chooser(GenerationSettings(do_sample=True)), Row(0, [0], most=1, seed=1)
    counts = np.bincount([choose(row, logits) for _ in range(20_000)], minlength=4) / 20_000
    # Three standard deviations of a share among 20,000 draws: 3 * sqrt(0.25 / 20000) = 0.011
    np.testing.assert_allclose(counts, [0.5, 0.3, 0.2, 0], atol=0.011)


def test_the_largest_logit_of_one_possible_token_is_drawn():
    from edgelm.runtime.generation.strategies import make_chooser

    choose = make_chooser(GenerationSettings(do_sample=True, top_k=1))
    assert choose(Row(0, [0], most=1, seed=1), np.array([0.1, 3.0, 2.0], np.float32)) == 1
