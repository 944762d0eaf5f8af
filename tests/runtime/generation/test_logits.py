"""Logits are changed as transformers' processors change them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.generation import logits_process as reference

from edgelm.runtime.generation.logits import largest, log_softmax, make_processors
from edgelm.tasks.generation import GenerationSettings

VOCABULARY = 40
# Of sums of exponentials in another order; a logit is at most some tens.
CLOSE = 1e-5


@st.composite
def cases(draw):
    """Logits, some of them equal, and the tokens before."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    logits = (rng.normal(size=VOCABULARY) * draw(st.sampled_from((0.1, 1.0, 10.0)))).astype(np.float32)
    if draw(st.booleans()):
        logits = np.round(logits)
    tokens = rng.integers(0, draw(st.sampled_from((2, 4, VOCABULARY))), draw(st.integers(1, 20)))
    return logits, tokens.astype(np.int64)


def change(tokens, logits, *, new=0, **values):
    logits = logits.copy()
    for processor in make_processors(GenerationSettings(**values)):
        processor(tokens, new, logits)
    return logits


def expected(processor, tokens, logits):
    return processor(torch.from_numpy(tokens)[None], torch.from_numpy(logits.copy())[None])[0].numpy()


def check(found, wanted):
    np.testing.assert_array_equal(np.isneginf(found), np.isneginf(wanted))
    there = ~np.isneginf(wanted)
    np.testing.assert_allclose(found[there], wanted[there], atol=CLOSE, rtol=CLOSE)


@given(cases(), st.floats(0.05, 5.0))
@settings(deadline=None, max_examples=60)
def test_temperature(case, value):
    logits, tokens = case
    check(
        change(tokens, logits, do_sample=True, temperature=value),
        expected(reference.TemperatureLogitsWarper(value), tokens, logits),
    )


@given(cases(), st.integers(1, 50))
@settings(deadline=None, max_examples=60)
def test_top_k(case, value):
    logits, tokens = case
    check(
        change(tokens, logits, do_sample=True, top_k=value),
        expected(reference.TopKLogitsWarper(value), tokens, logits),
    )


@given(cases(), st.floats(0.001, 0.999))
@settings(deadline=None, max_examples=100)
def test_top_p(case, value):
    logits, tokens = case
    logits += np.linspace(0, 1e-3, len(logits), dtype=np.float32)  # which of equal ones falls is nobody's promise
    found = change(tokens, logits, do_sample=True, top_p=value)
    wanted = expected(reference.TopPLogitsWarper(value), tokens, logits)
    sums = np.cumsum(np.sort(np.exp(log_softmax(logits.astype(np.float64)))))
    if np.abs(sums - (1 - value)).min() > 1e-6:  # a sum on the border may fall on either side
        check(found, wanted)


@given(cases(), st.floats(0.001, 1.0))
@settings(deadline=None, max_examples=60)
def test_min_p(case, value):
    logits, tokens = case
    shares = np.exp(log_softmax(logits.astype(np.float64)))
    if np.abs(shares / shares.max() - value).min() > 1e-6:  # as above
        check(
            change(tokens, logits, do_sample=True, min_p=value),
            expected(reference.MinPLogitsWarper(value), tokens, logits),
        )


@given(cases(), st.floats(0.5, 2.0))
@settings(deadline=None, max_examples=60)
def test_repetition_penalty(case, value):
    logits, tokens = case
    check(
        change(tokens, logits, repetition_penalty=value),
        expected(reference.RepetitionPenaltyLogitsProcessor(value), tokens, logits) if value != 1.0 else logits,
    )


@given(cases(), st.integers(1, 4))
@settings(deadline=None, max_examples=100)
def test_no_repeat_ngram(case, value):
    logits, tokens = case
    check(
        change(tokens, logits, no_repeat_ngram_size=value),
        expected(reference.NoRepeatNGramLogitsProcessor(value), tokens, logits),
    )


@pytest.mark.parametrize("new", [0, 2, 3])
def test_no_text_ends_before_its_shortest_length(new):
    logits, tokens = np.zeros(VOCABULARY, np.float32), np.arange(5 + new)
    check(
        change(tokens, logits, new=new, min_new_tokens=3, eos_ids=(1, 7)),
        expected(reference.MinNewTokensLengthLogitsProcessor(5, 3, [1, 7]), tokens, logits),
    )


@pytest.mark.parametrize("length", [1, 2])
def test_forced_first_token(length):
    logits, tokens = np.ones(VOCABULARY, np.float32), np.arange(length)
    check(
        change(tokens, logits, forced_bos_id=4),
        expected(reference.ForcedBOSTokenLogitsProcessor(4), tokens, logits),
    )


@pytest.mark.parametrize("new", [4, 5, 6])
def test_forced_last_token(new):
    logits, tokens = np.ones(VOCABULARY, np.float32), np.arange(3 + new)
    check(
        change(tokens, logits, new=new, forced_eos_id=4, max_new_tokens=6),
        expected(reference.ForcedEOSTokenLogitsProcessor(9, 4), tokens, logits),
    )


def test_bad_tokens_are_never_written_but_an_end_is():
    logits, tokens = np.ones(VOCABULARY, np.float32), np.arange(3)
    check(
        change(tokens, logits, bad_ids=(2, 5), eos_ids=(5,)),
        expected(reference.NoBadWordsLogitsProcessor([[2], [5]], 5), tokens, logits),
    )


@given(cases())
@settings(deadline=None, max_examples=30)
def test_all_of_them_in_transformers_order(case):
    logits, tokens = case
    logits += np.linspace(0, 1e-3, len(logits), dtype=np.float32)
    values = {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2, "temperature": 0.7, "top_k": 12, "top_p": 0.83}
    processors = reference.LogitsProcessorList(
        [
            reference.RepetitionPenaltyLogitsProcessor(1.3),
            reference.NoRepeatNGramLogitsProcessor(2),
            reference.TemperatureLogitsWarper(0.7),
            reference.TopKLogitsWarper(12),
            reference.TopPLogitsWarper(0.83),
        ]
    )
    if len(set(tokens.tolist())) < VOCABULARY:
        check(change(tokens, logits, do_sample=True, **values), expected(processors, tokens, logits))


def test_settings_that_change_nothing_cost_nothing():
    assert make_processors(GenerationSettings()) == ()
    assert make_processors(GenerationSettings(top_k=5, temperature=0.1)) == ()  # nothing is drawn


@given(st.integers(0, 2**32 - 1), st.integers(1, 5000), st.integers(1, 300))
@settings(deadline=None, max_examples=60)
def test_the_largest_are_found(seed, size, count):
    values = np.random.default_rng(seed).normal(size=size).astype(np.float32)
    count = min(count, size)
    assert sorted(values[largest(values, count)]) == sorted(np.sort(values)[-count:])


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 0.999), st.floats(0.1, 8))
@settings(deadline=None, max_examples=40)
def test_top_p_of_a_large_vocabulary(seed, value, spread):
    logits = (np.random.default_rng(seed).normal(size=20_000) * spread).astype(np.float32)
    found = change(np.array([0]), logits, do_sample=True, top_p=value)
    wanted = expected(reference.TopPLogitsWarper(value), np.array([0]), logits)
    # Which of equal logits falls is nobody's promise, and among 20,000 there are equal ones: values are compared, not
    # places. Float32 sums of other orders differ in the fifth digit: what is at the border may fall on either side.
    kept = [np.sort(values[~np.isneginf(values)]) for values in (found, wanted)]
    fewer, more = sorted(kept, key=len)
    shared = more[len(more) - len(fewer) :]
    np.testing.assert_array_equal(shared[1:], fewer[1:])
    np.testing.assert_allclose(shared[:1], fewer[:1], rtol=1e-5)  # two at the border that are nearly equal
    sums = np.cumsum(np.sort(np.exp(log_softmax(logits.astype(np.float64)))))
    border = sums[len(sums) - len(more) : len(sums) - len(fewer)]
    np.testing.assert_allclose(border, 1 - value, atol=1e-4)
