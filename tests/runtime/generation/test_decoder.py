"""A decoder keeps its rows apart, whatever is done with them, and its cache in place."""

import functools
import weakref

import numpy as np
import pytest
from generator_bundles import load_generator, make_model

from edgelm.graph.session import make_plain_session
from edgelm.runtime.generation.cache import Cache
from edgelm.runtime.generation.decoder import Decoder, pad
from edgelm.runtime.graph_spec import GraphSpec, TensorSpec

# Logits are below 30, and float32 sums of other orders differ in the sixth digit.
SUMS = 2e-4
RAGGED = [[9, 12, 30, 14], [41, 8], [17, 23, 11]]


@functools.cache
def graph_of(family, precision):
    from edgelm.export.generation.decoder import decoder_graph

    return decoder_graph(make_model(family)[0], precision=precision)


def make_decoder(family="llama", precision="fp32"):
    graph = graph_of(family, precision)
    spec = GraphSpec("decoder", "decoder.onnx", graph.inputs, graph.outputs, opset=20)
    return Decoder(make_plain_session(graph.model, exact=True), spec, context=128)


def alone(row, family="llama"):
    """The logits behind a row that is read at once."""
    decoder = make_decoder(family)
    decoder.start(1)
    return decoder.step(np.array([row]))[0, -1].copy()


def begin(decoder, rows):
    ids, counts = pad(rows, 0)
    decoder.start(len(rows))
    return decoder.step(ids, counts=counts)


def check(decoder, rows, token=13):
    """The rows' next logits are those of each alone."""
    found = decoder.step(np.full((len(rows), 1), token))[:, -1]
    for logits, row in zip(found, rows, strict=True):
        np.testing.assert_allclose(logits, alone([*row, token]), atol=SUMS)


def test_ragged_rows_are_each_as_alone():
    decoder = make_decoder()
    found = begin(decoder, RAGGED)
    for logits, row in zip(found[:, -1], RAGGED, strict=True):
        np.testing.assert_allclose(logits, alone(row), atol=SUMS)
    check(decoder, RAGGED)


@pytest.mark.parametrize("order", [[2, 0, 1], [1], [0, 0, 1, 1, 2, 2], [1, 1, 1], [2, 0]])
def test_rows_go_on_from_where_others_are(order):
    decoder = make_decoder()
    begin(decoder, RAGGED)
    decoder.reorder(np.array(order))
    check(decoder, [RAGGED[place] for place in order])


def test_beams_of_one_prompt_are_exchanged_behind_it():
    decoder = make_decoder()
    begin(decoder, RAGGED)
    decoder.reorder(np.repeat(np.arange(3), 2))
    rows = [[*row, token] for row in RAGGED for token in (5, 6)]
    decoder.step(np.array([[row[-1]] for row in rows]))
    order = [1, 1, 3, 2, 4, 4]
    decoder.reorder(np.array(order))
    check(decoder, [rows[place] for place in order])


def test_what_is_cut_off_is_forgotten():
    decoder = make_decoder()
    begin(decoder, RAGGED[:1])
    decoder.step(np.array([[50, 51, 52]]))
    decoder.truncate(3)
    check(decoder, [RAGGED[0][:3]])


def test_wanted_logits_are_those_of_each_place():
    decoder, row = make_decoder(), RAGGED[0]
    decoder.start(1)
    found = decoder.step(np.array([row]), wanted=np.array([[3, 0, 2]]))
    for logits, place in zip(found[0], (3, 0, 2), strict=True):
        np.testing.assert_allclose(logits, alone(row[: place + 1]), atol=SUMS)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_cache_in_fp16_takes_half_and_writes_the_same(family):
    full, half = make_decoder(family), make_decoder(family, "fp16")
    for decoder in (full, half):
        begin(decoder, RAGGED)
    assert half.cache.buffers[0].dtype == np.float16
    assert half.cache.nbytes * 2 == full.cache.nbytes
    step = np.full((3, 1), 13)
    # Ten bits of each weight and sum, through two layers: logits of this model are some units.
    np.testing.assert_allclose(half.step(step), full.step(step), atol=0.2)


def test_sources_are_read_once_for_all_beams_of_each():
    generator = load_generator("t5")
    decoder = generator.reading.decoder
    generator.reading.begin(2, [[9, 12, 30], [41, 8]])
    decoder.step(np.zeros((2, 1), dtype=np.int64))
    before = decoder._binding._arrays["cross.0.key"]
    decoder.reorder(np.repeat(np.arange(2), 3))
    decoder.reorder(np.array([2, 0, 1, 4, 4, 3]))
    assert decoder._binding._arrays["cross.0.key"] is before


def cache_of(*, context=0):
    sizes = ("batch", 2, "past", 4)
    pair = [TensorSpec(f"{kind}.0.key", "float32", sizes, f"{kind}-key", 0) for kind in ("past", "present")]
    return Cache([tuple(pair)], context=context)


def test_a_cache_grows_by_doubling_up_to_the_context():
    cache = cache_of(context=8000)
    found = []
    cache.start(1, 1)
    for positions in (1, 2048, 2049, 5000, 8000):
        cache.reserve(positions, filled=0)
        found.append(cache.capacity)
    assert found == [2048, 2048, 4096, 8000, 8000]
    assert cache.nbytes == 8000 * 2 * 4 * 4


def test_what_a_cache_holds_is_there_when_it_has_grown():
    cache = cache_of()
    cache.start(2, 3)
    cache.buffers[0][:, :, :3] = np.arange(48).reshape(2, 2, 3, 4)
    before, version = cache.buffers[0][:, :, :3].copy(), cache.version
    cache.reserve(3000, filled=3)
    np.testing.assert_array_equal(cache.buffers[0][:, :, :3], before)
    assert cache.version > version


def test_a_buffer_is_free_as_soon_as_a_larger_one_has_what_it_held(monkeypatch):
    monkeypatch.setattr("edgelm.runtime.generation.cache._FIRST_CAPACITY", 8)
    decoder, begun = make_decoder(), [9, 12, 30]
    begin(decoder, [begun])
    small = [weakref.ref(buffer) for buffer in decoder.cache.buffers]
    alive, make = [], decoder.cache._empty

    def watched(*shape):
        alive.append(sum(ref() is not None for ref in small))
        return make(*shape)

    monkeypatch.setattr(decoder.cache, "_empty", watched)
    logits = decoder.step(np.array([[13] * 9]))[0, -1]
    assert alive == [*range(len(small), 0, -1)]
    np.testing.assert_allclose(logits, alone([*begun, *[13] * 9]), atol=SUMS)


def test_a_cache_of_other_rows_is_as_small_as_they_need():
    cache = cache_of()
    cache.start(1, 5000)
    cache.start(16, 3)
    assert cache.capacity == 2048
