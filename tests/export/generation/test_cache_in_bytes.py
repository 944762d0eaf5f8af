"""A cache in bytes: little is lost, and no answer depends on how many tokens are read at once."""

import functools

import numpy as np
import pytest
import torch
from generator_bundles import POSITIONS, make_model

from edgelm.errors import CalibrationError
from edgelm.export.generation.cache_scales import cache_scales
from edgelm.export.generation.decoder import decoder_graph
from edgelm.graph.session import make_plain_session
from edgelm.runtime.generation.reading import Reading
from edgelm.runtime.generation.speculation import write_speculating
from edgelm.runtime.graph_spec import GraphSpec
from edgelm.runtime.saturation import sums_exactly
from edgelm.tasks.generation import GenerationSettings

FAMILIES = ("llama", "gemma3_text", "gpt2")
WRITTEN = GenerationSettings(max_new_tokens=24)
# Where no token read by itself is summed in another order than several.
IN_ANY_ORDER = pytest.mark.skipif(not sums_exactly(), reason="kernels of 4 bits without VNNI sum one token otherwise")
EXACT = [pytest.param("int4", marks=IN_ANY_ORDER), "int8-weights"]


def random_ids(count, seed, family="llama"):
    return np.random.default_rng(seed).integers(3, make_model(family)[0].config.vocab_size, count).tolist()


@functools.cache
def reading_of(family, precision, in_bytes=True):
    model = make_model(family)[0]
    texts = [{"input_ids": torch.tensor([random_ids(100, seed, family)])} for seed in range(8)]
    graph = decoder_graph(model, precision=precision, cache=cache_scales(model, texts) if in_bytes else ())
    spec = GraphSpec("decoder", "decoder.onnx", graph.inputs, graph.outputs, opset=20)
    return Reading.of({"decoder": (make_plain_session(graph.model, exact=True), spec)}, WRITTEN, context=POSITIONS)


def read(reading, ids, sizes):
    """All logits, the tokens read in pieces of these sizes."""
    reading.begin(1)
    found, at = [], 0
    for size in sizes:
        wanted = np.arange(size)[None]
        found.append(reading.decoder.step(np.array([ids[at : at + size]]), wanted=wanted)[0].copy())
        at += size
    return np.concatenate(found)


@pytest.mark.parametrize("family", FAMILIES)
def test_keys_and_values_in_bytes_cost_little_and_take_a_quarter(family):
    ids = random_ids(60, 99, family)
    ours, full = (reading_of(family, "fp32", in_bytes) for in_bytes in (True, False))
    found, wanted = (read(reading, ids, [60]) for reading in (ours, full))
    # Keys and values are off by 1/254 of the largest ones at most; random layers of wide weights make more of it.
    assert np.abs(found - wanted).mean() < 0.1 * np.abs(wanted).mean()
    assert ours.decoder.cache.nbytes * 4 == full.decoder.cache.nbytes


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("precision", EXACT)
def test_logits_are_the_same_to_the_last_bit_however_many_tokens_are_read_at_once(family, precision):
    ids, reading = random_ids(48, 7, family), reading_of(family, precision)
    alone = read(reading, ids, [12] + [1] * 36)
    for sizes in ([12] + [2] * 18, [12] + [7] * 5 + [1], [12, 1, 5, 2, 3, 4, 1, 7, 13], [48]):
        np.testing.assert_array_equal(read(reading, ids, sizes), alone)


@pytest.mark.parametrize("precision", EXACT)
def test_guesses_right_and_wrong_change_no_token_of_40_prompts(precision):
    reading, random = reading_of("llama", precision), np.random.default_rng(1)
    accepted = 0
    for seed in range(40):
        prompt = random_ids(2 + seed % 9, 1000 + seed)
        (alone,) = reading.write([prompt], WRITTEN)

        def guess(tokens, most, *, start=len(prompt), written=alone.written):
            ids = written[len(tokens) - start :][: min(most, 6)]
            return [token if random.random() < 0.8 else 3 for token in ids]

        reading.begin(1)
        (row,), logits = reading([prompt], WRITTEN)
        for _ in write_speculating(reading.decoder, row, logits, WRITTEN, guess):
            pass
        assert row.written == alone.written
        accepted += row.accepted
    assert accepted > 200


def test_without_texts_nothing_is_known_of_keys_and_values():
    with pytest.raises(CalibrationError, match="no texts"):
        cache_scales(make_model("llama")[0], [])
