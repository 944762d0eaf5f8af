"""The library on a program written by hand: numbers by numpy, the same bits everywhere, and an error for all else."""

import numpy as np
import pytest
from programs import TOKENS, VOCABULARY, hand_made

from edgelm.runtime.native import is_faster

WEIGHTS = b"\0"  # the program has its own


def make_feeds(batch: int, tokens: int, *, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    mask = np.ones((batch, tokens), np.int64)
    for row in range(1, batch):
        mask[row, max(1, tokens - 2 * row) :] = 0
    return {"input_ids": random.integers(0, VOCABULARY, (batch, tokens)), "attention_mask": mask}


KINDS = pytest.mark.parametrize("kind", ["", "modern", "disentangled", "halved", "leaving"])


@KINDS
@pytest.mark.parametrize("largest", [127, 63], ids=["wide weights", "narrow weights"])
@pytest.mark.parametrize(("batch", "tokens"), [(1, 1), (1, 8), (1, 25), (3, 17), (4, TOKENS)])
def test_logits_are_those_of_numpy(native, largest, kind, batch, tokens):
    """Weights of 127 are those whose pairs AVX2 alone would cut off. A byte that is rounded the other way, which 32
    bits may do where 64 would not, moves a logit by more than the rest: those rows are few."""
    made, feeds = hand_made(largest=largest, kind=kind), make_feeds(batch, tokens)
    found = native.Encoder(made.text, WEIGHTS)(feeds)["logits"]
    distance = np.abs(found - made.expected(feeds["input_ids"], feeds["attention_mask"])).max(-1)
    assert (distance < 1e-5).mean() >= 0.5  # 32 bits hold seven digits, and some are lost on the way
    assert distance.max() < 0.02  # a step of one byte


@KINDS
@pytest.mark.parametrize("largest", [127, 63])
def test_all_sets_and_numbers_of_threads_give_the_same_bits(native, largest, kind):
    made = hand_made(largest=largest, kind=kind)
    sets = native.instruction_sets()
    assert sets[-1] == "reference"
    encoders = [native.Encoder(made.text, WEIGHTS, instruction_set=name) for name in sets]
    assert [encoder.instruction_set for encoder in encoders] == sets
    for batch, tokens in ((1, 1), (1, 30), (3, 17)):
        feeds = make_feeds(batch, tokens)
        found = [encoder(feeds, threads=threads)["logits"] for encoder in encoders for threads in (1, 2, 4)]
        assert all(np.array_equal(found[0], other) for other in found)


def test_a_text_has_the_same_answer_in_a_batch(native):
    """Padding that the mask hides, and texts beside it, change nothing but the last bits of a softmax."""
    encoder = native.Encoder(hand_made().text, WEIGHTS)
    feeds = make_feeds(4, 20)
    together = encoder(feeds)["logits"]
    for row, mask in enumerate(feeds["attention_mask"]):
        alone = {name: values[row : row + 1, : mask.sum()] for name, values in feeds.items()}
        assert np.abs(encoder(alone)["logits"] - together[row]).max() < 0.02  # a step of one byte, as above


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (np.zeros((1, 0)), "no tokens"),
        (np.zeros((0, 4)), "no tokens"),
        (np.zeros((1, TOKENS + 1)), f"{TOKENS + 1} tokens"),
        (np.full((1, 3), VOCABULARY), f"index {VOCABULARY}"),
        (np.full((1, 3), -1), "index -1"),
        (np.zeros(3), "axes"),
    ],
)
def test_inputs_that_it_cannot_take_are_refused(native, ids, words):
    encoder = native.Encoder(hand_made().text, WEIGHTS)
    with pytest.raises(native.NativeError, match=words):
        encoder({"input_ids": ids.astype(np.int64)})
    assert np.isfinite(encoder(make_feeds(1, 4))["logits"]).all()  # and it goes on


def test_no_number_of_threads_and_no_set_is_refused(native):
    encoder = native.Encoder(hand_made().text, WEIGHTS)
    for threads in (0, -1, 5000):
        with pytest.raises(native.NativeError, match="threads"):
            encoder(make_feeds(1, 4), threads=threads)
    with pytest.raises(native.NativeError, match="does not run here"):
        native.Encoder(hand_made().text, WEIGHTS, instruction_set="sse9")


@KINDS
def test_damaged_programs_are_refused_or_run(native, kind):
    """Cut off anywhere, with any word replaced: an error by its code, or a program that runs to its end."""
    text = hand_made(kind=kind).text
    head, data = text.split(b"\ndata\n")
    for end in range(0, len(text), 97):
        with pytest.raises(native.NativeError):
            native.Encoder(text[:end], WEIGHTS)
    random, words = np.random.default_rng(1), head.split(b" ")
    odd = [b"-1", b"0", b"1", b"7", b"65536", b"2147483648", b"d:99999999", b"w:0", b"-", b"heads", b"", b"1e9"]
    refused = 0
    for _ in range(300):
        changed = list(words)
        changed[random.integers(len(words))] = odd[random.integers(len(odd))]
        try:
            encoder = native.Encoder(b" ".join(changed) + b"\ndata\n" + data, WEIGHTS)
            encoder(make_feeds(2, 5), threads=2)
        except native.NativeError:
            refused += 1
    assert refused > 100  # most words matter


def test_weights_that_are_too_short_are_refused(native):
    text = hand_made().text.replace(b"floats d:", b"floats w:", 1)
    with pytest.raises(native.NativeError, match="beyond the end of the weights"):
        native.Encoder(text, WEIGHTS)


def test_it_stands_before_onnxruntime_where_it_is_faster(native):
    assert is_faster() == (native.instruction_sets()[0] in ("avx512-vnni", "avx2"))
